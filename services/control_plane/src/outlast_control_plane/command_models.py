"""What people order, and what they are answered, as OpenAPI shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from outlast_control_plane.limits import SUPPRESSED_PER_REQUEST_MAX
from outlast_control_plane.models import PrintableText, Request

RunIdText = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$"),
]


class TriggerRequest(Request):
    """What the run is about; all of it may be left out."""

    finding_id: PrintableText | None = None
    """Looked up and laid into the payload, as for an event that names it."""
    asset_id: PrintableText | None = None
    data: Annotated[dict[str, Any], Field(default_factory=dict)]
    """`event.data` of the run."""


class CancelRequest(Request):
    """Why the run is to end."""

    reason: Reason


class ResetRequest(Request):
    """Why the breaker is closed, and what becomes of the firings that it held back."""

    reason: Reason
    suppressed: Literal["run", "let_go"] | None = None
    """run: each as a new run; let_go: never; absent: as it is, to be decided later."""


class RunSuppressedRequest(Request):
    """Which firings that the breaker held back are to run now."""

    executions: (
        Annotated[list[RunIdText], Field(min_length=1, max_length=SUPPRESSED_PER_REQUEST_MAX)] | None
    ) = None
    """Absent: all that were neither run nor let go since."""
    reason: Reason


class Triggered(BaseModel):
    """The order is recorded. The run's id is made where the run is; find it by the event's."""

    event_id: str
    """Of the event of type `manual` that the run is recorded with."""
    runbook: str
    company: str
    find: str
    """The path and query that list the run, as soon as it is on record."""


class Ordered(BaseModel):
    """The order is recorded."""

    command_id: str
    company: str
    runbook: str


class CancelOrdered(Ordered):
    """The order to end a run is recorded: at once while it is queued, else between two steps."""

    execution: str


class ResetOrdered(Ordered):
    """The order to close a breaker is recorded."""

    suppressed: Literal["run", "let_go"] | None
    """What was ordered for the firings that it held back."""


class SuppressedOrdered(Ordered):
    """The order to run what was held back is recorded."""

    executions: list[str] | None
    """Those that were named; null for all."""
