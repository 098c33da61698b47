"""What a run still has to say: the commands it waits for, and its current lifecycle message.

Derived from the state alone, never remembered. The same function serves the live path (what came after a sequence)
and every repair: a crash between commit and emit, the loss of the broker's data, a probe.
"""

from typing import TypeAlias

from msgspec import UNSET

from outlast.contracts.messages import Finished, RunActivity, Started, StepSummary
from outlast.execution.state import Execution, Step, StepStatus
from outlast.history.events import ActivityScheduled, WorkflowCompleted, WorkflowFailed, WorkflowStarted

ENGINE_RANK = 1
"""Lifecycle messages compare by (rank, seq): 0 = the dispatch row, 1 = history, 2 = the watchdog."""

Command: TypeAlias = RunActivity | Started | Finished


def outstanding(state: Execution, after_sequence: int = 0) -> list[Command]:
    """What the run has to say because of events after that sequence; of 0: everything it still waits for.

    After a sequence above 0 the `started` message is known to be delivered (a batch is flushed before the next one
    commits), so `finished` leaves the payload out.
    """
    started = state.started
    if started is None:
        return []
    if state.ended is not None:
        return (
            [_finished(state, started, state.ended, after_sequence)]
            if state.sequence > after_sequence
            else []
        )
    commands: list[Command] = []
    if after_sequence == 0:
        commands.append(_started(state, started))
    commands.extend(
        _run_activity(state, started, step.scheduled)
        for step in state.steps.values()
        if step.status is StepStatus.SCHEDULED
        and step.sequence > after_sequence
        and step.scheduled is not None
    )
    return commands


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
        payload=started.payload,
        chain=started.chain,
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


def _finished(
    state: Execution, started: WorkflowStarted, ended: WorkflowCompleted | WorkflowFailed, after_sequence: int
) -> Finished:
    assert state.started_at is not None
    assert state.ended_at is not None
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
        status=ended.status if isinstance(ended, WorkflowCompleted) else "failed",
        steps=tuple(_summary(step) for step in state.steps.values()),
        payload=started.payload if after_sequence == 0 else UNSET,
        chain=started.chain,
        error=ended.error if isinstance(ended, WorkflowFailed) else None,
    )


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
