"""What a scan changes: the findings that were known of its tool and target, beside those that it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outlast_platform.core.importers.scan import ReportedFinding

ACTIVE = ("open", "assigned", "in_progress")
"""Statuses of a finding that somebody should still do something about."""
FIXED = ("resolved", "closed")
"""Statuses that a finding loses when a scan sees it again; accepted and false_positive are decisions, and stay."""
REOPENED = "open"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A stored finding, as far as a scan may change it. `attributes` is a JSON object as text."""

    id: str
    title: str
    description: str
    rule_id: str
    severity: str
    reported_severity: str
    status: str
    path: str
    line: int | None
    attributes: str


@dataclass(frozen=True, slots=True)
class ChangedFinding:
    """A stored finding as it was and as it is from now on."""

    before: KnownFinding
    after: KnownFinding
    changed: tuple[str, ...]
    """Names of members other than the status, in alphabetical order."""
    is_seen: bool

    @property
    def is_status_changed(self) -> bool:
        """Whether the scan re-opened or closed it."""
        return self.before.status != self.after.status


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be written for a scan."""

    created: tuple[ReportedFinding, ...]
    changed: tuple[ChangedFinding, ...]
    unchanged: tuple[str, ...]
    """Ids of findings that were seen again as they were."""

    @property
    def closed_count(self) -> int:
        """Findings that the scan does not report any more."""
        return sum(not each.is_seen for each in self.changed)

    @property
    def updated_count(self) -> int:
        """Findings that were seen and differ, those that came back included."""
        return sum(each.is_seen for each in self.changed)


def compare(known: Mapping[str, KnownFinding], found: Sequence[ReportedFinding]) -> Comparison:
    """Both by fingerprint. A severity that somebody set by hand stays until the scanner changes its own."""
    created: list[ReportedFinding] = []
    changed: list[ChangedFinding] = []
    unchanged: list[str] = []
    for finding in found:
        before = known.get(finding.fingerprint)
        if before is None:
            created.append(finding)
            continue
        after = _seen_again(before, finding)
        names = _differences(before, after)
        if names or before.status != after.status or before.reported_severity != after.reported_severity:
            changed.append(ChangedFinding(before, after, names, is_seen=True))
        else:
            unchanged.append(before.id)
    reported = {finding.fingerprint for finding in found}
    for fingerprint, before in known.items():
        if fingerprint not in reported and before.status in ACTIVE:
            changed.append(ChangedFinding(before, _with_status(before, CLOSED), (), is_seen=False))
    return Comparison(tuple(created), tuple(changed), tuple(unchanged))


def _seen_again(before: KnownFinding, finding: ReportedFinding) -> KnownFinding:
    is_regraded = finding.severity != before.reported_severity
    return KnownFinding(
        id=before.id,
        title=finding.title,
        description=finding.description,
        rule_id=finding.rule_id,
        severity=finding.severity if is_regraded else before.severity,
        reported_severity=finding.severity,
        status=REOPENED if before.status in FIXED else before.status,
        path=finding.path,
        line=finding.line,
        attributes=finding.attributes,
    )


def _with_status(before: KnownFinding, status: str) -> KnownFinding:
    return KnownFinding(
        before.id,
        before.title,
        before.description,
        before.rule_id,
        before.severity,
        before.reported_severity,
        status,
        before.path,
        before.line,
        before.attributes,
    )


def _differences(before: KnownFinding, after: KnownFinding) -> tuple[str, ...]:
    pairs = {
        "attributes": (before.attributes, after.attributes),
        "description": (before.description, after.description),
        "location": ((before.path, before.line), (after.path, after.line)),
        "rule_id": (before.rule_id, after.rule_id),
        "severity": (before.severity, after.severity),
        "title": (before.title, after.title),
    }
    return tuple(name for name, (old, new) in pairs.items() if old != new)
