"""What must hold of timers and repeated attempts when the world is at rest."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CancelRequested,
    InlineRecorded,
    Recorded,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowStarted,
)
from outlast.testing.invariants import Violation
from tests.simulation.system import System
from tests.simulation.waiting import TRIED, Attempts

BROKER_CLOCK = timedelta(milliseconds=1)
"""It is read in whole milliseconds."""
_ONCE = Attempts(1, True, 0.0)


def check_timers(system: System) -> Iterator[Violation]:
    """No timer is left; each one of a history ended once, and none before its instant."""
    for key in system.timers.timers:
        yield Violation("stuck", f"the timer {key} waits still")
    for execution, history in system.histories.histories.items():
        yield from _timers_of(execution, history)


def _timers_of(execution: str, history: Sequence[Recorded]) -> Iterator[Violation]:
    open_until: dict[str, datetime] = {}
    for each in history:
        match each.event:
            case TimerStarted(timer_id=timer, fire_at=fire_at):
                open_until[timer] = fire_at
            case TimerFired(timer_id=timer):
                fire_at = open_until.pop(timer, None)
                if fire_at is None:
                    yield Violation("timer", f"{timer} of {execution} fired, but does not run")
                elif each.at < fire_at - BROKER_CLOCK:
                    yield Violation("too early", f"{timer} of {execution} fired at {each.at}, not {fire_at}")
            case TimerCancelled(timer_id=timer):
                if open_until.pop(timer, None) is None:
                    yield Violation("timer", f"{timer} of {execution} is cancelled, but does not run")
            case _:
                pass
    if open_until:
        yield Violation("timer", f"{execution} left {sorted(open_until)} running")


def check_attempts(system: System) -> Iterator[Violation]:
    """Each action was tried as often as its policy and its outcome say, with the pauses between."""
    for execution, history in system.histories.histories.items():
        started = history[0].event
        is_cut = any(isinstance(each.event, CancelRequested | InlineRecorded) for each in history)
        if is_cut or not isinstance(started, WorkflowStarted) or started.mode != "workflow":
            continue  # a cancelled run may try less often, and a double takes what another one tried
        name = started.runbook.name
        scheduled: dict[str, list[Recorded]] = {}
        outcomes: dict[str, list[Recorded]] = {}
        for each in history:
            if isinstance(each.event, ActivityScheduled):
                scheduled.setdefault(each.event.activity_id, []).append(each)
            elif isinstance(each.event, ActivityCompleted | ActivityFailed):
                outcomes.setdefault(each.event.activity_id, []).append(each)
        for step, attempts in scheduled.items():
            expected = TRIED.get(f"{name}.{step}", _ONCE)
            where = f"{step} of {execution} ({name})"
            yield from _tried(where, expected, attempts, outcomes.get(step, []))


def _tried(
    where: str, expected: Attempts, attempts: Sequence[Recorded], outcomes: Sequence[Recorded]
) -> Iterator[Violation]:
    if len(attempts) != expected.count:
        yield Violation("attempts", f"{where} was tried {len(attempts)} times, expected {expected.count}")
        return
    if expected is _ONCE or len(outcomes) != len(attempts):
        return
    if isinstance(outcomes[-1].event, ActivityCompleted) != expected.is_success:
        yield Violation("attempts", f"{where} ended with {outcomes[-1].event}")
    pauses = [
        (later.at - earlier.at).total_seconds()
        for earlier, later in zip(outcomes[:-1], attempts[1:], strict=True)
    ]
    for number, pause in enumerate(pauses):
        if pause < 0.75 * expected.pause_seconds * 2**number:
            yield Violation("too early", f"{where} was tried again after {pause} seconds")
