"""What the record of a run that waits says."""

from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from outlast.contracts.messages import (
    EventReference,
    Finished,
    Resumed,
    RunbookReference,
    Started,
    Wait,
    Waiting,
)
from outlast_finalizer.core.outcome import latest_rows

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
COMMON = {
    "execution_id": "e",
    "company_id": "acme",
    "runbook": RunbookReference(id="r", name="r", version=1, sha256="d"),
    "event": EventReference(source="s", id="e-1", type="finding_created", time=AT),
    "mode": "workflow",
    "lane": 3,
    "rank": 1,
    "at": AT,
}
STARTED = Started(**COMMON, seq=1, payload=Raw(b"{}"))
WAITING = Waiting(
    **COMMON, seq=3, started_at=AT, waits=(Wait(activity_id="gate", kind="signal", signal="approved"),)
)
RESUMED = Resumed(**COMMON, seq=6, started_at=AT)
FINISHED = Finished(**COMMON, seq=9, started_at=AT, status="success", steps=())


def test_a_run_that_waits_says_what_for_and_keeps_its_payload() -> None:
    (row,) = latest_rows([STARTED, WAITING])
    assert (row.status, row.payload) == ("waiting", b"{}")
    assert msgspec.json.decode(row.waits or b"") == [
        {"activity_id": "gate", "kind": "signal", "signal": "approved"}
    ]


def test_a_run_that_goes_on_waits_no_more() -> None:
    for later, status in ((RESUMED, "running"), (FINISHED, "success")):
        (row,) = latest_rows([STARTED, WAITING, later])
        assert (row.status, row.waits) == (status, None)


def test_what_comes_out_of_order_does_not_bring_the_wait_back() -> None:
    (row,) = latest_rows([RESUMED, WAITING, STARTED])
    assert (row.status, row.payload, row.waits) == ("running", b"{}", None)
