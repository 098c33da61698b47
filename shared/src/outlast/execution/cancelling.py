"""The end of a run that somebody wants: nothing more begins, and what is in flight may settle. Pure, for every mode.

A run without anything in flight is cancelled at once. Else it is cancelling until the result comes, and a timer of the
run's own bounds that: when it fires, what became of the action outside is not known, and the history says so.
"""

from datetime import timedelta

from outlast import limits
from outlast.contracts.messages import ActionError, Cancel
from outlast.execution.state import Execution, Step, StepStatus
from outlast.execution.turn import Turn
from outlast.execution.waits import INLINE
from outlast.history.events import (
    ActivityFailed,
    ActivitySkipped,
    CancelRequested,
    TimerCancelled,
    TimerStarted,
    WorkflowCancelled,
)

CANCEL = "cancel"
"""The purpose of the timer that bounds what is in flight."""
TIMER_ID = ":cancel"
"""No activity's id begins like this."""
REASON = "cancelled"


def begin(turn: Turn, message: Cancel) -> None:
    """Stop waiting for anything, and end at once unless something is in flight."""
    turn.record(CancelRequested(by=message.by, at=message.at, reason=message.reason))
    leave_waits(turn)
    scheduled = next((each.scheduled for each in _in_flight(turn.state)), None)
    if scheduled is None:
        turn.record(WorkflowCancelled())
        return
    assert turn.state.started is not None
    if turn.state.started.mode != INLINE:  # its process makes the call itself, within the call's time-out
        seconds = scheduled.timeout_seconds + limits.CLAIM_BEGIN_SECONDS + limits.CLAIM_MARGIN_SECONDS
        fire_at = turn.at + timedelta(seconds=seconds)
        turn.record(TimerStarted(timer_id=TIMER_ID, activity_id="", purpose=CANCEL, fire_at=fire_at))


def leave_waits(turn: Turn) -> None:
    """No timer and no signal brings anything on any more; a step that waited is skipped."""
    for timer_id in list(turn.state.timers):
        turn.record(TimerCancelled(timer_id=timer_id))
    for step in list(turn.state.steps.values()):
        if step.status is StepStatus.WAITING:
            turn.record(
                ActivitySkipped(
                    activity_id=step.id, action=step.action, action_class=step.action_class, reason=REASON
                )
            )


def settle(turn: Turn) -> None:
    """The run is cancelled if nothing of it is in flight any more."""
    if _in_flight(turn.state):
        return
    for timer_id in list(turn.state.timers):
        turn.record(TimerCancelled(timer_id=timer_id))
    turn.record(WorkflowCancelled())


def give_up(turn: Turn) -> None:
    """What is in flight has had its time."""
    for step in _in_flight(turn.state):
        error = ActionError(
            code="cancel_timeout",
            message="the run was cancelled, and no result came in the action's time: it may or may not have run",
        )
        turn.record(
            ActivityFailed(
                activity_id=step.id, attempt=step.attempt, started_at=turn.at, duration_ms=0.0, error=error
            )
        )


def _in_flight(state: Execution) -> list[Step]:
    return [step for step in state.steps.values() if step.status is StepStatus.SCHEDULED]
