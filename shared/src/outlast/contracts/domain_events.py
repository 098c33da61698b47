"""The data of the fifteen domain events that producers send, one type each (the CloudEvents `type` verbatim).

An event names what it is about by `finding_id` and `asset_id`: the matcher looks these two up and lays what
it finds beside the event. Unknown members are allowed everywhere and reach conditions and templates as
`event.data.*`; the members below are held to their types. Additive only: a new member has a default.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw

from outlast.errors import ContractError

T = TypeVar("T")
Id = Annotated[str, Meta(min_length=1, max_length=200)]
OptionalId = Annotated[str, Meta(max_length=200)]
"""An id, or "" where there is none."""
Instant = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0)]
Severity: TypeAlias = Literal["info", "low", "medium", "high", "critical"]


class EventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all event data."""


class SeverityCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many findings of each severity."""

    critical: Count = 0
    high: Count = 0
    medium: Count = 0
    low: Count = 0
    info: Count = 0


class FindingCreated(EventData, frozen=True, kw_only=True):
    """A finding that was not known before."""

    finding_id: Id
    asset_id: OptionalId = ""
    severity: Severity | None = None
    tool: str = ""
    title: str = ""


class FindingUpdated(EventData, frozen=True, kw_only=True):
    """Something about a finding has changed other than its status and its assignees."""

    finding_id: Id
    asset_id: OptionalId = ""
    changed: tuple[str, ...] = ()
    """Names of the finding's members that changed, in alphabetical order."""


class FindingStatusChanged(EventData, frozen=True, kw_only=True):
    """A finding went from one status to another."""

    finding_id: Id
    old_status: str
    new_status: str
    asset_id: OptionalId = ""
    comment: str = ""


class FindingAssigned(EventData, frozen=True, kw_only=True):
    """Somebody was made responsible for a finding."""

    finding_id: Id
    asset_id: OptionalId = ""
    assignee_ids: tuple[Id, ...] = ()
    """Users who were added."""
    team_ids: tuple[Id, ...] = ()
    """Teams that were added."""


class FindingRetested(EventData, frozen=True, kw_only=True):
    """A finding was tested again."""

    finding_id: Id
    asset_id: OptionalId = ""
    is_fixed: bool | None = None
    """None if the test could not tell."""


class FindingNoteAdded(EventData, frozen=True, kw_only=True):
    """Somebody commented on a finding."""

    finding_id: Id
    asset_id: OptionalId = ""
    note: str = ""
    author: str = ""


class FindingRuleApplied(EventData, frozen=True, kw_only=True):
    """A rule of the producer's own changed a finding."""

    finding_id: Id
    asset_id: OptionalId = ""
    rule_id: str = ""
    rule_name: str = ""
    changed: tuple[str, ...] = ()


class FindingBulkUpdated(EventData, frozen=True, kw_only=True):
    """Many findings were changed at once; none of them is looked up."""

    finding_ids: Annotated[tuple[Id, ...], Meta(min_length=1)]
    changed: tuple[str, ...] = ()


class RemoteScanCompleted(EventData, frozen=True, kw_only=True):
    """A scanner that runs elsewhere has finished."""

    scan_id: Id
    asset_id: OptionalId = ""
    tool: str = ""
    severity_counts: SeverityCounts | None = None


class ScanFinished(EventData, frozen=True, kw_only=True):
    """A scan's findings are in the platform."""

    scan_id: Id
    severity_counts: SeverityCounts
    """The findings of this scan, those that were known before included."""
    asset_id: OptionalId = ""
    tool: str = ""
    created: Count = 0
    updated: Count = 0
    closed: Count = 0


class ReportGenerated(EventData, frozen=True, kw_only=True):
    """A report can be fetched."""

    report_id: Id
    name: str = ""
    format: str = ""


class SlaBreached(EventData, frozen=True, kw_only=True):
    """A finding's deadline has passed."""

    finding_id: Id
    asset_id: OptionalId = ""
    severity: Severity | None = None
    deadline: Instant | None = None


class SlaEscalated(EventData, frozen=True, kw_only=True):
    """A breach was passed on to somebody higher."""

    finding_id: Id
    asset_id: OptionalId = ""
    severity: Severity | None = None
    deadline: Instant | None = None
    level: Count = 1


class AssetCreated(EventData, frozen=True, kw_only=True):
    """An asset that was not known before."""

    asset_id: Id
    name: str = ""
    asset_class: str = ""


class AssetUpdated(EventData, frozen=True, kw_only=True):
    """Something about an asset has changed."""

    asset_id: Id
    changed: tuple[str, ...] = ()


class ScheduleFired(EventData, frozen=True, kw_only=True):
    """The instant of a rule's schedule has come. No producer says so but the timer scheduler."""

    scheduled_at: Instant
    """The instant in the schedule, however late it fires."""
    cron: str
    timezone: str
    runbook_id: Id
    rule: Count
    """Which of the runbook's rules, counted from 0."""
    is_catch_up: bool
    """It was missed, and is made up for. Always there, so that conditions can ask for it."""


SCHEDULE = "schedule"
"""The type of the timer scheduler's events."""
TIMER_SCHEDULER = "outlast/timer_scheduler"
"""Their source."""

DOMAIN_EVENTS: Mapping[str, type[EventData]] = {
    "finding_created": FindingCreated,
    "finding_updated": FindingUpdated,
    "finding_status_changed": FindingStatusChanged,
    "finding_assigned": FindingAssigned,
    "finding_retested": FindingRetested,
    "finding_note_added": FindingNoteAdded,
    "finding_rule_applied": FindingRuleApplied,
    "finding_bulk_updated": FindingBulkUpdated,
    "remote_scan_completed": RemoteScanCompleted,
    "scan_finished": ScanFinished,
    "report_generated": ReportGenerated,
    "sla_breached": SlaBreached,
    "sla_escalated": SlaEscalated,
    "asset_created": AssetCreated,
    "asset_updated": AssetUpdated,
}
"""Event type to the type of its data. `schedule` is not among them: no producer sends it."""


def schedule_subject(runbook_id: str, rule: int) -> str:
    """What an event of the timer scheduler names: the one rule that it can match."""
    return f"runbooks/{runbook_id}/rules/{rule}"


_decoders = {name: msgspec.json.Decoder(kind) for name, kind in DOMAIN_EVENTS.items()}
_schedule = msgspec.json.Decoder(ScheduleFired)
_names: dict[type[EventData], str] = {kind: name for name, kind in DOMAIN_EVENTS.items()}


def decode_data(event_type: str, raw: Raw | bytes) -> EventData:
    """The data of an event of this type. ContractError: unknown type (path `type`), or faulty data."""
    decoder = _decoders.get(event_type)
    if decoder is None:
        hint = (
            "; schedule is synthesized by the timer scheduler, from rules" if event_type == SCHEDULE else ""
        )
        raise ContractError(f"expected one of {', '.join(DOMAIN_EVENTS)}{hint}", "type")
    return _decoded(decoder, raw)


def decode_schedule(raw: Raw | bytes) -> ScheduleFired:
    """The data of an event of the timer scheduler. ContractError if it is faulty."""
    return _decoded(_schedule, raw)


def _decoded(decoder: msgspec.json.Decoder[T], raw: Raw | bytes) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        text, _, path = str(fault).partition(" - at `$")
        raise ContractError(text, f"data{path.rstrip('`')}") from fault


def event_type_of(data: EventData) -> str:
    """The CloudEvents `type` that carries this data."""
    return _names[type(data)]
