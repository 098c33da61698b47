"""State and event to state: total, never refuses, the only place where a run's state changes.

The state is changed in place and returned: one run's state has one owner, who evicts it whenever a commit fails,
so nobody can see a change that was not stored; copying it per event would make long runs cost their square.
"""

from collections.abc import Iterable
from typing import assert_never, cast

import msgspec
from msgspec import Raw, UnsetType

from outlast.execution.state import Execution, OpenTimer, Signal, Step, StepStatus
from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivitySkipped,
    CancelRequested,
    InlineRecorded,
    Recorded,
    ShadowCompared,
    SignalAwaited,
    SignalConsumed,
    SignalReceived,
    SlotAsked,
    SlotTaken,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from outlast.runbooks.documents import Json


def fold(execution_id: str, history: Iterable[Recorded]) -> Execution:
    """The state that this history makes."""
    state = Execution(execution_id)
    for recorded in history:
        evolve(state, recorded)
    return state


def evolve(state: Execution, recorded: Recorded) -> Execution:
    """The state after one more event."""
    event = recorded.event
    match event:
        case WorkflowStarted():
            state.started, state.started_at = event, recorded.at
            state.context = cast("dict[str, Json]", msgspec.json.decode(event.payload))
            state.context["steps"] = {}
        case ActivityScheduled():
            _leave_wait(state, event.activity_id, recorded)
            state.steps[event.activity_id] = Step(
                event.activity_id,
                StepStatus.SCHEDULED,
                event.action,
                event.action_class,
                recorded.sequence,
                scheduled=event,
                attempt=event.attempt,
            )
        case ActivityCompleted():
            _complete(state, event, recorded)
        case ActivityFailed():
            step = _settled(state, event, StepStatus.FAILED, recorded)
            step.error = event.error
        case ActivitySkipped():
            _skip(state, event, recorded)
        case TimerStarted():
            _wait(state, event, recorded)
        case TimerFired():
            state.timers.pop(event.timer_id, None)
        case TimerCancelled():
            state.timers.pop(event.timer_id, None)
            state.cancelled_timers[event.timer_id] = recorded.sequence
        case SignalAwaited():
            step = Step(
                event.activity_id, StepStatus.WAITING, event.action, event.action_class, recorded.sequence
            )
            step.started_at, step.awaited = recorded.at, event
            state.steps[event.activity_id] = step
            state.waits_changed, state.waits_changed_at = recorded.sequence, recorded.at
        case SignalReceived():
            state.signals[event.signal_id] = Signal(event, recorded.sequence)
            state.signals_bytes += len(memoryview(event.payload))
        case SignalConsumed():
            signal = state.signals.get(event.signal_id)
            if signal is not None:
                signal.consumed_by, signal.sequence = event.activity_id, recorded.sequence
        case CancelRequested():
            _cancel(state, event, recorded)
        case SlotAsked():
            state.slot_asked, state.slot_step = recorded.sequence, event.activity_id
            state.waits_changed, state.waits_changed_at = recorded.sequence, recorded.at
        case SlotTaken():
            state.slot_asked, state.slot_step = 0, ""
            state.waits_changed, state.waits_changed_at = recorded.sequence, recorded.at
        case InlineRecorded():
            state.inline = event
        case ShadowCompared():
            state.compared, state.compared_at = event, recorded.at
            state.compared_sequence = recorded.sequence
        case WorkflowCompleted() | WorkflowFailed() | WorkflowCancelled():
            state.ended, state.ended_at = event, recorded.at
        case _:
            assert_never(event)
    state.sequence = recorded.sequence
    return state


def _complete(state: Execution, event: ActivityCompleted, recorded: Recorded) -> None:
    step = _settled(state, event, StepStatus.SUCCESS, recorded)
    step.output = _decoded(event.output)
    steps = cast("dict[str, Json]", state.context["steps"])
    steps[event.activity_id] = {"output": step.output}
    folded = _decoded(event.fold)
    if isinstance(folded, dict):
        for name, value in cast("dict[str, Json]", folded).items():
            _lay_in(state.context, name, value)


def _lay_in(context: dict[str, Json], name: str, value: Json) -> None:
    """An object is laid over the object that is there, member by member; anything else replaces it."""
    present = context.get(name)
    if isinstance(present, dict) and isinstance(value, dict):
        context[name] = {**cast("dict[str, Json]", present), **cast("dict[str, Json]", value)}
    else:
        context[name] = value


def _skip(state: Execution, event: ActivitySkipped, recorded: Recorded) -> None:
    """Before it began, or while it waited."""
    _leave_wait(state, event.activity_id, recorded)
    step = state.steps.get(event.activity_id)
    if step is None:
        step = Step(
            event.activity_id, StepStatus.SKIPPED, event.action, event.action_class, recorded.sequence
        )
        state.steps[event.activity_id] = step
    step.status, step.sequence, step.reason = StepStatus.SKIPPED, recorded.sequence, event.reason


def _cancel(state: Execution, event: CancelRequested, recorded: Recorded) -> None:
    """What waits for another attempt gets none: its last one has failed."""
    state.cancel = event
    state.slot_asked, state.slot_step = 0, ""
    for step in state.steps.values():
        if step.status is StepStatus.WAITING and step.error is not None:
            _leave_wait(state, step.id, recorded)
            step.status, step.sequence = StepStatus.FAILED, recorded.sequence


def _wait(state: Execution, event: TimerStarted, recorded: Recorded) -> None:
    state.timers[event.timer_id] = OpenTimer(event, recorded.sequence)
    if not event.activity_id:
        return
    step = state.steps.get(event.activity_id)
    if step is None:
        step = Step(
            event.activity_id, StepStatus.WAITING, event.action, event.action_class, recorded.sequence
        )
        step.started_at = recorded.at
        state.steps[event.activity_id] = step
    if event.purpose == "retry":
        state.paused_seconds += (event.fire_at - recorded.at).total_seconds()
    step.timer_id = event.timer_id
    step.status, step.sequence = StepStatus.WAITING, recorded.sequence
    state.waits_changed, state.waits_changed_at = recorded.sequence, recorded.at


def _leave_wait(state: Execution, activity_id: str, recorded: Recorded) -> None:
    step = state.steps.get(activity_id)
    if step is not None and step.status is StepStatus.WAITING:
        state.waits_changed, state.waits_changed_at = recorded.sequence, recorded.at


def _settled(
    state: Execution, event: ActivityCompleted | ActivityFailed, status: StepStatus, recorded: Recorded
) -> Step:
    _leave_wait(state, event.activity_id, recorded)
    sequence = recorded.sequence
    step = state.steps.get(event.activity_id)
    if step is None:
        step = Step(event.activity_id, status, event.action, event.action_class, sequence)
        state.steps[event.activity_id] = step
    step.status, step.attempt, step.sequence = status, event.attempt, sequence
    step.started_at, step.duration_ms = event.started_at, event.duration_ms
    return step


def _decoded(raw: Raw | UnsetType) -> Json:
    return None if isinstance(raw, UnsetType) else msgspec.json.decode(raw)
