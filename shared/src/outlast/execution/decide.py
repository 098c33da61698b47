"""The interpreter: what happens next in a run, as events.

`decide` takes a message for one run and returns the events that it causes, folding each in as it goes (what comes
next depends on it), until an action waits for an answer or the run ends. It calls nothing, knows no clock and never
raises for a late or double message: that is a Rejection.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, assert_never, cast

import msgspec
from msgspec import Raw, structs

from outlast import limits
from outlast.contracts.messages import (
    ActionError,
    ActivityResult,
    Cancel,
    DeliverSignal,
    InlineOutcome,
    SlotGranted,
    Start,
    TimerDue,
)
from outlast.execution import cancelling, shadow, waits
from outlast.execution.plan import next_action, timeout_seconds
from outlast.execution.state import Execution, Step, StepStatus
from outlast.execution.status import FLOW, final_status
from outlast.execution.turn import Turn
from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivitySkipped,
    Recorded,
    SlotAsked,
    SlotTaken,
    TimerFired,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from outlast.runbooks.choices import Choice
from outlast.runbooks.definition import Action, Branch, Retry, Runbook, all_steps
from outlast.runbooks.definition import Step as Planned
from outlast.runbooks.documents import Json
from outlast.runbooks.templates import TemplateFailed

ENGINE_VERSION = "2"
"""Behaviour of the interpreter that a run is pinned to; raised when deciding changes for the same history.

1: an attempt that failed was the last. 2: a failure that may pass is tried again.
"""

_encode = msgspec.json.Encoder().encode
_WAITS = {"sleep": waits.begin_sleep, "await_signal": waits.begin_await}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A decision to change nothing. `reason` is one of a bounded set, for the counter."""

    reason: str


Decision: TypeAlias = list[Recorded] | Rejection


RunMessage: TypeAlias = (
    Start | ActivityResult | TimerDue | DeliverSignal | Cancel | SlotGranted | InlineOutcome
)
"""What a run decides over."""


def decide(state: Execution, runbook: Runbook | None, message: RunMessage, at: datetime) -> Decision:
    """The events that this message causes; `state` has them folded in already.

    `runbook` None stands for a pinned definition that this release cannot read: the run fails and says so.
    """
    match message:
        case Start():
            return _start(state, runbook, message, at)
        case ActivityResult():
            return _settle(state, runbook, message, at)
        case TimerDue():
            return _fire(state, runbook, message, at)
        case DeliverSignal():
            return _deliver(state, runbook, message, at)
        case Cancel():
            return _cancel(state, message, at)
        case SlotGranted():
            return _grant(state, runbook, message, at)
        case InlineOutcome():
            return _take_outcome(state, message, at)
        case _:
            assert_never(message)


def _start(state: Execution, runbook: Runbook | None, start: Start, at: datetime) -> Decision:
    if state.started is not None:
        return Rejection("already_started")
    turn = _Interpreter(state, at)
    turn.record(
        WorkflowStarted(
            company_id=start.company_id,
            runbook=start.runbook,
            event=start.event,
            mode=start.mode,
            lane=start.lane,
            payload=start.payload,
            engine_version=ENGINE_VERSION,
            chain=start.chain,
            traceparent=start.traceparent,
            origin=start.origin,
        )
    )
    if state.is_shadow and state.inline is None:
        shadow.await_outcome(turn)
    turn.advance(runbook)
    return turn.events


def _settle(state: Execution, runbook: Runbook | None, result: ActivityResult, at: datetime) -> Decision:
    if state.started is None:
        return Rejection("unknown_execution")
    if state.is_ended:
        return Rejection("execution_ended")
    if state.is_shadow:
        return Rejection("shadow_run")
    step = state.steps.get(result.activity_id)
    if step is None or step.status is not StepStatus.SCHEDULED:
        return Rejection("activity_not_open")
    if step.attempt != result.attempt:
        return Rejection("other_attempt")
    turn = _Interpreter(state, at)
    outcome = _outcome(result)
    if isinstance(outcome, ActivityFailed):
        turn.fail_or_retry(runbook, step, outcome)
    else:
        turn.record(outcome)
    turn.advance(runbook)
    return turn.events


