"""The course of one inline run: the interpreter, fed with results instead of with stored messages. Pure.

The same start and the same results give the same course, whenever and wherever: its instants are the broker's for the
start and the recorded ones for the results. So a run that was cut off is taken up by feeding it what the ledger has.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import UNSET, structs

from outlast import limits
from outlast.contracts import codec
from outlast.contracts.messages import (
    ActionError,
    ActivityResult,
    Cancel,
    Finished,
    InlineOutcome,
    OutcomeStep,
    RunActivity,
    Start,
    Started,
    StartTimer,
    TimerDue,
)
from outlast.execution.decide import Rejection, RunMessage, decide
from outlast.execution.outstanding import outstanding
from outlast.execution.state import Execution, Step
from outlast.execution.turn import Turn
from outlast.execution.waits import RETRY
from outlast.history.events import ActivityCompleted, WorkflowFailed
from outlast.runbooks.definition import Runbook

INLINE, SHADOW = "inline", "shadow"

Next: TypeAlias = Started | RunActivity | StartTimer | Finished
"""What a run wants: that it has begun or ended is said, an activity run, another attempt made at an instant."""


class Course:
    """One run. Every step returns what the run wants next, nothing if the step changed nothing."""

    def __init__(self, start: Start, runbook: Runbook | None) -> None:
        self._start = start
        self._runbook = runbook
        self._at = start.event.time
        self._completed: dict[str, ActivityCompleted] = {}
        self.state = Execution(start.execution_id)

    def begin(self, at: datetime) -> Sequence[Next]:
        """`at` is when the broker took the start."""
        self._at = at
        return self._decide(structs.replace(self._start, mode=INLINE))

    def settle(self, result: ActivityResult) -> Sequence[Next]:
        """An attempt has ended."""
        self._at = max(self._at, result.started_at + timedelta(milliseconds=result.duration_ms))
        return self._decide(result)

    def go_on(self, timer_id: str) -> Sequence[Next]:
        """The pause before an attempt is over."""
        timer = self.state.timers.get(timer_id)
        if timer is None:
            return ()
        fire_at = timer.event.fire_at
        self._at = max(self._at, fire_at)
        return self._decide(TimerDue(execution_id=self.state.id, timer_id=timer_id, fire_at=fire_at))

    def cancel(self, message: Cancel, at: datetime) -> Sequence[Next]:
        """Somebody wants it to end."""
        self._at = max(self._at, at)
        return self._decide(message)

    def give_up(self, error: ActionError) -> Sequence[Next]:
        """Nothing can be decided over it any more."""
        if self.state.started is None or self.state.is_ended:
            return ()
        before = self.state.sequence
        Turn(self.state, self._at).record(WorkflowFailed(error=error))
        return self._wanted(before)

    def paused_attempt(self, timer_id: str) -> tuple[str, int] | None:
        """The activity and the attempt that this pause stands before; None if it is none."""
        timer = self.state.timers.get(timer_id)
        if timer is None or timer.event.purpose != RETRY:
            return None
        step = self.state.steps[timer.event.activity_id]
        return step.id, step.attempt + 1

    def has_come_to(self, tried: Iterable[tuple[str, int]]) -> bool:
        """Whether it has asked for all of these activities and attempts, or has ended."""
        steps = self.state.steps
        return self.state.is_ended or all(
            name in steps and steps[name].attempt >= attempt for name, attempt in tried
        )

    def outcome(self) -> InlineOutcome:
        """What a shadowed run did; without inputs and outputs where they are too large for one message."""
        assert self.state.ended_at is not None, "a run that has ended has an outcome"
        (finished,) = (each for each in outstanding(self.state, 1) if isinstance(each, Finished))
        whole = InlineOutcome(
            execution_id=self.state.id,
            company_id=self._start.company_id,
            status=finished.status,
            at=finished.at,
            steps=tuple(self._step(step) for step in self.state.steps.values()),
        )
        if len(codec.encode(whole)) <= limits.MESSAGE_BYTES_MAX - _ENVELOPE_BYTES:
            return whole
        bare = tuple(structs.replace(step, input=UNSET, output=UNSET, fold=UNSET) for step in whole.steps)
        return structs.replace(whole, steps=bare, is_cut=True)

    def _step(self, step: Step) -> OutcomeStep:
        completed = self._completed.get(step.id)
        return OutcomeStep(
            activity_id=step.id,
            action=step.action,
            action_class=step.action_class,
            status=step.status.value,
            attempts=step.attempt,
            started_at=step.started_at,
            duration_ms=step.duration_ms,
            reason=step.reason,
            input=UNSET if step.scheduled is None else step.scheduled.input,
            output=UNSET if completed is None else completed.output,
            fold=UNSET if completed is None else completed.fold,
            error=step.error,
        )

    def _decide(self, message: RunMessage) -> Sequence[Next]:
        before = self.state.sequence
        decision = decide(self.state, self._runbook, message, self._at)
        if isinstance(decision, Rejection):
            return ()
        if self._start.mode == SHADOW:
            for recorded in decision:
                if isinstance(recorded.event, ActivityCompleted):
                    self._completed[recorded.event.activity_id] = recorded.event
        return self._wanted(before)

    def _wanted(self, before: int) -> Sequence[Next]:
        """What is new to say. Whether it waits is nobody's business: all its waits are short."""
        mode = self._start.mode
        wanted: list[Next] = []
        for command in outstanding(self.state, before):
            match command:
                case Started() | Finished():
                    wanted.append(command if mode == INLINE else structs.replace(command, mode=mode))
                case RunActivity() | StartTimer():
                    wanted.append(command)
                case _:
                    pass
        return wanted


_ENVELOPE_BYTES = 4 * 1024
"""Key, headers and framing beside a message's value."""
