"""Every message on our own topics. Additive only: add a field with a default, or a new version of the type.

Each message is a JSON object with a `type` ("start.v1"). Unknown fields are ignored on reading. `Raw` fields are
JSON that the reader does not look into. Instants are RFC 3339 in UTC, durations are seconds unless the name says so.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from outlast.contracts.lifecycle import Compared as Compared
from outlast.contracts.lifecycle import Difference as Difference
from outlast.contracts.lifecycle import Finished as Finished
from outlast.contracts.lifecycle import LifecycleMessage as LifecycleMessage
from outlast.contracts.lifecycle import Queued as Queued
from outlast.contracts.lifecycle import Resumed as Resumed
from outlast.contracts.lifecycle import Resuming as Resuming
from outlast.contracts.lifecycle import Started as Started
from outlast.contracts.lifecycle import Unknown as Unknown
from outlast.contracts.lifecycle import Waiting as Waiting
from outlast.contracts.lifecycle import Withheld as Withheld
from outlast.contracts.parts import NO_ORIGIN
from outlast.contracts.parts import ActionError as ActionError
from outlast.contracts.parts import EventReference as EventReference
from outlast.contracts.parts import Message as Message
from outlast.contracts.parts import Origin as Origin
from outlast.contracts.parts import RunbookReference as RunbookReference
from outlast.contracts.parts import StepSummary as StepSummary
from outlast.contracts.parts import Wait as Wait

# ---- engine.inbox -------------------------------------------------------------------------------------------


class Start(Message, frozen=True, kw_only=True, tag="start.v1"):
    """Begin this execution. Sent again until the run is recorded; a run that exists answers with its state."""

    execution_id: str
    company_id: str
    runbook: RunbookReference
    event: EventReference
    mode: str
    lane: int
    payload: Raw
    """The enriched payload: {"event", "company", "finding"?, "asset"?}."""
    definition: Raw
    """The canonical definition document that `runbook.sha256` names."""
    chain: tuple[str, ...] = ()
    """Executions whose actions caused the event, oldest first."""
    traceparent: str = ""
    origin: Origin = NO_ORIGIN


class ActivityResult(Message, frozen=True, kw_only=True, tag="activity_result.v1"):
    """What one attempt at an activity came to: an output, or an error."""

    execution_id: str
    activity_id: str
    attempt: int
    started_at: datetime
    duration_ms: float
    output: Raw | UnsetType = UNSET
    fold: Raw | UnsetType = UNSET
    """A JSON object whose members are laid into the payload for the actions that follow."""
    error: ActionError | None = None
    resolved: str = ""
    """How an attempt of unknown outcome was resolved: "retried", "looked_up", "failed"; "" if it was known."""


class Recorded(Message, frozen=True, kw_only=True, tag="recorded.v1"):
    """The finalizer has these executions' records; also on `executions.recorded`."""

    executions: tuple[str, ...]


class Probe(Message, frozen=True, kw_only=True, tag="probe.v1"):
    """Is this execution known? A known run repeats its lifecycle message and what is outstanding."""

    execution_id: str
    company_id: str
    runbook_id: str
    lane: int


class TimerDue(Message, frozen=True, kw_only=True, tag="timer_due.v1"):
    """A timer's time has come. Sent until it is acknowledged, so it may come twice; late ones change nothing."""

    execution_id: str
    timer_id: str
    fire_at: datetime


class DeliverSignal(Message, frozen=True, kw_only=True, tag="deliver_signal.v1"):
    """A signal for this run. Sent again until its verdict is known; counts once by its id."""

    execution_id: str
    company_id: str
    """The sender's: a run of another company answers as one that does not exist."""
    signal_id: str
    name: str
    payload: Raw
    """Any JSON; null if the sender gave none."""
    sent_by: str
    """Who sent it: an identity's name."""
    sent_at: datetime
    key: str = ""
    """The correlation key it was sent with: for a step that waits with this key. "" for any step of the run."""


