"""What a run still has to say: the commands it waits for, and its current lifecycle message.

Derived from the state alone, never remembered. The same function serves the live path (what came after a sequence)
and every repair: a crash between commit and emit, the loss of the broker's data, a probe.
"""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import UNSET, structs

from outlast.contracts.messages import (
    CancelTimer,
    Compared,
    Finished,
    Resumed,
    Resuming,
    RunActivity,
    SignalVerdict,
    Started,
    StartTimer,
    StepSummary,
    Subscribe,
    Unsubscribe,
    Waiting,
)
from outlast.execution.state import Execution, Step, StepStatus
from outlast.execution.waits import verdict, waits
from outlast.history.events import (
    ActivityScheduled,
    End,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)

ENGINE_RANK = 1
"""Lifecycle messages compare by (rank, seq): 0 = the dispatch row, 1 = history, 2 = the watchdog."""

Command: TypeAlias = (
    RunActivity
    | StartTimer
    | CancelTimer
    | Subscribe
    | Unsubscribe
    | SignalVerdict
    | Started
    | Waiting
    | Resumed
    | Resuming
    | Finished
    | Compared
)


def outstanding(state: Execution, after_sequence: int = 0) -> list[Command]:
    """What the run has to say because of events after that sequence; of 0: everything it still waits for.

    After a sequence above 0 the `started` message is known to be delivered (a batch is flushed before the next one
    commits), so `finished` leaves the payload out. What only tidies up (cancel a timer, unsubscribe) is said once and
    not derived again: a timer that fires late and a signal that comes late are refused, and that says the same.
    """
    started = state.started
    if started is None or state.sequence <= after_sequence:
        return []
    commands: list[Command] = []
    if state.signals:
        commands.extend(_verdicts(state, started, after_sequence))
    if after_sequence > 0 and (state.cancelled_timers or state.waits_changed > after_sequence):
        commands.extend(_tidied(state, started, after_sequence))
    if state.is_shadow:
        commands.extend(_of_double(state, started, after_sequence))
        return commands
    if state.ended is not None:
        commands.append(_finished(state, started, state.ended, after_sequence))
        return commands
    if after_sequence == 0:
        commands.append(_started(state, started))
    if state.cancel is None:  # what a cancelled run has ordered and nobody has begun is not to begin
        commands.extend(
            _run_activity(state, started, step.scheduled)
            for step in state.steps.values()
            if step.status is StepStatus.SCHEDULED
            and step.sequence > after_sequence
            and step.scheduled is not None
        )
    if state.timers:
        commands.extend(_timers(state, after_sequence))
    if state.waits_changed > after_sequence:
        commands.extend(_subscriptions(state, started, after_sequence))
        commands.append(_waiting(state, started))
    return commands


def _of_double(state: Execution, started: WorkflowStarted, after_sequence: int) -> Iterator[Command]:
    """A shadow run orders no action and has no record; its waits are real, and its last word is the comparison."""
    compared = state.compared
    if compared is None:
        yield from _timers(state, after_sequence)
        if not state.is_ended:
            yield from _subscriptions(state, started, after_sequence)
        return
    assert state.compared_at is not None
    if state.compared_sequence > after_sequence:
        yield Compared(
            execution_id=state.id,
            company_id=started.company_id,
            runbook=started.runbook,
            lane=started.lane,
            at=state.compared_at,
            is_agreed=compared.is_agreed,
            steps_compared=compared.steps_compared,
            differences=compared.differences,
            expected=compared.expected,
        )


def _timers(state: Execution, after_sequence: int) -> Iterator[Command]:
    for timer in state.timers.values():
        if timer.sequence > after_sequence:
            event = timer.event
            yield StartTimer(execution_id=state.id, timer_id=event.timer_id, fire_at=event.fire_at)


def _subscriptions(state: Execution, started: WorkflowStarted, after_sequence: int) -> Iterator[Command]:
    assert state.started_at is not None
    for step in state.steps.values():
        awaited = step.awaited
        if step.status is not StepStatus.WAITING or awaited is None or not awaited.key:
            continue
        if step.sequence > after_sequence:
            yield Subscribe(
                execution_id=state.id,
                activity_id=step.id,
                company_id=started.company_id,
                signal=awaited.signal,
                key=awaited.key,
                started_at=state.started_at,
            )


