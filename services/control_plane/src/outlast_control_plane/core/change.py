"""What saving a document would change: decided once, for the plan and for the save."""

import difflib
from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What a save does to the runbook of that name."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Current:
    """The version that is in use now."""

    version: int
    sha256: str
    is_deleted: bool


def change_of(current: Current | None, sha256: str) -> Change:
    """Equal canonical documents make no new version; a deleted runbook is made again, as its next version."""
    if current is None or current.is_deleted:
        return Change.CREATE
    return Change.UNCHANGED if current.sha256 == sha256 else Change.UPDATE


def difference(before: str, after: str, before_name: str, after_name: str) -> str:
    """A unified diff of two sources, "" if they are equal."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), before_name, after_name, lineterm="", n=3
    )
    return "\n".join(lines)
