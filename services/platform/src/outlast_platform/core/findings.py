"""What may be done to one finding, by people and by runbooks: a change is decided here, and stored elsewhere."""

from dataclasses import dataclass, replace

from outlast.contracts.domain_events import (
    EventData,
    FindingAssigned,
    FindingNoteAdded,
    FindingStatusChanged,
    FindingUpdated,
)
from outlast.errors import ContractError
from outlast_platform.limits import (
    ASSIGNEES_MAX,
    COMMENT_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
)

SEVERITIES = ("info", "low", "medium", "high", "critical")
STATUSES = ("open", "assigned", "in_progress", "resolved", "closed", "accepted", "false_positive")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding, as far as people and runbooks may change it."""

    company_id: str
    id: str
    asset_id: str
    title: str
    severity: str
    status: str
    tags: tuple[str, ...]
    assignees: tuple[str, ...]
    teams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a finding's history, without when and who."""

    change: str
    """created | status | severity | tags | assigned | comment"""
    old_value: str = ""
    new_value: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What one edit makes of a finding. Nothing happened where there is no entry."""

    finding: Finding
    entries: tuple[HistoryEntry, ...] = ()
    events: tuple[EventData, ...] = ()

    def then(self, following: "Change") -> "Change":
        """Both, one after the other."""
        return Change(following.finding, self.entries + following.entries, self.events + following.events)


def change_severity(finding: Finding, severity: str) -> Change:
    """Grade it anew."""
    if severity not in SEVERITIES:
        raise ContractError(f"expected one of {', '.join(SEVERITIES)}, got {severity!r}", "severity")
    if severity == finding.severity:
        return Change(finding)
    entry = HistoryEntry("severity", finding.severity, severity)
    return Change(replace(finding, severity=severity), (entry,), (_updated(finding, "severity"),))


def change_status(finding: Finding, status: str, comment: str = "", author: str = "") -> Change:
    """Put it into a status. In that status already, the comment is still written, in the author's name."""
    if status not in STATUSES:
        raise ContractError(f"expected one of {', '.join(STATUSES)}, got {status!r}", "status")
    comment = _comment(comment)
    if status == finding.status:
        return append_comment(finding, comment, author) if comment else Change(finding)
    event = FindingStatusChanged(
        finding_id=finding.id,
        asset_id=finding.asset_id,
        old_status=finding.status,
        new_status=status,
        comment=comment,
    )
    entry = HistoryEntry("status", finding.status, status, comment)
    return Change(replace(finding, status=status), (entry,), (event,))


def add_tags(finding: Finding, tags: tuple[str, ...]) -> Change:
    """Tags that are there already are not added again."""
    wanted = tuple(_tag(tag, number) for number, tag in enumerate(tags))
    return set_tags(finding, (*finding.tags, *wanted))


def set_tags(finding: Finding, tags: tuple[str, ...]) -> Change:
    """These tags, each once, in order."""
    wanted = tuple(dict.fromkeys(_tag(tag, number) for number, tag in enumerate(tags)))
    if len(wanted) > TAGS_MAX:
        raise ContractError(f"expected at most {TAGS_MAX} tags on a finding, got {len(wanted)}", "tags")
    if wanted == finding.tags:
        return Change(finding)
    entry = HistoryEntry("tags", ", ".join(finding.tags), ", ".join(wanted))
    return Change(replace(finding, tags=wanted), (entry,), (_updated(finding, "tags"),))


def append_comment(finding: Finding, comment: str, author: str) -> Change:
    """Write into the history; always a change."""
    text = _comment(comment)
    if not text:
        raise ContractError("expected a comment, got an empty text", "comment")
    note = FindingNoteAdded(finding_id=finding.id, asset_id=finding.asset_id, note=text, author=author)
    return Change(finding, (HistoryEntry("comment", comment=text),), (note,))


def assign(finding: Finding, user_ids: tuple[str, ...], team_ids: tuple[str, ...]) -> Change:
    """Add who is responsible; an open finding becomes assigned. Who is there already is not added again."""
    for name, ids in (("user_ids", user_ids), ("team_ids", team_ids)):
        _check_ids(name, ids)
    users = tuple(dict.fromkeys(each for each in user_ids if each not in finding.assignees))
    teams = tuple(dict.fromkeys(each for each in team_ids if each not in finding.teams))
    if not users and not teams:
        return Change(finding)
    after = replace(finding, assignees=finding.assignees + users, teams=finding.teams + teams)
    if len(after.assignees) > ASSIGNEES_MAX or len(after.teams) > ASSIGNEES_MAX:
        raise ContractError(f"expected at most {ASSIGNEES_MAX} users and as many teams", "assign")
    event = FindingAssigned(
        finding_id=finding.id, asset_id=finding.asset_id, assignee_ids=users, team_ids=teams
    )
    entry = HistoryEntry("assigned", new_value=", ".join((*users, *teams)))
    change = Change(after, (entry,), (event,))
    return change.then(change_status(after, "assigned")) if after.status == "open" else change


def _updated(finding: Finding, *changed: str) -> FindingUpdated:
    return FindingUpdated(finding_id=finding.id, asset_id=finding.asset_id, changed=changed)


def _check_ids(name: str, ids: tuple[str, ...]) -> None:
    for number, each in enumerate(ids):
        if not each.strip() or len(each) > ID_CHARACTERS_MAX or "\x00" in each:
            message = f"expected 1 to {ID_CHARACTERS_MAX} characters without NUL"
            raise ContractError(message, f"{name}[{number}]")


def _tag(tag: str, number: int) -> str:
    text = tag.strip()
    if not text or len(text) > TAG_CHARACTERS_MAX or "\x00" in text:
        raise ContractError(f"expected 1 to {TAG_CHARACTERS_MAX} characters without NUL", f"tags[{number}]")
    return text


def _comment(comment: str) -> str:
    text = comment.strip()
    if len(text) > COMMENT_CHARACTERS_MAX or "\x00" in text:
        raise ContractError(f"expected at most {COMMENT_CHARACTERS_MAX} characters without NUL", "comment")
    return text
