"""The state of one execution: the fold of its history, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from outlast.contracts.messages import ActionError
from outlast.history.events import (
    ActivityScheduled,
    CancelRequested,
    End,
    InlineRecorded,
    ShadowCompared,
    SignalAwaited,
    SignalReceived,
    TimerStarted,
    WorkflowStarted,
)
from outlast.runbooks.documents import Json

DURABLE = "workflow"
"""The mode of a run whose history is stored, and has the payload for all who show the run."""
SHADOW = "shadow"
"""The mode of a run that is the durable double of an inline run and does nothing outside."""


class StepStatus(StrEnum):
    """Where one step stands."""

    SCHEDULED = "scheduled"
    WAITING = "waiting"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(slots=True)
class Step:
    """One action of this run as far as it got."""

    id: str
    status: StepStatus
    action: str
    action_class: str
    sequence: int
    """Of the event that made or last changed it."""
    scheduled: ActivityScheduled | None = None
    """The attempt that is open or was last; None for a step that never left the interpreter."""
    attempt: int = 1
    started_at: datetime | None = None
    duration_ms: float = 0.0
    reason: str = ""
    error: ActionError | None = None
    output: Json = None
    """The decoded output of a success, as templates see it."""
    awaited: SignalAwaited | None = None
    """The signal that the step waits or waited for."""
    timer_id: str = ""
    """The timer that the step waits for, open or not."""


@dataclass(slots=True)
class OpenTimer:
    """A timer that has not fired."""

    event: TimerStarted
    sequence: int


@dataclass(slots=True)
class Signal:
    """A signal that came for this run."""

    event: SignalReceived
    sequence: int
    """Of the event that brought it, or of its consumption."""
    consumed_by: str = ""
    """The step that took it."""


@dataclass(slots=True)
class Execution:
    """One run. Only `evolve` changes it; in place, because the state of one run has one owner (see evolve)."""

    id: str
    sequence: int = 0
    """Sequence of the last event folded in; 0 before WorkflowStarted."""
    started: WorkflowStarted | None = None
    started_at: datetime | None = None
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    """By activity id, in the order they were first mentioned."""
    context: dict[str, Json] = field(default_factory=dict[str, Json])
    """What conditions and templates read: the payload, and what steps folded in."""
    timers: dict[str, OpenTimer] = field(default_factory=dict[str, OpenTimer])
    """Those that have not fired, by their ids."""
    cancelled_timers: dict[str, int] = field(default_factory=dict[str, int])
    """Sequence of the cancellation by timer id."""
    signals: dict[str, Signal] = field(default_factory=dict[str, Signal])
    """By their ids, in the order in which they came."""
    signals_bytes: int = 0
    """What they carry, together."""
    waits_changed: int = 0
    """Sequence at which what the run waits for last changed; 0 if it never waited."""
    waits_changed_at: datetime | None = None
    paused_seconds: float = 0.0
    """Pauses between attempts, together, past or begun."""
    cancel: CancelRequested | None = None
    """Somebody wants it to end: it is cancelling until `ended` says so."""
    slot_asked: int = 0
    """Sequence of SlotAsked while the run waits for its slot; 0 if it does not."""
    slot_step: str = ""
    """The step whose wait was over when the slot was asked for."""
    inline: InlineRecorded | None = None
    """In a shadow run: what the inline run did, once it is known."""
    compared: ShadowCompared | None = None
    compared_at: datetime | None = None
    compared_sequence: int = 0
    ended: End | None = None
    ended_at: datetime | None = None

    @property
    def is_durable(self) -> bool:
        """Whether its history is stored."""
        return self.started is not None and self.started.mode == DURABLE

    @property
    def is_shadow(self) -> bool:
        """Whether it is the double of an inline run."""
        return self.started is not None and self.started.mode == SHADOW

    @property
    def is_ended(self) -> bool:
        """Whether the run has come to its end."""
        return self.ended is not None