def _fire(state: Execution, runbook: Runbook | None, due: TimerDue, at: datetime) -> Decision:
    if state.started is None:
        return Rejection("unknown_execution")
    timer = state.timers.get(due.timer_id)
    if timer is None:
        return Rejection("execution_ended" if state.is_ended else "timer_not_open")
    turn = _Interpreter(state, at)
    if timer.event.purpose == cancelling.CANCEL:
        turn.record(TimerFired(timer_id=due.timer_id))
        cancelling.give_up(turn)
        turn.advance(runbook)
    elif timer.event.purpose == shadow.OUTCOME:
        turn.record(TimerFired(timer_id=due.timer_id))
        shadow.abandon(turn, "the inline run did not say what it did")
    else:
        turn.resume(runbook, timer.event.activity_id, waits.fire(turn, timer))
    return turn.events


def _deliver(state: Execution, runbook: Runbook | None, message: DeliverSignal, at: datetime) -> Decision:
    if state.started is None or state.started.company_id != message.company_id:
        return Rejection("unknown_execution")
    if message.signal_id in state.signals:
        return Rejection("signal_known")
    if state.is_ended:
        return Rejection("execution_ended")
    if len(state.signals) >= limits.SIGNALS_MAX:
        return Rejection("signals_max")
    if state.signals_bytes + len(memoryview(message.payload)) > limits.SIGNALS_BYTES_MAX:
        return Rejection("signals_bytes_max")
    turn = _Interpreter(state, at)
    awaiting = waits.receive(turn, message)
    if awaiting is not None:
        turn.resume(runbook, awaiting.id)
    return turn.events


def _cancel(state: Execution, message: Cancel, at: datetime) -> Decision:
    """Of whatever mode; another company's run is one that does not exist."""
    if state.started is None or state.started.company_id != message.company_id:
        return Rejection("unknown_execution")
    if state.is_ended:
        return Rejection("execution_ended")
    if state.cancel is not None:
        return Rejection("cancel_known")
    if state.is_shadow:
        return Rejection("shadow_run")  # it ends as its inline run does
    turn = _Interpreter(state, at)
    cancelling.begin(turn, message)
    return turn.events


def _grant(state: Execution, runbook: Runbook | None, granted: SlotGranted, at: datetime) -> Decision:
    if state.started is None:
        return Rejection("unknown_execution")
    if state.is_ended:
        return Rejection("execution_ended")
    if not state.slot_asked or state.slot_asked != granted.seq:
        return Rejection("slot_not_asked")
    step = state.steps[state.slot_step]
    turn = _Interpreter(state, at)
    turn.record(SlotTaken())
    turn.go_on(runbook, step if step.status is StepStatus.WAITING else None)
    return turn.events


def _take_outcome(state: Execution, message: InlineOutcome, at: datetime) -> Decision:
    """Of a run that has not begun yet too: its start is on the way, and nobody would say this again."""
    if state.started is not None and not (state.is_shadow and state.started.company_id == message.company_id):
        return Rejection("not_a_shadow_run")
    if state.inline is not None:
        return Rejection("outcome_known")
    if state.compared is not None:
        return Rejection("execution_ended")
    turn = _Interpreter(state, at)
    shadow.take_outcome(turn, message)
    return turn.events


def proceed(state: Execution, runbook: Runbook | None, at: datetime) -> list[Recorded]:
    """One step further with a shadow run, as far as it can go now; empty if it cannot, or is none.

    Who drives a shadow run calls this after each decision, until it is empty, each time on a state that is folded
    anew from stored bytes: so the comparison at the end proves replay, too.
    """
    if not state.is_shadow or state.compared is not None:
        return []
    turn = _Interpreter(state, at)
    turn.step(runbook)
    return turn.events