class Cancel(Message, frozen=True, kw_only=True, tag="cancel.v1"):
    """End this run: nothing more of it begins, and it is cancelled when what is in flight has settled."""

    execution_id: str
    company_id: str
    by: str
    """Who asked for it: an identity's name."""
    at: datetime
    reason: str = ""


class SlotGranted(Message, frozen=True, kw_only=True, tag="slot_granted.v1"):
    """The run that gave its slot back while it waited has one again, and goes on."""

    execution_id: str
    seq: int
    """Of the `resuming` message that it answers."""


class OutcomeStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an inline run as it went."""

    activity_id: str
    action: str
    action_class: str
    status: str
    """success | failed | skipped"""
    attempts: int = 1
    started_at: datetime | None = None
    duration_ms: float = 0.0
    reason: str = ""
    input: Raw | UnsetType = UNSET
    """The rendered config; absent where the action was settled without a call."""
    output: Raw | UnsetType = UNSET
    fold: Raw | UnsetType = UNSET
    error: ActionError | None = None


class InlineOutcome(Message, frozen=True, kw_only=True, tag="inline_outcome.v1"):
    """What the inline run of a shadowed execution did, step by step: its durable double is compared with it."""

    execution_id: str
    company_id: str
    status: str
    at: datetime
    steps: tuple[OutcomeStep, ...]
    is_cut: bool = False
    """Inputs and outputs were left out, because all together were too large for one message."""


InboxMessage: TypeAlias = (
    Start
    | ActivityResult
    | Recorded
    | Probe
    | TimerDue
    | DeliverSignal
    | Cancel
    | SlotGranted
    | InlineOutcome
)
InlineMessage: TypeAlias = Start | Cancel
"""`executions.inline`, key = the execution's id."""


# ---- activities.<class> -------------------------------------------------------------------------------------


class RunActivity(Message, frozen=True, kw_only=True, tag="run_activity.v1"):
    """Run this action. Redelivered attempts are answered from the ledger."""

    execution_id: str
    activity_id: str
    attempt: int
    company_id: str
    runbook: RunbookReference
    event: EventReference
    action: str
    action_class: str = ""
    """notify | finding | itsm | platform: which topic it travels on."""
    input: Raw
    """The rendered config of the action."""
    timeout_seconds: float
    on_unknown: str = "retry"
    """What to do when an earlier attempt's outcome is unknown and the action is not idempotent: retry | fail."""
    chain: tuple[str, ...] = ()


ActivityMessage: TypeAlias = RunActivity


# ---- timers.commands -----------------------------------------------------------------------------------------


class StartTimer(Message, frozen=True, kw_only=True, tag="start_timer.v1"):
    """Say `timer_due` at this instant. The same (execution, timer) again is no second timer."""

    execution_id: str
    timer_id: str
    fire_at: datetime


class CancelTimer(Message, frozen=True, kw_only=True, tag="cancel_timer.v1"):
    """The run waits for this timer no more. If it is lost the timer fires late and is refused."""

    execution_id: str
    timer_id: str


TimerCommand: TypeAlias = StartTimer | CancelTimer


# ---- signals.inbound, signals.subscriptions, signals.verdicts -------------------------------------------------


def _nothing() -> Raw:
    return Raw(b"null")


class SignalRequest(Message, frozen=True, kw_only=True, tag="signal_request.v1"):
    """Somebody sends a signal (`signals.inbound`, key = its id): to one execution, or to all that wait with a key."""

    signal_id: str
    company_id: str
    name: str
    execution_id: str = ""
    """Given, or else `key` is."""
    key: str = ""
    """The correlation key that runs wait with, such as a finding's id."""
    payload: Raw = msgspec.field(default_factory=_nothing)
    """Any JSON; null if not given."""
    sent_by: str
    sent_at: datetime
    expires_at: datetime
    """Until then it is kept for runs that do not wait for it yet."""
    for_future: bool = False
    """By correlation: also for runs that start after it was sent."""


