"""Stored for ever: add types and fields with defaults, never change one.

The type is a string with a version. `Recorded` puts an event in its place: sequences count 1, 2, 3 … without gaps
within one execution, and `at` is the broker's time of the message that caused it.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from outlast.contracts.lifecycle import Difference
from outlast.contracts.messages import OutcomeStep
from outlast.contracts.parts import NO_ORIGIN, ActionError, EventReference, Origin, RunbookReference


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all history events."""


class WorkflowStarted(HistoryEvent, frozen=True, kw_only=True, tag="workflow_started.v1"):
    """The run began, on this definition, with this payload."""

    company_id: str
    runbook: RunbookReference
    event: EventReference
    mode: str
    lane: int
    payload: Raw
    engine_version: str
    chain: tuple[str, ...] = ()
    traceparent: str = ""
    origin: Origin = NO_ORIGIN


class ActivityScheduled(HistoryEvent, frozen=True, kw_only=True, tag="activity_scheduled.v1"):
    """This attempt at an action is to be run with this rendered input."""

    activity_id: str
    action: str
    action_class: str
    attempt: int
    input: Raw
    timeout_seconds: float
    on_unknown: str = "retry"


class ActivityCompleted(HistoryEvent, frozen=True, kw_only=True, tag="activity_completed.v1"):
    """An action succeeded. `action` and its class are given where the interpreter settled it itself (flow actions),
    because then no ActivityScheduled stands before it."""

    activity_id: str
    attempt: int
    started_at: datetime
    duration_ms: float
    output: Raw | UnsetType = UNSET
    fold: Raw | UnsetType = UNSET
    resolved: str = ""
    action: str = ""
    action_class: str = ""


class ActivityFailed(HistoryEvent, frozen=True, kw_only=True, tag="activity_failed.v1"):
    """An action failed: outside, or before it could be scheduled (a template, a condition)."""

    activity_id: str
    attempt: int
    started_at: datetime
    duration_ms: float
    error: ActionError
    resolved: str = ""
    action: str = ""
    action_class: str = ""


class ActivitySkipped(HistoryEvent, frozen=True, kw_only=True, tag="activity_skipped.v1"):
    """An action's `when` was false, or it would have waited in a mode that does not, or its wait was cancelled."""

    activity_id: str
    action: str
    action_class: str
    reason: str


class TimerStarted(HistoryEvent, frozen=True, kw_only=True, tag="timer_started.v1"):
    """The run waits until this instant. `action` and its class are given where the timer begins a step (sleep)."""

    timer_id: str
    activity_id: str
    """"" where the timer is the run's own and no step's."""
    purpose: str
    """sleep | retry | timeout | cancel (bounds what is in flight at a cancellation) | outcome (how long a shadow run
    waits for what its inline run did)"""
    fire_at: datetime
    action: str = ""
    action_class: str = ""


class TimerFired(HistoryEvent, frozen=True, kw_only=True, tag="timer_fired.v1"):
    """The instant has come."""

    timer_id: str


class TimerCancelled(HistoryEvent, frozen=True, kw_only=True, tag="timer_cancelled.v1"):
    """What the timer stood for is settled."""

    timer_id: str


class SignalAwaited(HistoryEvent, frozen=True, kw_only=True, tag="signal_awaited.v1"):
    """A step waits for a signal of this name; `key` is the rendered correlation key, "" for none."""

    activity_id: str
    action: str
    action_class: str
    signal: str
    key: str = ""
    on_timeout: str = "fail"
    """continue | fail"""


class SignalReceived(HistoryEvent, frozen=True, kw_only=True, tag="signal_received.v1"):
    """A signal came for this run, whether or not a step waits for it yet."""

    signal_id: str
    name: str
    payload: Raw
    sent_by: str
    sent_at: datetime
    key: str = ""
    """The correlation key it was sent with; "" if it was sent to the run itself."""


class SignalConsumed(HistoryEvent, frozen=True, kw_only=True, tag="signal_consumed.v1"):
    """A step took the signal; it counts for no other."""

    signal_id: str
    activity_id: str


class WorkflowCompleted(HistoryEvent, frozen=True, kw_only=True, tag="workflow_completed.v1"):
    """The run ended by itself: success, partial or skipped."""

    status: str


class WorkflowFailed(HistoryEvent, frozen=True, kw_only=True, tag="workflow_failed.v1"):
    """The run ended in failure; `error` where it was not a step that failed."""

    error: ActionError | None = None


class CancelRequested(HistoryEvent, frozen=True, kw_only=True, tag="cancel_requested.v1"):
    """Nothing more of the run begins; it is cancelled when what is in flight has settled."""

    by: str
    """Who asked for it; "" where a shadow run follows its inline run."""
    at: datetime
    """When it was asked for, by the asker's clock."""
    reason: str = ""


class WorkflowCancelled(HistoryEvent, frozen=True, kw_only=True, tag="workflow_cancelled.v1"):
    """The run ended because somebody wanted it to."""


class SlotAsked(HistoryEvent, frozen=True, kw_only=True, tag="slot_asked.v1"):
    """A wait is over, and the run asks for the slot that it gave back meanwhile."""

    activity_id: str
    """The step that waited."""


class SlotTaken(HistoryEvent, frozen=True, kw_only=True, tag="slot_taken.v1"):
    """The run has its slot again and goes on."""


class InlineRecorded(HistoryEvent, frozen=True, kw_only=True, tag="inline_recorded.v1"):
    """In a shadow run: what the inline run of the same execution did. May stand before WorkflowStarted."""

    status: str
    at: datetime
    steps: tuple[OutcomeStep, ...]
    is_cut: bool = False
    """Inputs and outputs were left out."""


class ShadowCompared(HistoryEvent, frozen=True, kw_only=True, tag="shadow_compared.v1"):
    """In a shadow run that has ended: whether it agrees with the inline run."""

    is_agreed: bool
    steps_compared: int
    differences: tuple[Difference, ...] = ()
    expected: tuple[str, ...] = ()
    """Steps that differ because inline skips what waits."""


Event: TypeAlias = (
    WorkflowStarted
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivitySkipped
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | SignalAwaited
    | SignalReceived
    | SignalConsumed
    | WorkflowCompleted
    | WorkflowFailed
    | CancelRequested
    | WorkflowCancelled
    | SlotAsked
    | SlotTaken
    | InlineRecorded
    | ShadowCompared
)
End: TypeAlias = WorkflowCompleted | WorkflowFailed | WorkflowCancelled
"""What ends a run: one of them, once."""


class Recorded(msgspec.Struct, frozen=True):
    """One event in its place in one execution's history."""

    sequence: int
    at: datetime
    event: Event
