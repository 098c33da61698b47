"""What must hold of signals when the world is at rest, over the rows of signal delivery and the histories together."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from outlast.contracts.messages import SignalRequest
from outlast.execution.evolve import fold
from outlast.execution.state import Execution
from outlast.history.events import Recorded, SignalConsumed, SignalReceived, TimerFired
from outlast.testing.invariants import Violation
from outlast_signal_delivery.core.delivery import delivery_id
from tests.simulation.signaller import KEPT, Sent
from tests.simulation.system import System
from tests.simulation.waiting import LONG_WAIT

TIMELY = timedelta(hours=1)
"""What was accepted so long before a wait ended was there in time, whatever went wrong."""


def check_signals(system: System) -> Iterator[Violation]:
    """Every accepted signal is stored, settled and answered as the histories have it; and was taken at most once."""
    yield from _accepted(system)
    yield from _settled(system)
    histories = {each: found for each, found in system.histories.histories.items() if _is_whole(found)}
    states = {each: fold(each, history) for each, history in histories.items()}
    for execution, history in histories.items():
        yield from _taken(system, execution, history, states[execution])
    for (name, execution), target in system.signals.targets.items():
        sent = system.signaller.sent[system.signals.deliveries[name].signal.request.signal_id]
        may = _fitting(system, sent, states.get(execution))
        if target.verdict not in may:
            expected = sorted(map(str, may))
            text = f"{sent.request.signal_id} of {execution} is {target.verdict}, expected one of {expected}"
            yield Violation("verdict", text)
    for execution, history in histories.items():
        yield from _missed(system, history, states[execution])


def _is_whole(history: Sequence[Recorded]) -> bool:
    """Whether it can be folded; one with gaps is found by another rule."""
    return [each.sequence for each in history] == list(range(1, len(history) + 1))


def _accepted(system: System) -> Iterator[Violation]:
    for signal_id, sent in system.signaller.sent.items():
        name = delivery_id(sent.request.company_id, signal_id)
        if sent.is_accepted and name not in system.signals.deliveries:
            yield Violation("signal lost", f"{signal_id} was accepted, but is not stored")


def _settled(system: System) -> Iterator[Violation]:
    for name, delivery in system.signals.deliveries.items():
        if delivery.closed_at is None:
            yield Violation("stuck", f"{delivery.signal.request.signal_id} ({name}) is not closed")
    for (name, execution), target in system.signals.targets.items():
        if target.due_at is not None:
            yield Violation("stuck", f"{name} is still to be sent to {execution}")
    for execution, activity in system.signals.subscriptions:
        yield Violation("stuck", f"{activity} of {execution} is subscribed still")


def _taken(
    system: System, execution: str, history: Sequence[Recorded], state: Execution
) -> Iterator[Violation]:
    """What a run received is of its company and for it, is known to have gone there, and counted once."""
    received: set[str] = set()
    consumed: set[str] = set()
    for each in history:
        event = each.event
        if isinstance(event, SignalReceived):
            if event.signal_id in received:
                yield Violation("twice", f"{execution} received {event.signal_id} twice")
            received.add(event.signal_id)
            request = _stored(system, event.signal_id)
            if request is None or not _is_for(request, state):
                yield Violation("foreign", f"{execution} received {event.signal_id}, which is {request}")
        elif isinstance(event, SignalConsumed):
            if event.signal_id in consumed or event.signal_id not in received:
                yield Violation("twice", f"{execution} took {event.signal_id} twice, or out of nothing")
            consumed.add(event.signal_id)


def _stored(system: System, signal_id: str) -> SignalRequest | None:
    sent = system.signaller.sent.get(signal_id)
    name = delivery_id(sent.request.company_id, signal_id) if sent else ""
    delivery = system.signals.deliveries.get(name)
    return None if delivery is None else delivery.signal.request


def _is_for(request: SignalRequest, state: Execution) -> bool:
    """Whether the sender meant this run; one that came to no step that waits is for none with a key."""
    assert state.started is not None
    assert state.started_at is not None
    if request.company_id != state.started.company_id:
        return False
    if request.execution_id:
        return request.execution_id == state.id
    awaited = {(each.awaited.signal, each.awaited.key) for each in state.steps.values() if each.awaited}
    return (request.name, request.key) in awaited and (
        request.for_future or state.started_at <= request.sent_at
    )


def _fitting(system: System, sent: Sent, state: Execution | None) -> set[str | None]:
    """The verdicts that fit the run's history."""
    signal_id = sent.request.signal_id
    may: set[str | None] = set()
    if state is None or state.started is None or state.started.company_id != sent.request.company_id:
        may.add("unknown")
    elif signal_id in state.signals:
        may.add("consumed" if state.signals[signal_id].consumed_by else "late")
    else:
        may.add("late")
        if sent.request.execution_id and not sent.was_recorded:
            may.add("unknown")  # nobody knew the run yet
    if sent.kept < KEPT and (system.world.losses or state is None or signal_id not in state.signals):
        may.add(None)  # its time was over before anything could be said
    return may


def _missed(system: System, history: Sequence[Recorded], state: Execution) -> Iterator[Violation]:
    """A wait that outlasts everything ends in vain only if nobody sent what it was for."""
    ended_at = _timed_out_at(history, f"{LONG_WAIT}:timeout")
    step = state.steps.get(LONG_WAIT)
    if ended_at is None or step is None or step.awaited is None:
        return
    for name, delivery in system.signals.deliveries.items():
        request = delivery.signal.request
        target = system.signals.targets.get((name, state.id))
        if (
            request.name == step.awaited.signal
            and request.sent_at < ended_at - TIMELY < request.expires_at
            and _is_for(request, state)
            and (target is None or target.verdict != "unknown")
        ):
            yield Violation("missed", f"{LONG_WAIT} of {state.id} did not get {request.signal_id}: {target}")


def _timed_out_at(history: Sequence[Recorded], timer_id: str) -> datetime | None:
    return next(
        (
            each.at
            for each in history
            if isinstance(each.event, TimerFired) and each.event.timer_id == timer_id
        ),
        None,
    )
