"""Mechanisms of runs that wait, removed one at a time: see test_mutants."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta

import pytest
from msgspec import structs

from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.messages import DeliverSignal, Subscribe
from outlast.errors import TransientError
from outlast.execution.decide import Decision, Rejection, RunMessage
from outlast.execution.state import Execution, StepStatus
from outlast.messaging.ports import Received
from outlast.runbooks.definition import Runbook
from outlast.runtime.work import Turn
from outlast_engine import work as engine_work
from outlast_engine.work import EngineWork
from outlast_signal_delivery.store import Changes, Due, Said, Sending
from outlast_timer_scheduler.core.due import Upcoming
from outlast_timer_scheduler.work import TimerWork
from tests.simulation.caught import LOSSY, StoredFirst, assert_caught
from tests.simulation.scenario import Scenario
from tests.simulation.system import Parts, System
from tests.stores.memory_signals import MemorySignalStore

Decide = Callable[[Execution, Runbook | None, RunMessage, object], Decision]


# ---- timers ------------------------------------------------------------------------------------------------------


class DeletedFirst(StoredFirst, TimerWork):
    """A timer's row is deleted before the broker has its firing."""


def firings_lost_until_their_sender_is_killed(parts: Parts, events: int) -> set[str]:
    """What is due is on its way for long, and then who says it dies."""
    scenario = Scenario(parts)
    scenario.lose("timer_due.v1")
    scenario.system.send_events(events)
    scenario.run(1200)
    scenario.kill("timer_scheduler")
    return scenario.broken_rules()


def test_timer_deleted_before_its_firing_is_acknowledged_a_run_waits_for_ever():
    lost = firings_lost_until_their_sender_is_killed
    waves = (60, 100)  # whether a sender dies with a firing in hand depends on when it comes to be due
    assert not any(lost(Parts(), events) for events in waves)
    assert any("stuck" in lost(Parts(timers=DeletedFirst), events) for events in waves)


class NothingInherited(TimerWork):
    """A new owner fires what is started from now on, and does not read what was there."""

    async def _read_ahead(self, upcoming: Sequence[Upcoming]) -> None:
        for each in upcoming:
            ask = each.ask(self._clock.now())
            if ask is not None and ask.after[0].year == 1:
                each.enter(ask, [])
        await super()._read_ahead(upcoming)


def test_timers_of_inherited_partitions_not_read_a_run_sleeps_for_ever():
    assert_caught(Parts(timers=NothingInherited), "stuck")


class Ahead(TimerWork):
    """Its clock is half a minute ahead."""

    def __init__(self, store: object, clock: Clock) -> None:
        super().__init__(store, _Fast(clock))  # type: ignore[arg-type]


class _Fast:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> object:
        return getattr(self._clock, name)

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=30)


def test_timers_fired_before_they_are_due_sleeps_end_too_early():
    assert_caught(Parts(timers=Ahead), "too early")


# ---- signals: the engine -----------------------------------------------------------------------------------------


def deciding(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Execution, DeliverSignal], RunMessage | None]
):
    """What the engine decides over is changed first; None is refused."""
    decide = engine_work.decide

    def decided(state: Execution, runbook: Runbook | None, message: RunMessage, at: object) -> Decision:
        changed = change(state, message) if isinstance(message, DeliverSignal) else message
        return Rejection("refused") if changed is None else decide(state, runbook, changed, at)  # type: ignore[arg-type]

    monkeypatch.setattr(engine_work, "decide", decided)


def test_early_signals_not_kept_a_run_waits_in_vain_for_what_was_sent(monkeypatch: pytest.MonkeyPatch):
    def if_awaited(state: Execution, message: DeliverSignal) -> DeliverSignal | None:
        waits = any(step.status is StepStatus.WAITING and step.awaited for step in state.steps.values())
        return message if waits else None

    deciding(monkeypatch, if_awaited)
    assert_caught(Parts(), "missed")


def test_known_signals_not_refused_two_steps_take_one_signal(monkeypatch: pytest.MonkeyPatch):
    def as_new(state: Execution, message: DeliverSignal) -> DeliverSignal:
        state.signals.pop(message.signal_id, None)
        return message

    deciding(monkeypatch, as_new)
    assert_caught(Parts(), "twice")


def test_company_not_checked_a_run_takes_the_signal_of_another_company(monkeypatch: pytest.MonkeyPatch):
    def as_own(state: Execution, message: DeliverSignal) -> DeliverSignal:
        return (
            message
            if state.started is None
            else structs.replace(message, company_id=state.started.company_id)
        )

    deciding(monkeypatch, as_own)
    assert_caught(Parts(), "foreign")


def signal_orders(system: System) -> None:
    """A signal for every run that is to wait for one."""
    for row in system.dispatch.dispatches.values():
        if row.start.runbook.name == "order":
            system.signaller.send(row.start.company_id, "go", run=row.start.execution_id)


class VerdictFirst(EngineWork):
    """What became of a signal is said before it is stored."""

    async def decide(self, messages: Sequence[Received]) -> Turn:
        turn = await super().decide(messages)
        turn.answers += [each for each in turn.outgoing if each.topic == topics.VERDICTS]
        turn.outgoing = [each for each in turn.outgoing if each.topic != topics.VERDICTS]
        return turn


