"""What of the lanes' messages costs a commit, and what is passed over."""

from datetime import UTC, datetime

import pytest
from msgspec import Raw
from tests.stores.memory_matcher import MemoryMatcherStore

from outlast.clock import SystemClock
from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    Compared,
    EventReference,
    Finished,
    LifecycleMessage,
    Origin,
    Recorded,
    RunbookReference,
    Started,
    Unknown,
    Wait,
    Waiting,
)
from outlast.db.local import LocalFence
from outlast.messaging.ports import Received
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.core.board import Standing
from outlast_trigger_matcher.lanes import LanesWork

AT = datetime(2026, 1, 5, tzinfo=UTC)
RUN = "019b8c2e-7c00-8001-8000-000000000001"
ABOUT = {
    "execution_id": RUN,
    "company_id": "acme",
    "runbook": RunbookReference(id="r", name="r", version=1, sha256="0"),
    "event": EventReference(source="s", id="e", type="finding_created", time=AT),
    "mode": "workflow",
    "lane": 0,
    "rank": 1,
    "at": AT,
}
STARTED = Started(**ABOUT, seq=1, payload=Raw(b"{}"))
FINISHED = Finished(**ABOUT, seq=5, started_at=AT, status="success", steps=())
SLOTTED = Finished(**ABOUT, seq=5, started_at=AT, status="success", steps=(), origin=Origin(is_slotted=True))
WAITING = Waiting(**ABOUT, seq=3, started_at=AT, waits=(Wait(activity_id="a", kind="sleep"),))
PLACE = {name: ABOUT[name] for name in ("execution_id", "company_id", "runbook", "lane", "at")}
COMPARED = Compared(**PLACE, is_agreed=True, steps_compared=1)
UNKNOWN = Unknown(execution_id=RUN, company_id="acme", runbook_id="r", lane=0)


def lanes() -> LanesWork:
    store = MemoryMatcherStore(LocalFence(), LocalFence())
    never = Commands.__new__(Commands)  # people order nothing here
    return LanesWork(store, lambda _company, _runbook: Standing(), never, SystemClock())


def received(message: LifecycleMessage | Recorded, offset: int = 0) -> Received:
    topic = topics.RECORDED if isinstance(message, Recorded) else topics.LIFECYCLE
    return Received(topic, 0, offset, 0, None, codec.encode(message))


async def test_what_the_matcher_only_reads_past_costs_no_commit() -> None:
    turn = await lanes().decide([received(STARTED), received(FINISHED, 1)])
    assert turn.is_nothing


@pytest.mark.parametrize(
    "message",
    [WAITING, SLOTTED, COMPARED, UNKNOWN, Recorded(executions=(RUN,))],
    ids=lambda m: type(m).__name__,
)
async def test_what_changes_a_row_or_is_answered_is_committed(message: LifecycleMessage | Recorded) -> None:
    turn = await lanes().decide([received(STARTED), received(message, 1)])
    assert not turn.is_nothing


async def test_what_cannot_be_read_is_buried_before_it_is_passed() -> None:
    turn = await lanes().decide([Received(topics.LIFECYCLE, 0, 0, 0, None, b"{")])
    assert (turn.is_nothing, len(turn.dead)) == (False, 1)
