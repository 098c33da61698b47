"""The watchdog: asks before it gives up, and gives up whom nobody has any more; its mechanisms removed, too."""

from collections.abc import Collection
from datetime import timedelta

import pytest

from outlast.contracts.messages import Finished
from outlast.contracts.topics import TopicPartition
from outlast.runtime.work import Turn
from outlast_finalizer.watchdog import WatchdogAgenda
from tests.simulation.caught import assert_caught
from tests.simulation.scenario import Scenario
from tests.simulation.setting import WATCHED
from tests.simulation.silence import GIVEN_UP
from tests.simulation.system import Parts, System
from tests.stores import memory_finalizer

STEP = timedelta(hours=3)


def left_by_their_executors(parts: Parts | None = None) -> System:
    """Inline runs begin; then nobody executes anything for longer than the watchdog's patience."""
    scenario = Scenario(parts, WATCHED)
    scenario.lose("finished.v1")
    scenario.system.send_events(60)
    scenario.run(700)
    scenario.kill("action_executor")
    scenario.stop("action_executor")
    scenario.lose_nothing()
    for _ in range(GIVEN_UP // STEP + 10):
        scenario.system.world.clock.seconds += STEP.total_seconds()
        scenario.run(80)
    return scenario.system


def running(system: System) -> list[str]:
    return [name for name, run in system.records.runs.items() if run.status == "running"]


def test_inline_runs_that_nobody_has_any_more_are_asked_about_and_given_up():
    system = left_by_their_executors()
    assert len(system.silence.given_up) > 3
    assert (running(system), system.silence.faults) == ([], [])
    for execution in system.silence.given_up:
        word = system.records.runs[execution].message
        assert isinstance(word, Finished)
        assert word.error is not None
        assert word.error.code == "watchdog"
        assert system.dispatch.dispatches[execution].closed_at is not None


def never(*_: object) -> bool:
    return False


def test_nobody_given_up_what_was_left_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory_finalizer, "is_given_up", never)
    assert running(left_by_their_executors())


class NeverAsks(WatchdogAgenda):
    """Waits for a word of its own accord."""

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        return None


def test_nobody_asked_about_what_was_left_goes_on_for_ever():
    assert running(left_by_their_executors(Parts(watchdog=NeverAsks)))


def test_given_up_at_the_first_question_a_run_that_is_alive_has_failed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory_finalizer, "is_given_up", lambda *_: True)
    assert_caught(Parts(), "given up", setting=WATCHED)
