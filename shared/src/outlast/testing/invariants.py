"""What must hold of every execution whatever went wrong meanwhile. Pure: histories and records in, violations out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from outlast.contracts.messages import Finished, StepSummary
from outlast.execution.evolve import fold
from outlast.execution.outstanding import outstanding
from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    End,
    Recorded,
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
    """Gapless, begun once, ended once and last; every scheduled attempt has exactly one outcome."""
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
    for each in history:
        match each.event:
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
        if count != 1:
            yield Violation("one outcome", f"{execution} {activity} attempt {attempt} has {count} outcomes")


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
    if state.started is not None and run.payload != bytes(state.started.payload):
        kept = "another payload" if run.payload else "no payload"
        yield Violation("record", f"{execution} has {kept} in its record")
