"""What every importer makes: scans of one tool over one target, with findings that are told apart by fingerprint."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from outlast.contracts.domain_events import SeverityCounts
from outlast.errors import ContractError
from outlast_platform.limits import (
    DESCRIPTION_CHARACTERS_MAX,
    PATH_CHARACTERS_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TITLE_CHARACTERS_MAX,
)

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One finding as a report has it. `attributes` is a JSON object as text."""

    fingerprint: str
    rule_id: str
    title: str
    description: str
    severity: str
    tags: tuple[str, ...]
    path: str
    line: int | None
    attributes: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What one tool found in one target. `target` is "" where the report does not name it."""

    tool: str
    target: str
    target_class: str
    findings: tuple[ReportedFinding, ...]

    def severity_counts(self) -> SeverityCounts:
        """How many findings of each severity."""
        return SeverityCounts(**Counter(finding.severity for finding in self.findings))


class Fingerprints:
    """Digests that stay the same when lines move; the same thing found again in one report is numbered."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._seen: Counter[str] = Counter()

    def of(self, *parts: str) -> str:
        """What is equal in all parts is one finding."""
        return hashlib.sha256("\x00".join((self._tool, *parts)).encode()).hexdigest()[:32]

    def numbered(self, *parts: str) -> str:
        """What is equal in all parts are several findings: first, second, …"""
        digest = self.of(*parts)
        self._seen[digest] += 1
        return digest if self._seen[digest] == 1 else self.of(digest, str(self._seen[digest]))


def without_repeats(findings: Iterable[ReportedFinding]) -> tuple[ReportedFinding, ...]:
    """Each fingerprint once, the first wins."""
    known: dict[str, ReportedFinding] = {}
    for finding in findings:
        known.setdefault(finding.fingerprint, finding)
    return tuple(known.values())


def normalised(text: str) -> str:
    """Without the differences that formatting makes."""
    return _SPACE.sub(" ", text).strip()


def checked(text: str, path: str, characters_max: int) -> str:
    """The text, cut to size. ContractError where it cannot be stored (NUL)."""
    if "\x00" in text:
        raise ContractError("expected text without NUL", path)
    text = text.strip()
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def canonical_json(value: object) -> str:
    """One text for equal values: the database orders members in its own way."""
    return msgspec.json.encode(value, order="sorted").decode()


def reported(
    *,
    at: str,
    fingerprint: str,
    rule_id: str,
    title: str,
    description: str,
    severity: str,
    tags: Sequence[str],
    path: str,
    line: int | None,
    attributes: dict[str, object],
) -> ReportedFinding:
    """A finding whose texts are checked and cut; `at` is where in the report it stands."""
    encoded = canonical_json({name: value for name, value in attributes.items() if value})
    if "\\u0000" in encoded:
        raise ContractError("expected text without NUL", at)
    cut_tags = (checked(tag, f"{at}.tags", TAG_CHARACTERS_MAX) for tag in tags)
    return ReportedFinding(
        fingerprint=fingerprint,
        rule_id=checked(rule_id, f"{at}.rule", TITLE_CHARACTERS_MAX),
        title=checked(title.strip().partition("\n")[0], at, TITLE_CHARACTERS_MAX) or "(untitled)",
        description=checked(description, at, DESCRIPTION_CHARACTERS_MAX),
        severity=severity,
        tags=tuple(dict.fromkeys(tag for tag in cut_tags if tag))[:TAGS_MAX],
        path=checked(path, f"{at}.location", PATH_CHARACTERS_MAX),
        line=line if line is not None and 0 < line < 2**31 else None,
        attributes=encoded,
    )


def decode_fault(fault: Exception) -> ContractError:
    """What a decoder complains about, with its path in the report."""
    text, _, path = str(fault).partition(" - at `$")
    return ContractError(text, path.rstrip("`").lstrip("."))