def _waiting(state: Execution, started: WorkflowStarted) -> Waiting | Resuming | Resumed:
    """Whether the run waits, asks for its slot, or goes on."""
    assert state.started_at is not None
    found = waits(state)
    common = Resumed(
        execution_id=state.id,
        company_id=started.company_id,
        runbook=started.runbook,
        event=started.event,
        mode=started.mode,
        lane=started.lane,
        rank=ENGINE_RANK,
        seq=state.waits_changed,
        at=state.waits_changed_at or state.started_at,
        started_at=state.started_at,
        chain=started.chain,
        origin=started.origin,
    )
    if state.slot_asked:
        return Resuming(**structs.asdict(common))
    return Waiting(**structs.asdict(common), waits=found) if found else common


def _tidied(state: Execution, started: WorkflowStarted, after_sequence: int) -> Iterator[Command]:
    """What the run waits for no more."""
    for timer_id, sequence in state.cancelled_timers.items():
        if sequence > after_sequence:
            yield CancelTimer(execution_id=state.id, timer_id=timer_id)
    for step in state.steps.values():
        awaited = step.awaited
        if step.status is StepStatus.WAITING or awaited is None or not awaited.key:
            continue
        if step.sequence > after_sequence:
            yield Unsubscribe(
                execution_id=state.id,
                activity_id=step.id,
                company_id=started.company_id,
                signal=awaited.signal,
                key=awaited.key,
            )


def _verdicts(state: Execution, started: WorkflowStarted, after_sequence: int) -> Iterator[Command]:
    """What became of each signal, where that has changed."""
    for signal_id, signal in state.signals.items():
        is_over = state.is_ended and not signal.consumed_by  # kept for an await that never came
        if signal.sequence > after_sequence or is_over:
            yield SignalVerdict(
                signal_id=signal_id,
                execution_id=state.id,
                company_id=started.company_id,
                verdict=verdict(state, signal_id),
            )


def _started(state: Execution, started: WorkflowStarted) -> Started:
    assert state.started_at is not None
    return Started(
        execution_id=state.id,
        company_id=started.company_id,
        runbook=started.runbook,
        event=started.event,
        mode=started.mode,
        lane=started.lane,
        rank=ENGINE_RANK,
        seq=1,
        at=state.started_at,
        payload=UNSET if state.is_durable else started.payload,
        chain=started.chain,
        origin=started.origin,
    )


def _run_activity(state: Execution, started: WorkflowStarted, scheduled: ActivityScheduled) -> RunActivity:
    return RunActivity(
        execution_id=state.id,
        activity_id=scheduled.activity_id,
        attempt=scheduled.attempt,
        company_id=started.company_id,
        runbook=started.runbook,
        event=started.event,
        action=scheduled.action,
        action_class=scheduled.action_class,
        input=scheduled.input,
        timeout_seconds=scheduled.timeout_seconds,
        on_unknown=scheduled.on_unknown,
        chain=started.chain,
    )


def _finished(state: Execution, started: WorkflowStarted, ended: End, after_sequence: int) -> Finished:
    assert state.started_at is not None
    assert state.ended_at is not None
    asked = state.cancel if isinstance(ended, WorkflowCancelled) else None
    return Finished(
        execution_id=state.id,
        company_id=started.company_id,
        runbook=started.runbook,
        event=started.event,
        mode=started.mode,
        lane=started.lane,
        rank=ENGINE_RANK,
        seq=state.sequence,
        at=state.ended_at,
        started_at=state.started_at,
        status=end_status(ended),
        steps=tuple(_summary(step) for step in state.steps.values()),
        payload=started.payload if after_sequence == 0 else UNSET,
        chain=started.chain,
        origin=started.origin,
        error=ended.error if isinstance(ended, WorkflowFailed) else None,
        reason="" if asked is None else asked.reason,
        by="" if asked is None else asked.by,
    )


def end_status(ended: End) -> str:
    """success | partial | skipped | failed | cancelled"""
    if isinstance(ended, WorkflowCompleted):
        return ended.status
    return "failed" if isinstance(ended, WorkflowFailed) else "cancelled"


def _summary(step: Step) -> StepSummary:
    return StepSummary(
        id=step.id,
        action=step.action,
        status=step.status.value,
        attempts=step.attempt,
        started_at=step.started_at,
        duration_ms=step.duration_ms,
        reason=step.reason,
        error=step.error,
    )