def _outcome(result: ActivityResult) -> ActivityCompleted | ActivityFailed:
    error = result.error
    if (
        error is None
        and isinstance(result.output, Raw)
        and len(bytes(result.output)) > limits.OUTPUT_BYTES_MAX
    ):
        size = len(bytes(result.output))
        error = ActionError(
            code="output_too_large",
            message=f"expected an output of at most {limits.OUTPUT_BYTES_MAX} bytes, got {size}",
        )
    if error is not None:
        return ActivityFailed(
            activity_id=result.activity_id,
            attempt=result.attempt,
            started_at=result.started_at,
            duration_ms=result.duration_ms,
            error=error,
            resolved=result.resolved,
        )
    return ActivityCompleted(
        activity_id=result.activity_id,
        attempt=result.attempt,
        started_at=result.started_at,
        duration_ms=result.duration_ms,
        output=result.output,
        fold=result.fold,
        resolved=result.resolved,
    )


class _Interpreter(Turn):
    """Goes through the actions of the pinned definition."""

    def advance(self, runbook: Runbook | None) -> None:
        """Go on until an action waits for its answer or the run has ended."""
        if self.state.cancel is not None:
            cancelling.settle(self)
            return
        if self.state.is_shadow:
            return  # step by step: see proceed
        if runbook is None:
            self._fail_unreadable()
            return
        while (found := next_action(runbook.actions, self.state)) is not None:
            if isinstance(found, Step):
                return
            self._begin(found)
        self._end()

    def step(self, runbook: Runbook | None) -> None:
        """One step of a shadow run: an action begun or settled, the end, the comparison; nothing while it waits."""
        state, inline = self.state, self.state.inline
        if state.is_ended:
            if inline is not None:
                self.record(shadow.compare(state, inline))
        elif runbook is None:
            self._fail_unreadable()
        elif inline is not None and inline.is_cut:
            shadow.abandon(self, "what the inline run did was too large for one message")
        elif (found := next_action(runbook.actions, state)) is None:
            if inline is not None and inline.status == "cancelled":  # while its last action was in flight
                shadow.follow(self, inline)
            else:
                self._end()
        elif inline is not None and shadow.is_beyond(inline, found.id):
            shadow.follow(self, inline)
        elif not isinstance(found, Step):
            self._begin(found)
        elif found.status is StepStatus.SCHEDULED and inline is not None:
            shadow.settle(self, inline, found)

    def _fail_unreadable(self) -> None:
        message = "this release cannot read the pinned definition"
        self.record(WorkflowFailed(error=ActionError(code="definition_unreadable", message=message)))

    def resume(self, runbook: Runbook | None, waited: str, again: Step | None = None) -> None:
        """The step's wait is over, `again` for another attempt: go on, but ask first for a slot that was given back.

        A run that has nothing left to do needs none to end.
        """
        started = self.state.started
        assert started is not None
        gave_back = self.state.is_durable and started.origin.is_slotted and started.origin.releases_slot
        if gave_back and runbook is not None and next_action(runbook.actions, self.state) is not None:
            self.record(SlotAsked(activity_id=waited))
        else:
            self.go_on(runbook, again)

    def go_on(self, runbook: Runbook | None, again: Step | None) -> None:
        """With the next attempt, if one is due, and with what follows."""
        if again is not None:
            self.schedule_again(again)
        self.advance(runbook)

    def _end(self) -> None:
        status = final_status(self.state.steps.values())
        self.record(WorkflowFailed() if status == "failed" else WorkflowCompleted(status=status))

    # ---- one action ------------------------------------------------------------------------------------------

    def _begin(self, action: Planned) -> None:
        """Skip it, settle it here, or schedule it."""
        try:
            if action.when is not None and not self._is_true(action.when):
                self._skip(action, "when_false")
            elif isinstance(action, Branch):
                branch = "then" if self._is_true(action.expression) else "else"
                self.complete(action, {"branch": branch})
            elif action.action_class == FLOW:
                self._settle_flow(action)
            else:
                self._schedule(action)
        except TemplateFailed as fault:
            self.fail(action, ActionError(code="template_failed", message=fault.message, path=fault.path))

    def _skip(self, action: Planned, reason: str) -> None:
        self.record(
            ActivitySkipped(
                activity_id=action.id, action=action.type, action_class=action.action_class, reason=reason
            )
        )

    def _is_true(self, choice: Choice) -> bool:
        assert self.state.started is not None
        return choice.holds(self.state.context, self.state.started.event.time)

    def _schedule(self, action: Action) -> None:
        assert self.state.started is not None
        rendered = _encode(action.config.render(self.state.context, self.state.started.event.time))
        if len(rendered) > limits.RENDERED_INPUT_BYTES_MAX:
            limit = limits.RENDERED_INPUT_BYTES_MAX
            message = f"expected a rendered input of at most {limit} bytes, got {len(rendered)}"
            self.fail(action, ActionError(code="input_too_large", message=message))
            return
        self.record(
            ActivityScheduled(
                activity_id=action.id,
                action=action.type,
                action_class=action.action_class,
                attempt=1,
                input=Raw(rendered),
                timeout_seconds=timeout_seconds(action),
                on_unknown=action.on_unknown,
            )
        )

    def _settle_flow(self, action: Action) -> None:
        """Flow actions are decided here and need no executor."""
        if action.type == "resolve_owner":
            self._resolve_owner(action)
        elif action.type in _WAITS:
            self._begin_wait(action)
        else:
            message = f"this release cannot run the flow action {action.type}"
            self.fail(action, ActionError(code="unknown_action", message=message))

    def _begin_wait(self, action: Action) -> None:
        assert self.state.started is not None
        if self.state.started.mode == waits.INLINE:
            self._skip(action, waits.INLINE)
            return
        config = action.config.render(self.state.context, self.state.started.event.time)
        try:
            _WAITS[action.type](self, action, cast("dict[str, Json]", config))
        except waits.ConfigInvalid as fault:
            self.fail(action, ActionError(code="config_invalid", message=str(fault), path=fault.path))

    def fail_or_retry(self, runbook: Runbook | None, step: Step, failed: ActivityFailed) -> None:
        """An attempt failed. Wait for another one, if the error may pass and attempts are left."""
        policy = self._retry_policy(runbook, step, failed.error)
        if policy is not None and waits.is_beyond_budget(self.state, step, policy, failed.error):
            self.record(structs.replace(failed, error=waits.budget_spent(failed.error)))
            return
        self.record(failed)
        if policy is not None:
            waits.begin_retry(self, step, policy, failed.error)

    def _retry_policy(self, runbook: Runbook | None, step: Step, error: ActionError) -> Retry | None:
        """By which another attempt follows this failure; None if none does."""
        assert self.state.started is not None
        if runbook is None or not error.retryable or self.state.cancel is not None:
            return None
        if self.state.started.engine_version == "1":
            return None
        planned = next((each for each in all_steps(runbook.actions) if each.id == step.id), None)
        if not isinstance(planned, Action):
            return None
        policy = planned.retry or waits.DEFAULT_RETRY
        return policy if step.attempt < policy.max_attempts else None

    def schedule_again(self, step: Step) -> None:
        """The next attempt, with the same input."""
        assert step.scheduled is not None
        self.record(structs.replace(step.scheduled, attempt=step.attempt + 1))

    def _resolve_owner(self, action: Action) -> None:
        """The owning team that enrichment laid in; absent = failed with the path."""
        asset = self.state.context.get("asset")
        team = asset.get("owning_team") if isinstance(asset, dict) else None
        if team is None:
            path = "asset" if asset is None else "asset.owning_team"
            message = f"expected the asset's owning team, but {path} is absent"
            self.fail(action, ActionError(code="owner_unknown", message=message, path=path))
        else:
            self.complete(action, {"owner": team}, {"owner": team})
