"""Requests and answers of the API, as its OpenAPI document shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from outlast_platform.limits import (
    ASSIGNEES_MAX,
    COMMENT_CHARACTERS_MAX,
    MEMBERS_MAX,
    NAME_CHARACTERS_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TARGET_CHARACTERS_MAX,
)

Severity = Literal["info", "low", "medium", "high", "critical"]
Status = Literal["open", "assigned", "in_progress", "resolved", "closed", "accepted", "false_positive"]
AssetClass = Literal["host", "repository", "dependencies", "web", "container", "other"]
WITHOUT_NUL = r"^[^\x00]*$"
ID_PATTERN = r"^[A-Za-z0-9._:@+-]{1,200}$"
"""Ids become subjects of events and parts of URLs."""
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=WITHOUT_NUL)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=TAG_CHARACTERS_MAX, pattern=WITHOUT_NUL)]
Comment = Annotated[str, StringConstraints(max_length=COMMENT_CHARACTERS_MAX, pattern=WITHOUT_NUL)]


class Wanted(BaseModel):
    """What a caller sends: unknown members are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class CompanyWanted(Wanted):
    """A company as it shall be."""

    name: Name


class TeamWanted(Wanted):
    """A team as it shall be; `members` are user ids."""

    name: Name
    members: list[Id] = Field(default=[], max_length=MEMBERS_MAX)


class AssetWanted(Wanted):
    """An asset as it shall be."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=TARGET_CHARACTERS_MAX, pattern=WITHOUT_NUL)
    ]
    asset_class: AssetClass = Field(default="other", alias="class")
    criticality: Severity = "medium"
    owning_team_id: Id | None = None
    attributes: dict[str, Any] = {}


class Assignment(Wanted):
    """Who is made responsible, beside those who are."""

    user_ids: list[Id] = Field(default=[], max_length=ASSIGNEES_MAX)
    team_ids: list[Id] = Field(default=[], max_length=ASSIGNEES_MAX)


class FindingEdit(Wanted):
    """What to change of a finding; what is left out stays. With a status, the comment says why."""

    status: Status | None = None
    severity: Severity | None = None
    tags: list[Tag] | None = Field(default=None, max_length=TAGS_MAX)
    add_tags: list[Tag] = Field(default=[], max_length=TAGS_MAX)
    comment: Comment = ""
    assign: Assignment | None = None


class CompanyShown(BaseModel):
    """A company."""

    id: str
    name: str
    created_at: datetime


class TeamShown(BaseModel):
    """A team with the ids of its members."""

    id: str
    name: str
    members: list[str]
    created_at: datetime


class OwningTeam(BaseModel):
    """The team that owns an asset."""

    id: str
    name: str


class AssetShown(BaseModel):
    """An asset."""

    id: str
    name: str
    asset_class: AssetClass = Field(alias="class")
    criticality: Severity
    owning_team: OwningTeam | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Location(BaseModel):
    """Where in the asset."""

    path: str
    line: int | None


class FindingShown(BaseModel):
    """A finding."""

    id: str
    asset_id: str
    title: str
    description: str
    severity: Severity
    status: Status
    tags: list[str]
    assignees: list[str]
    teams: list[str]
    tool: str
    rule_id: str
    fingerprint: str
    location: Location
    attributes: dict[str, Any]
    sla_deadline: datetime | None
    first_seen: datetime
    last_seen: datetime
    updated_at: datetime
    version: int


class HistoryShown(BaseModel):
    """One line of a finding's history."""

    id: int
    at: datetime
    actor_kind: Literal["user", "service", "import", "runbook"]
    actor_id: str
    actor_name: str
    execution_id: str
    change: Literal["created", "status", "severity", "tags", "assigned", "comment"]
    old_value: str
    new_value: str
    comment: str


class FindingCounts(BaseModel):
    """The findings of a report, by severity."""

    critical: int
    high: int
    medium: int
    low: int
    info: int
    total: int


class ImportAnswer(BaseModel):
    """What an import came to."""

    tool: str
    findings: FindingCounts
    created: int
    updated: int
    closed: int
    format: Literal["sarif", "trivy"]
    import_ids: list[str]
    asset_ids: list[str]


class ImportShown(BaseModel):
    """One scan that was taken in."""

    id: str
    asset_id: str
    tool: str
    sha256: str
    counts: dict[str, int]
    created: int
    updated: int
    closed: int
    actor_id: str
    at: datetime


class CompanyPage(BaseModel):
    """Companies, in order of their ids."""

    items: list[CompanyShown]
    next: str | None


class TeamPage(BaseModel):
    """Teams, in order of their ids."""

    items: list[TeamShown]
    next: str | None


class AssetPage(BaseModel):
    """Assets, in order of their ids."""

    items: list[AssetShown]
    next: str | None


class FindingPage(BaseModel):
    """Findings, in order of their ids."""

    items: list[FindingShown]
    next: str | None


class HistoryPage(BaseModel):
    """A finding's history, oldest first."""

    items: list[HistoryShown]
    next: str | None


class ImportPage(BaseModel):
    """Imports, oldest first."""

    items: list[ImportShown]
    next: str | None