def signals_taken_and_never_stored(parts: Parts) -> set[str]:
    """The engine decides over signals while its database refuses, and then the broker's data is lost."""
    scenario = Scenario(parts)
    system = scenario.system
    system.signaller.is_active = False
    system.send_events(40)
    scenario.run(900)
    store = system.histories.commit

    async def refuse(*_: object) -> None:
        raise TransientError("the database is away")

    system.histories.commit = refuse  # type: ignore[method-assign]
    scenario.kill("engine")
    signal_orders(system)
    scenario.run(900)
    system.histories.commit = store  # type: ignore[method-assign]
    scenario.kill("engine")
    scenario.lose_broker()
    return scenario.broken_rules()


def test_verdict_said_before_the_commit_its_sender_believes_what_never_happened():
    assert not signals_taken_and_never_stored(Parts())
    assert "verdict" in signals_taken_and_never_stored(Parts(engine=VerdictFirst))


# ---- signals: their delivery -------------------------------------------------------------------------------------


class SentOnce(MemorySignalStore):
    """A signal that was sent is done with."""

    def _send_first(self, changes: Changes) -> list[Sending]:
        sendings = super()._send_first(changes)
        for each in sendings:
            self.targets[each.delivery_id, each.execution_id].due_at = None
        return sendings


def signals_lost_until_their_sender_is_killed(parts: Parts) -> set[str]:
    """Signals are on their way for long, and then who sends them dies."""
    scenario = Scenario(parts)
    scenario.lose("deliver_signal.v1")
    scenario.system.send_events(40)
    scenario.run(1200)
    scenario.kill("signal_delivery")
    return scenario.broken_rules()


def test_targets_not_kept_until_their_verdict_a_signal_is_lost_on_its_way():
    assert not signals_lost_until_their_sender_is_killed(Parts())
    assert "verdict" in signals_lost_until_their_sender_is_killed(Parts(signals=SentOnce))


class OnlyFromNowOn(MemorySignalStore):
    """Who comes to wait gets what is sent from then on."""

    def _target_waiting(self, wait: Subscribe, now: object) -> None:
        """Nothing."""


def test_subscriptions_not_matched_with_what_came_before_a_run_waits_in_vain():
    assert_caught(Parts(signals=OnlyFromNowOn), "missed")


class NeverAgain(MemorySignalStore):
    """Nothing is sent again without a message that says so."""

    async def due(self, now: datetime, partitions: Collection[int], count: int, most: int) -> Due:
        found = await super().due(now, partitions, count, most)
        return found._replace(sendings=[])


def pokes_lost(parts: Parts) -> set[str]:
    """What was accepted cannot be said to its owner."""
    scenario = Scenario(parts)
    scenario.lose("signal_request.v1")
    scenario.system.send_events(20)
    scenario.run(900)
    return scenario.broken_rules()


def test_what_is_due_not_sent_again_a_signal_whose_poke_was_lost_is_never_sent():
    assert not pokes_lost(Parts())
    assert "verdict" in pokes_lost(Parts(signals=NeverAgain))


class NeverOver(MemorySignalStore):
    """Signals do not expire."""

    async def due(self, now: datetime, partitions: Collection[int], count: int, most: int) -> Due:
        found = await super().due(now, partitions, count, most)
        return found._replace(expired=[])


def test_signals_do_not_expire_they_are_kept_open_for_ever():
    assert_caught(Parts(signals=NeverOver), "stuck")


class NeverLeft(MemorySignalStore):
    """Who answers that it is over is subscribed all the same."""

    def _record(self, said: Said, now: datetime) -> Iterator[tuple[str, str]]:
        subscriptions = self.subscriptions
        yield from super()._record(said, now)
        self.subscriptions = subscriptions


def test_subscriptions_of_ended_runs_not_ended_they_get_signals_for_ever():
    assert_caught(Parts(signals=NeverLeft), "stuck", rates=LOSSY)


class EarlyIsTheLastWord(MemorySignalStore):
    """A signal that came early is not asked about any more."""

    async def outstanding_page(self, partition: int, count: int, after: str, most: int) -> Sequence[str]:
        asked = {name for (name, _), target in self.targets.items() if target.due_at is not None}
        page = await super().outstanding_page(partition, count, after, len(self.targets))
        return [name for name in page if name in asked][:most]


def verdicts_lost_after_early_ones(parts: Parts) -> set[str]:
    """Signals come before anybody waits; that they were taken is lost with the broker, when the runs are over."""
    scenario = Scenario(parts)
    system = scenario.system
    system.signaller.is_active = False
    scenario.stop("action_executor")
    system.send_events(40)
    scenario.run(400)
    signal_orders(system)
    scenario.run(400)
    assert {target.verdict for target in system.signals.targets.values()} == {"early"}
    scenario.stop("signal_delivery")
    scenario.go_on("action_executor")
    for _ in range(20):
        system.world.clock.seconds += 10
        scenario.run(100)
    scenario.lose_broker()
    scenario.go_on("signal_delivery")
    return scenario.broken_rules()


def test_early_verdicts_taken_for_the_last_word_what_became_of_the_signal_is_never_known():
    assert not verdicts_lost_after_early_ones(Parts())
    assert "verdict" in verdicts_lost_after_early_ones(Parts(signals=EarlyIsTheLastWord))
