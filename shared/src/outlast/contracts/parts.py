"""What messages and history events are made of."""

from datetime import datetime

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages; the tag is the type with its version."""


class EventReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which domain event caused something: an event is known by (company, source, id)."""

    source: str
    id: str
    type: str
    time: datetime
    """The event's own time, else the broker's: the frozen `now` of conditions and templates."""
    subject: str = ""


class RunbookReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The pinned definition of a run."""

    id: str
    name: str
    version: int
    sha256: str
    """Digest of the canonical definition document."""


class ActionError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an action failed; `code` is stable and bounded, `message` is for people."""

    code: str
    message: str
    retryable: bool = False
    retry_after_seconds: float | None = None
    path: str = ""
    """Where in the definition, for faults of templates and conditions."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run came to be, beside its event. It goes with the run into every message about it."""

    is_degraded: bool = False
    """Run inline because no engine could take durable work."""
    generation: int = 0
    """The breaker's when the run was sent: what an older one comes to is not counted."""
    started_by: str = ""
    """Who triggered it by hand; "" for an event."""
    instead_of: str = ""
    """The suppressed execution whose firing this one runs."""
    is_slotted: bool = False
    """It holds a slot of its runbook's concurrency key."""
    releases_slot: bool = False
    """It gives its slot back while it waits, and asks for one before it goes on."""
    breaker_threshold: int = 10
    """The runbook's: so many failed runs in a row open its breaker. Stamped by the matcher from the definition."""


NO_ORIGIN = Origin()
"""The one default of all messages and events: what is left out on the wire is told by identity, not by equality."""


class StepSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a finished run, without its input and output (those are in the history)."""

    id: str
    action: str
    status: str
    """success | failed | skipped"""
    name: str = ""
    attempts: int = 1
    started_at: datetime | None = None
    duration_ms: float = 0.0
    reason: str = ""
    """Why it was skipped."""
    error: ActionError | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run waits for."""

    activity_id: str
    kind: str
    """sleep | signal | retry; in a state also slot: it asks for the one that it gave back"""
    until: datetime | None = None
    """When it goes on by itself."""
    signal: str = ""
    key: str = ""
    attempt: int = 0
    """For a retry: the attempt that comes next."""
