"""Given a breaker, when runs end and people reset it, then it is open or not."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.contracts import codec, topics
from outlast.contracts.control import CancelExecution, ResetBreaker
from outlast.contracts.messages import ActionError, Message
from outlast.contracts.parts import Origin
from outlast_finalizer.core.breaker import BreakerState, Key, Outcome, counted, outcome_of, reset, turned
from outlast_finalizer.store import Changes
from outlast_finalizer.work import FinalizerWork

from .said import AT, Rows, finished, received

KEY = Key("acme", "r")
ORDER = {"command_id": "c-1", "company_id": "acme", "by": "ana", "at": AT, "lane": 2}
THRESHOLD = 10


def outcome(is_failure: bool, generation: int = 0, number: int = 0) -> Outcome:
    return Outcome(str(number), KEY, is_failure, generation, THRESHOLD, AT + timedelta(seconds=number))


def when(*statuses: str, generation: int = 0, given: BreakerState | None = None, **more: Any) -> BreakerState:
    """The breaker after runs of the generation have come to these."""
    state = given or BreakerState()
    for status in statuses:
        ended = finished(status=status, origin=Origin(generation=generation), **more)
        found = outcome_of(ended)
        state = state if found is None else counted(state, found)
    return state


def test_ten_failures_in_a_row_open_it_at_the_time_of_the_last():
    state = BreakerState()
    for number in range(1, THRESHOLD + 1):
        assert not state.is_open
        state = counted(state, outcome(True, number=number))
    assert (state.is_open, state.failures, state.tripped_at) == (True, 10, AT + timedelta(seconds=10))


def test_a_success_clears_the_count_and_nothing_else_does():
    assert when(*["failed"] * 9, "success", *["failed"] * 9).failures == 9
    for status in ("partial", "skipped", "cancelled"):
        assert when(*["failed"] * 9, status).failures == 9
        assert when(*["failed"] * 9, status, "failed").is_open


def test_the_runbooks_own_threshold_holds():
    strict = Origin(breaker_threshold=2)
    found = outcome_of(finished(status="failed", origin=strict))
    assert found is not None
    once = counted(BreakerState(), found)
    assert not once.is_open
    assert counted(once, found).is_open


def test_thirty_late_failures_of_an_older_generation_do_not_open_it_again():
    closed = reset(when(*["failed"] * 10))
    assert (closed.is_open, closed.failures, closed.generation) == (False, 0, 1)
    assert when(*["failed"] * 30, given=closed) == closed
    assert when(*["failed"] * 10, given=closed, generation=1).is_open


def test_a_success_of_an_older_generation_clears_nothing():
    state = when(*["failed"] * 9, given=reset(BreakerState()), generation=1)
    assert when("success", given=state).failures == 9


def test_open_it_stays_as_it_is_whatever_runs_come_to():
    opened = when(*["failed"] * 10)
    assert when("success", "failed", "partial", given=opened) == opened


@pytest.mark.parametrize("code", ["definition_unreadable", "watchdog"])
def test_a_failure_of_the_engine_itself_does_not_count(code: str):
    assert when(*["failed"] * 20, error=ActionError(code=code, message="ours")) == BreakerState()


@pytest.mark.parametrize("mode", ["workflow", "inline", "shadow"])
def test_it_counts_in_every_mode(mode: str):
    assert when(*["failed"] * 10, mode=mode).is_open


def test_a_failure_that_ends_a_whole_run_counts_where_it_is_the_runbooks():
    error = ActionError(code="inline_retry_budget", message="60 s of pauses are used up")
    assert when(*["failed"] * 10, error=error).is_open


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("ends"), st.booleans(), st.integers(0, 3)), st.tuples(st.just("reset"), st.just(0))
    ),
    max_size=80,
)


@given(happenings)
def test_it_is_open_iff_ten_of_its_generation_failed_in_a_row_since_the_last_reset(happened):
    state, row, is_open, generation = BreakerState(), 0, False, 0
    for what, *how in happened:
        if what == "reset":
            state, row, is_open, generation = reset(state), 0, False, generation + 1
        else:
            is_failure, of = how
            state = counted(state, outcome(is_failure, of))
            if of == generation and not is_open:
                row = row + 1 if is_failure else 0
                is_open = row >= THRESHOLD
        assert (state.is_open, state.generation) == (is_open, generation)
        assert is_open or state.failures == row


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_batches_come_to_the_same_wherever_they_are_cut(failures: list[bool], cut: int):
    outcomes = [outcome(is_failure, number=number) for number, is_failure in enumerate(failures)]

    def after(*batches: Iterable[Outcome]) -> BreakerState:
        states: dict[Key, BreakerState] = {}
        for batch in batches:
            states |= turned(states, batch, ())
        return states.get(KEY, BreakerState())

    assert after(outcomes) == after(outcomes[:cut], outcomes[cut:])


# ---- what the work reads -----------------------------------------------------------------------------------------


async def changes_of(*messages: Message, topic: str = topics.LIFECYCLE) -> Changes:
    turn = await FinalizerWork(Rows()).decide([received(message, topic) for message in messages])
    assert isinstance(turn.changes, Changes)
    assert not turn.dead
    return turn.changes


async def test_only_the_latest_word_on_a_run_counts_and_once():
    failed, again = finished(status="failed"), finished(status="failed")
    changes = await changes_of(finished(seq=7, status="success"), failed, again)
    assert [each.is_failure for each in changes.outcomes] == [True]


async def test_outcomes_count_in_the_order_they_came_in_not_in_the_order_of_ids():
    later, earlier = "019b8a00-0000-8001-8000-00000000000f", "019b8a00-0000-8001-8000-000000000002"
    changes = await changes_of(
        finished(execution_id=later, status="failed"), finished(execution_id=earlier, status="success")
    )
    assert [each.execution_id for each in changes.outcomes] == [later, earlier]


async def test_of_what_people_order_only_resets_are_the_finalizers():
    order = ResetBreaker(**ORDER, runbook_id="r", reason="the webhook is back")
    cancel = CancelExecution(**ORDER, execution_id="e")
    changes = await changes_of(cancel, order, topic=topics.CONTROL_COMMANDS)
    assert changes.resets == [order]


async def test_a_reset_that_cannot_be_read_is_laid_aside():
    broken = received(ResetBreaker(**ORDER, runbook_id="r"), topics.CONTROL_COMMANDS)
    text = codec.encode(ResetBreaker(**ORDER, runbook_id="r")).replace(b'"r"', b"7")
    broken = type(broken)(broken.topic, 2, 0, 0, None, text)
    turn = await FinalizerWork(Rows()).decide([broken])
    assert [message for message, _ in turn.dead] == [broken]
