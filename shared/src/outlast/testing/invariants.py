"""What must hold of every execution whatever went wrong meanwhile. Pure: histories and records in, violations out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from outlast.contracts.messages import Finished, StepSummary
from outlast.execution.cancelling import TIMER_ID
from outlast.execution.evolve import fold
from outlast.execution.outstanding import outstanding
from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CancelRequested,
    End,
    InlineRecorded,
    Recorded,
    ShadowCompared,
    TimerStarted,
    WorkflowStarted,
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must never be. `rule` is one of a few, for counting."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


@dataclass(frozen=True, slots=True)
class RunView:
    """What the finalizer recorded of one run, decoded."""

    status: str
    seq: int
    steps: Sequence[StepSummary]
    payload: bytes | None


def check_history(execution: str, history: Sequence[Recorded]) -> Iterator[Violation]:
    """Gapless, begun once, ended once and last; every scheduled attempt has exactly one outcome.

    What a cancelled run had in flight may have none; nothing of it begins after the cancellation.
    """
    sequences = [each.sequence for each in history]
    if sequences != list(range(1, len(history) + 1)):
        yield Violation("gapless", f"{execution} has sequences {sequences}")
    begun = sum(isinstance(each.event, WorkflowStarted) for each in history)
    if begun != 1 or not isinstance(history[0].event, WorkflowStarted):
        yield Violation("begun once", f"{execution} has {begun} beginnings")
    ends = [each.sequence for each in history if isinstance(each.event, End)]
    if len(ends) != 1 or ends[0] != history[-1].sequence:
        yield Violation("ended once", f"{execution} of {len(history)} events has ends at {ends}")
    outcomes: dict[tuple[str, int], int] = {}
    is_cancelled = False
    for each in history:
        match each.event:
            case CancelRequested():
                is_cancelled = True
            case ActivityScheduled(activity_id=activity) if is_cancelled:
                yield Violation("after cancel", f"{execution} began {activity} when it was cancelled")
            case TimerStarted(timer_id=timer) if is_cancelled and timer != TIMER_ID:
                yield Violation("after cancel", f"{execution} began to wait ({timer}) when it was cancelled")
            case ActivityScheduled(activity_id=activity, attempt=attempt):
                if (activity, attempt) in outcomes:
                    yield Violation("scheduled once", f"{execution} {activity} attempt {attempt}")
                outcomes[activity, attempt] = 0
            case (
                ActivityCompleted(activity_id=activity, attempt=attempt)
                | ActivityFailed(activity_id=activity, attempt=attempt)
            ):
                outcomes[activity, attempt] = outcomes.get((activity, attempt), 0) + 1
            case _:
                pass
    for (activity, attempt), count in outcomes.items():
        if count != 1 and not (is_cancelled and count == 0):
            yield Violation("one outcome", f"{execution} {activity} attempt {attempt} has {count} outcomes")


def check_double(execution: str, history: Sequence[Recorded]) -> Iterator[Violation]:
    """A shadow run: gapless, begun once, ended once, compared once and last, and in agreement."""
    sequences = [each.sequence for each in history]
    if sequences != list(range(1, len(history) + 1)):
        yield Violation("gapless", f"{execution} has sequences {sequences}")
    events = [each.event for each in history if not isinstance(each.event, InlineRecorded)]
    if sum(isinstance(each, WorkflowStarted) for each in events) != 1 or not isinstance(
        events[0], WorkflowStarted
    ):
        yield Violation("begun once", f"the double {execution} begins with {events[:2]}")
    if not events:
        return
    if sum(isinstance(each, End) for each in events) != 1:
        yield Violation("ended once", f"the double {execution} ends not once: {events[-2:]}")
    compared = events[-1]
    if not isinstance(compared, ShadowCompared):
        yield Violation("shadow", f"the double {execution} is not compared, but ends with {compared}")
    elif not compared.is_agreed:
        yield Violation("shadow", f"{execution} and its double differ: {compared.differences}")


def check_record(execution: str, history: Sequence[Recorded], run: RunView) -> Iterator[Violation]:
    """The run's record says what the history says."""
    state = fold(execution, history)
    said = outstanding(state)
    last = said[-1] if said else None
    if not isinstance(last, Finished):
        yield Violation("record", f"{execution} is recorded as {run.status}, but its history has no end")
        return
    if (run.status, run.seq) != (last.status, last.seq):
        yield Violation(
            "record", f"{execution} is {run.status} at {run.seq}, its history {last.status} at {last.seq}"
        )
    if tuple(run.steps) != last.steps:
        yield Violation("record", f"{execution} has steps {run.steps}, its history {last.steps}")
    if state.started is not None and run.payload not in (None, bytes(state.started.payload)):
        yield Violation("record", f"{execution} has another payload in its record than in its history")
