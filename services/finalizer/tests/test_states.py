"""What the record says of firings that were queued, withheld, resumed or cancelled, and who is answered."""

from datetime import timedelta
from itertools import permutations

import pytest

from outlast.contracts import topics
from outlast.contracts.messages import Difference
from outlast_finalizer import metrics
from outlast_finalizer.core.outcome import latest_rows

from .said import AT, PAYLOAD, Rows, compared, finished, places, queued, resuming, said, started, withheld

ENGINE, MATCHER = (topics.ENGINE_INBOX, 1), (topics.RECORDED, 2)


def test_a_queued_firing_is_on_record_with_its_reason_and_has_not_begun():
    (row,) = latest_rows([queued()])
    assert (row.status, row.reason, row.started_at, row.finished_at) == ("queued", "slot_taken", None, None)
    assert row.payload == bytes(PAYLOAD)


def test_a_withheld_firing_has_ended_without_a_beginning():
    cancelled = withheld(seq=3, status="cancelled", reason="cancelled", detail="false positive", by="ana")
    for message, told in (
        (withheld(), ("skipped", "throttled", "1 in 300 s", "")),
        (cancelled, ("cancelled", "cancelled", "false positive", "ana")),
    ):
        (row,) = latest_rows([queued(), message])
        assert (row.status, row.reason, row.detail, row.by) == told
        assert (row.started_at, row.finished_at, row.payload) == (None, AT, bytes(PAYLOAD))


def test_a_run_whose_wait_is_over_waits_for_its_slot():
    (row,) = latest_rows([started(), resuming()])
    assert (row.status, row.reason, row.waits, row.started_at) == ("waiting", "slot_taken", None, AT)


def test_a_cancelled_run_says_by_whom_and_why():
    (row,) = latest_rows([started(), finished(status="cancelled", reason="false positive", by="ana")])
    assert (row.status, row.reason, row.by) == ("cancelled", "false positive", "ana")


def test_messages_apply_in_their_order_whatever_order_they_come_in():
    words = [queued(), started(at=AT + timedelta(seconds=1)), resuming(), finished()]
    told = [latest_rows(shuffled) for shuffled in permutations(words)]
    assert all(each == told[0] for each in told)
    assert (told[0][0].status, told[0][0].reason) == ("success", "")


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        (finished(), [ENGINE, MATCHER]),
        (finished(status="cancelled", by="ana"), [ENGINE, MATCHER]),
        (finished(mode="inline"), [MATCHER]),
        (finished(mode="shadow"), [MATCHER]),
        (withheld(), [MATCHER]),
        (compared(), [ENGINE]),
        (queued(), []),
    ],
)
async def test_an_end_is_answered_to_those_who_wait_for_it(message, answered):
    assert places(await said(Rows(), message)) == answered


async def test_differences_of_a_shadow_run_are_counted_by_kind():
    def count(what: str) -> float:
        return metrics.DIVERGENCES.labels(what)._value.get()

    before = count("input"), count("other")
    found = tuple(
        Difference(activity_id="a", what=what, inline="1", shadow="2") for what in ("input", "made-up")
    )
    await said(Rows(), compared(is_agreed=False, differences=found))
    assert (count("input"), count("other")) == (before[0] + 1, before[1] + 1)
