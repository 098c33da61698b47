"""Runs and their histories as OpenAPI shows them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class RunEvent(BaseModel):
    """The domain event that caused a run."""

    source: str
    id: str
    type: str
    time: datetime | None


class WaitShown(BaseModel):
    """What a run waits for: time (`sleep`, `retry`) or a signal."""

    activity_id: str
    kind: str
    until: datetime | None = None
    """When it goes on by itself."""
    signal: str = ""
    key: str = ""
    attempt: int = 0
    """Of a retry: the attempt that comes next."""


class SignalShown(BaseModel):
    """A signal that came for a run."""

    id: str
    name: str
    sent_by: str
    sent_at: datetime
    consumed_by: str | None
    """The step that took it."""


class DifferenceShown(BaseModel):
    """One place where the durable double came to something else."""

    activity_id: str
    """"" for the run as a whole."""
    what: str
    inline: str
    shadow: str
    after_wait: bool


class AgreementShown(BaseModel):
    """Whether the durable double of a shadowed run agrees with it."""

    is_agreed: bool
    steps_compared: int
    differences_count: int


class ComparisonShown(AgreementShown):
    """The report of a shadowed run."""

    at: datetime
    differences: list[DifferenceShown]
    expected: list[str]
    """Steps that differ because inline skips what waits."""


class CancelShown(BaseModel):
    """Who asked for the end of a run."""

    by: str
    at: datetime
    reason: str


class Circumstances(BaseModel):
    """How a run came to be, and why it does not simply go on."""

    reason: str
    """Why it is queued, skipped or cancelled. Of one that waits, slot_taken: its wait is over, its slot is not free."""
    detail: str
    """For people: which window, which chain, what was said at the cancellation."""
    ended_by: str
    """Who cancelled it."""
    is_degraded: bool
    """Run inline because the engine was away."""
    started_by: str
    """Who triggered it by hand; "" for an event."""
    instead_of: str | None
    """The firing that its runbook's breaker held back and that it runs."""


class RunShown(Circumstances):
    """A run as lists show it."""

    id: str
    company: str
    runbook: str
    runbook_name: str
    runbook_version: int | None
    mode: str
    status: str
    event: RunEvent | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None
    waits: list[WaitShown]
    """Empty unless the status is `waiting`."""
    steps: dict[str, int]
    error: dict[str, Any] | None
    comparison: AgreementShown | None


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[RunShown]
    next: str | None


class RunWhole(Circumstances):
    """A run with its payload and what happened in each step."""

    model_config = ConfigDict(extra="allow")

    id: str
    company: str
    runbook: str
    runbook_name: str
    runbook_version: int | None
    definition_sha256: str | None
    mode: str
    status: str
    event: RunEvent | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None
    waits: list[WaitShown]
    error: dict[str, Any] | None
    payload: Any
    steps: list[dict[str, Any]]
    signals: list[SignalShown]
    comparison: ComparisonShown | None
    cancel: CancelShown | None
    """Somebody wants it to end; it ends when what is in flight has settled."""


class HistoryEvent(BaseModel):
    """One event of a run's history."""

    seq: int
    type: str
    at: datetime
    data: Any


class HistoryPage(BaseModel):
    """A run's history in order."""

    items: list[HistoryEvent]
    next: str | None
