"""Requests and answers as OpenAPI shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from outlast.http.problems import FaultShown
from outlast_control_plane.access import NAME_PATTERN
from outlast_control_plane.definitions import SOURCE_BYTES_MAX
from outlast_control_plane.limits import PLAN_DOCUMENTS_MAX

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
PrintableText = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]


class Request(BaseModel):
    """Base of what is sent to us: unknown members are refused by name."""

    model_config = ConfigDict(extra="forbid")


class Author(BaseModel):
    """Who saved a version."""

    id: str
    name: str


class RunbookShown(BaseModel):
    """A runbook as lists show it."""

    id: str
    name: str
    company: str
    version: int
    is_active: bool
    """It fires: it is switched on and its breaker is closed."""
    is_switched_on: bool
    breaker_tripped_at: datetime | None
    """When its breaker opened; null while it is closed."""
    failures: int
    """Failed runs in a row when its breaker opened; 0 while it is closed."""
    sha256: str
    created_at: datetime
    updated_at: datetime
    saved_at: datetime
    author: Author
    etag: str


class RunbookWhole(RunbookShown):
    """A runbook with its current document and the source that it was saved from."""

    document: dict[str, Any]
    source: str
    source_format: str


class RunbookSaved(BaseModel):
    """What a save came to."""

    id: str
    company: str
    version: int
    is_active: bool
    """It fires: it is switched on and its breaker is closed."""
    is_switched_on: bool
    change: Literal["create", "update", "unchanged"]
    etag: str


class RunbookPage(BaseModel):
    """Runbooks in the order of their ids."""

    items: list[RunbookShown]
    next: str | None


class VersionShown(BaseModel):
    """One saved version."""

    version: int
    author: Author
    created_at: datetime
    sha256: str


class VersionPage(BaseModel):
    """Versions, newest first."""

    items: list[VersionShown]
    next: str | None


class VersionWhole(VersionShown):
    """One version with its document, its source and what it changed."""

    document: dict[str, Any]
    source: str
    source_format: str
    diff: str


class PlanDocument(Request):
    """One file that would be applied."""

    source: Annotated[str, StringConstraints(max_length=SOURCE_BYTES_MAX)]
    format: Literal["yaml", "json"] = "yaml"


class PlanRequest(Request):
    """What would be applied together."""

    documents: Annotated[list[PlanDocument], Field(min_length=1, max_length=PLAN_DOCUMENTS_MAX)]


class PlanItem(BaseModel):
    """What applying one document would do."""

    id: str
    change: Literal["create", "update", "unchanged", "refused"]
    version: int | None = None
    """The version in use now."""
    is_active: bool = False
    """Whether it is switched on now."""
    will_be_active: bool = False
    diff: str = ""
    errors: list[FaultShown] = []


class Plan(BaseModel):
    """What applying the documents would do, in their order."""

    items: list[PlanItem]


class NewIdentity(Request):
    """An identity to make. Its company is the caller's, or the one of `?company=`."""

    name: PrintableText
    role: Literal[
        "remediation_owner", "soc_analyst", "security_engineer", "platform_administrator", "service"
    ]
    scopes: Annotated[list[Scope], Field(max_length=50)] = []


class IdentityShown(BaseModel):
    """An identity; nothing of its key."""

    id: str
    name: str
    company: str
    role: str
    scopes: list[str]
    is_revoked: bool
    created_at: datetime | None = None


class IdentityMade(IdentityShown):
    """A new identity and its key, shown once."""

    key: str | None


class IdentityPage(BaseModel):
    """Identities in the order of their ids."""

    items: list[IdentityShown]
    next: str | None


class CompanyRequest(Request):
    """A company to make or rename."""

    name: PrintableText


class CompanyShown(BaseModel):
    """A company."""

    id: str
    name: str


class ProducerRequest(Request):
    """For which companies a producer may speak."""

    companies: Annotated[list[Name | Literal["*"]], Field(min_length=1, max_length=1_000)]


class ProducerShown(BaseModel):
    """A producer of domain events."""

    name: str
    topic: str
    companies: list[str]
    is_revoked: bool


class ProducerPage(BaseModel):
    """Producers in the order of their names."""

    items: list[ProducerShown]
    next: str | None


class EventAccepted(BaseModel):
    """One event that is recorded, now or before."""

    id: str
    source: str
    status: Literal["accepted", "duplicate"]


class EventsAccepted(BaseModel):
    """The events of a request, in their order."""

    items: list[EventAccepted]


class ActionShown(BaseModel):
    """An action type that executors can run."""

    name: str
    action_class: str
    summary: str
    config_schema: Any
    example: Any
    is_idempotent: bool
    undo: str
    distribution: str


class ActionList(BaseModel):
    """Every action type."""

    items: list[ActionShown]


class EngineShown(BaseModel):
    """What one engine instance says of itself."""

    instance: str
    state: str
    at: datetime


class EngineStatusShown(BaseModel):
    """The engine's mode and its instances."""

    mode: str
    state: Literal["up", "down", "unknown"]
    """up: some instance takes durable work; unknown: none has said anything yet."""
    since: datetime | None
    new_runs: Literal["inline", "durable", "waiting", "degraded"]
    """degraded: inline and marked so, because the engine is away; what requires durability waits."""
    instances: list[EngineShown]