class Subscribe(Message, frozen=True, kw_only=True, tag="subscribe.v1"):
    """A run waits for a signal with a correlation key (`signals.subscriptions`, key = company/signal/key)."""

    execution_id: str
    activity_id: str
    company_id: str
    signal: str
    key: str
    started_at: datetime
    """When the run began: an earlier signal is not for it, unless its sender said so."""


class Unsubscribe(Message, frozen=True, kw_only=True, tag="unsubscribe.v1"):
    """The run waits for it no more. If it is lost the next signal is answered `late`, which says the same."""

    execution_id: str
    activity_id: str
    company_id: str
    signal: str
    key: str


class SignalVerdict(Message, frozen=True, kw_only=True, tag="signal_verdict.v1"):
    """What became of a signal in one run (`signals.verdicts`, key = the signal's id)."""

    signal_id: str
    execution_id: str
    company_id: str
    verdict: str
    """consumed | early (kept for an await that may come) | late (the run had ended, or ended without awaiting it) |
    unknown (no such run) | rejected (the run has too many)"""


SignalMessage: TypeAlias = SignalRequest | Subscribe | Unsubscribe | SignalVerdict


# ---- compacted topics ---------------------------------------------------------------------------------------


class Head(Message, frozen=True, kw_only=True, tag="head.v1"):
    """The state of a compacted topic (key `head`): a reader is ready when it holds this revision."""

    revision: int
    count: int


class Definition(Message, frozen=True, kw_only=True, tag="definition.v1"):
    """The current version of one runbook (`runbooks.definitions`, key company/runbook)."""

    company_id: str
    runbook: RunbookReference
    is_active: bool
    is_deleted: bool = False
    revision: int
    definition: Raw


class Producer(Message, frozen=True, kw_only=True, tag="producer.v1"):
    """A producer of domain events: its topic, its CloudEvents sources, the companies it may speak for."""

    name: str
    topic: str
    companies: tuple[str, ...]
    """Company ids; ("*",) for a producer that is ours and speaks for all."""
    is_revoked: bool = False
    revision: int


class Identity(Message, frozen=True, kw_only=True, tag="identity.v1"):
    """An API key as its SHA-256, never the key itself."""

    id: str
    key_sha256: str
    name: str
    company_id: str
    """"" for a platform administrator, who belongs to none."""
    role: str
    """remediation_owner | soc_analyst | security_engineer | platform_administrator | service"""
    scopes: tuple[str, ...] = ()
    is_revoked: bool = False
    revision: int


class CatalogueAction(Message, frozen=True, kw_only=True, tag="catalogue_action.v1"):
    """An action type that executors can run (`actions.catalogue`, key = the type's name)."""

    name: str
    action_class: str
    """notify | finding | itsm | platform | flow"""
    summary: str
    config_schema: Raw
    example: Raw
    is_idempotent: bool
    undo: str = ""
    """The action type that undoes it, "" if nothing does."""
    distribution: str = "outlast"


class EngineStatus(Message, frozen=True, kw_only=True, tag="engine_status.v1"):
    """Whether an engine instance can take durable work (`engine.status`, key = instance)."""

    instance: str
    state: str
    """up | down"""
    at: datetime


class Breaker(Message, frozen=True, kw_only=True, tag="breaker.v1"):
    """A runbook's circuit breaker (`breakers`, key company/runbook); no message means closed, generation 0."""

    company_id: str
    runbook_id: str
    generation: int
    """Raised by each reset: outcomes of an older one do not count."""
    is_open: bool
    failures: int
    """Failed executions in a row."""
    tripped_at: datetime | None = None
    revision: int = 0


CompactedMessage: TypeAlias = (
    Head | Definition | Producer | Identity | CatalogueAction | EngineStatus | Breaker
)
