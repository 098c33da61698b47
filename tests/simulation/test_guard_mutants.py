"""Mechanisms of guards, modes and breakers, removed one at a time: see test_mutants."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

import pytest

from outlast.contracts import topics
from outlast.contracts.guarding import Ask, Release
from outlast.contracts.messages import Finished
from outlast.execution import outstanding
from outlast.execution.outstanding import Command
from outlast.execution.state import Execution, StepStatus
from outlast.guardrails.shelf import Entry, Shelf
from outlast.history.events import WorkflowStarted
from outlast.messaging.ports import Outgoing
from outlast.testing.faults import CALM, Rates
from outlast_action_executor.core.course import Course
from outlast_action_executor.inbound import Run
from outlast_action_executor.inline import InlineRuns
from outlast_action_executor.local import LocalLedger
from outlast_action_executor.ports import KnownRun, RunEnd
from outlast_finalizer.core import breaker
from outlast_finalizer.core.breaker import BreakerState, Outcome
from outlast_finalizer.core.outcome import RunRow
from outlast_trigger_matcher import lanes, outbound
from outlast_trigger_matcher.core import board
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch
from tests.simulation.caught import LOSSY, assert_caught
from tests.simulation.scenario import Scenario
from tests.simulation.setting import GUARDED, INLINE, SHADOW
from tests.simulation.system import Parts
from tests.stores.memory_finalizer import MemoryFinalizerStore
from tests.stores.memory_matcher import MemoryMatcherStore, MemoryPressing

DEADLY = Rates(call=8)
"""Executors die in their calls."""


# ---- the gate advises, the dispatch decides ----------------------------------------------------------------------


def test_slots_not_counted_at_admission_a_gate_that_forgot_gives_one_slot_twice(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Board, "_is_free", lambda _board, _row: True)
    assert_caught(Parts(), "slots", setting=GUARDED)


def test_windows_not_counted_at_admission_a_gate_that_forgot_fills_them_twice(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(board, "full_window", lambda *_: None)
    assert_caught(Parts(), "windows", setting=GUARDED)


class NobodyAsksAgain(MemoryPressing):
    """What has no answer is not asked again, and a free slot with a queue is left free."""

    async def unanswered(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        return []

    async def unserved(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        return []


def test_questions_not_asked_again_a_lost_answer_holds_a_firing_for_ever():
    assert_caught(Parts(pressing=NobodyAsksAgain), "stuck", setting=GUARDED)


class NothingLeaks(MemoryPressing):
    """The reconciler finds nothing."""

    async def leaked(self, lanes: Collection[int], most: int) -> Sequence[str]:
        return []


class KeptSlots(MemoryMatcherStore):
    """A recorded run keeps its slot."""

    def _close(self, execution_id: str, at: datetime) -> bool:
        before = self.dispatches.get(execution_id)
        super()._close(execution_id, at)
        if before is not None and before.has_slot:
            self._put(execution_id, slot_freed_at=before.slot_freed_at)
        return False


def test_slots_not_freed_at_the_end_and_nobody_looks_settled_runs_hold_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Board, "finish", lambda _board, execution_id: None)
    parts = Parts(matcher_store=KeptSlots, pressing=NothingLeaks)
    assert_caught(parts, "held", setting=GUARDED)


def test_releases_not_said_the_gate_keeps_places_for_who_has_left(monkeypatch: pytest.MonkeyPatch):
    requests = outbound._requests

    def only_asks(lane: tuple[str, str, int], releases: list[Release], asks: list[Ask]) -> Iterator[Outgoing]:
        return requests(lane, [], asks)

    monkeypatch.setattr(outbound, "_requests", only_asks)
    assert_caught(Parts(), "stuck", setting=GUARDED)


def test_resuming_not_answered_a_run_whose_wait_is_over_never_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Board, "resume", lambda _board, execution_id, seq: None)
    assert_caught(Parts(), "stuck", setting=GUARDED)


def test_queues_not_in_order_who_came_last_is_served_first(monkeypatch: pytest.MonkeyPatch):
    def last(shelf: Shelf) -> Entry | None:
        return shelf.newest

    monkeypatch.setattr(Shelf, "first", property(last))
    assert_caught(Parts(), "order", setting=GUARDED, rates=CALM)


def test_withheld_not_said_again_after_a_loss_a_firing_is_on_no_record(monkeypatch: pytest.MonkeyPatch):
    again = lanes.words_again

    def of_others(rows: Sequence[Dispatch]) -> list[Outgoing]:
        return again([row for row in rows if row.status not in WITHHELD])

    monkeypatch.setattr(lanes, "words_again", of_others)
    assert_caught(Parts(), "stuck", setting=GUARDED, rates=LOSSY)


# ---- inline runs -------------------------------------------------------------------------------------------------


def ends_lost_until_executors_are_killed() -> set[str]:
    """What inline runs came to is on its way for longer than it takes to store an offset; then its senders die."""
    scenario = Scenario(setting=GUARDED)
    scenario.lose("finished.v1")
    scenario.system.send_events(40)
    scenario.run(1200)
    scenario.kill("action_executor")
    return scenario.broken_rules()


def test_inline_offset_before_its_end_is_delivered_nobody_hears_of_the_run(monkeypatch: pytest.MonkeyPatch):
    assert not ends_lost_until_executors_are_killed()
    say_end = InlineRuns._say_end

    def pass_at_once(runs: InlineRuns, run: Run, end: RunEnd) -> Finished:
        told = say_end(runs, run, end)
        run.item.is_done = True
        return told

    monkeypatch.setattr(InlineRuns, "_say_end", pass_at_once)
    assert "stuck" in ends_lost_until_executors_are_killed()


class EveryRunIsNew(LocalLedger):
    """Nobody looks whether an inline run has ended, and what it had begun."""

    async def look_up_runs(self, execution_ids: Sequence[str]) -> Mapping[str, KnownRun]:
        return {}


def test_inline_runs_not_looked_up_a_cancelled_one_leaves_out_what_it_did_or_goes_on():
    assert_caught(Parts(ledger=EveryRunIsNew), "unmentioned", "after its end", setting=INLINE, rates=DEADLY)


def test_cancelled_before_it_is_where_it_was_a_run_leaves_out_what_it_did(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Course, "has_come_to", lambda _course, tried: True)
    assert_caught(Parts(), "unmentioned", setting=INLINE, rates=DEADLY)


def test_doubles_not_kept_from_ordering_an_engine_orders_what_an_inline_run_does(
    monkeypatch: pytest.MonkeyPatch,
):
    of_double = outstanding._of_double

    def like_any_other(state: Execution, started: WorkflowStarted, after: int) -> Iterator[Command]:
        yield from of_double(state, started, after)
        for step in state.steps.values():
            if step.status is StepStatus.SCHEDULED and step.scheduled is not None and step.sequence > after:
                yield outstanding._run_activity(state, started, step.scheduled)

    monkeypatch.setattr(outstanding, "_of_double", like_any_other)
    assert_caught(Parts(), "shadow", setting=SHADOW)


def starts_of_doubles_lost_until_matchers_are_killed() -> set[str]:
    """Inline runs are over and recorded before the starts of their doubles are delivered; then their senders die."""
    scenario = Scenario(setting=SHADOW)
    scenario.lose("start.v1", topics.ENGINE_INBOX)
    scenario.system.send_events(40)
    scenario.run(1200)
    rows = scenario.system.dispatch.dispatches.values()
    assert any(row.status == "settled" for row in rows), "their records are safe"
    scenario.kill("trigger_matcher")
    return scenario.broken_rules()


def test_starts_of_doubles_not_said_after_the_record_a_run_is_never_compared(monkeypatch: pytest.MonkeyPatch):
    assert not starts_of_doubles_lost_until_matchers_are_killed()
    monkeypatch.setattr(Dispatch, "left_double", property(lambda _row: False))
    assert "stuck" in starts_of_doubles_lost_until_matchers_are_killed()


class RecordedIsAll(MemoryMatcherStore):
    """The walk after a loss passes over all that is recorded."""

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        page = await super().unclosed_page(lane, after, len(self.dispatches))
        return [each for each in page if self.dispatches[each].closed_at is None][:page_max]


def starts_of_doubles_lost_with_the_broker(parts: Parts) -> set[str]:
    """Inline runs are over and recorded while no engine reads; then the starts of their doubles are gone."""
    scenario = Scenario(parts, setting=SHADOW)
    scenario.stop("engine")
    scenario.system.send_events(40)
    scenario.run(1200)
    rows = scenario.system.dispatch.dispatches.values()
    assert any(row.status == "settled" for row in rows), "their records are safe"
    scenario.lose_broker()
    scenario.go_on("engine")
    return scenario.broken_rules()


def test_doubles_of_recorded_runs_not_walked_after_a_loss_they_never_begin():
    assert not starts_of_doubles_lost_with_the_broker(Parts())
    assert "stuck" in starts_of_doubles_lost_with_the_broker(Parts(matcher_store=RecordedIsAll))


def test_doubles_begun_for_all_that_is_closed_firings_that_never_ran_have_one(
    monkeypatch: pytest.MonkeyPatch,
):
    def closed(row: Dispatch) -> bool:
        return row.start.mode == "shadow" and row.closed_at is not None

    monkeypatch.setattr(Dispatch, "left_double", property(closed))
    assert_caught(Parts(), "withheld", setting=SHADOW)


# ---- breakers ----------------------------------------------------------------------------------------------------


class CountsAll(MemoryFinalizerStore):
    """An end that was recorded before counts like a new one."""

    def _is_news(self, rows: Sequence[RunRow], execution_id: str) -> bool:
        return True


def test_doubled_ends_not_told_from_new_ones_a_breaker_counts_a_run_twice():
    assert_caught(Parts(finalizer_store=CountsAll), "breaker", setting=GUARDED)


def test_generations_not_looked_at_runs_of_before_a_reset_count_after_it(monkeypatch: pytest.MonkeyPatch):
    counted = breaker.counted

    def whatever_its_generation(state: BreakerState, outcome: Outcome) -> BreakerState:
        return counted(state, outcome._replace(generation=state.generation))

    monkeypatch.setattr(breaker, "counted", whatever_its_generation)
    assert_caught(Parts(), "breaker", setting=INLINE)
