"""One runbook under one event type: its name, and the question that decides."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from outlast.runbooks.documents import Json

Check: TypeAlias = Callable[[Json, datetime], bool]


def always(_payload: Json, _now: datetime) -> bool:
    """The check of rules without a condition."""
    return True


class Entry:
    """Compared by identity."""

    __slots__ = ("check", "runbook_id")

    def __init__(self, runbook_id: str, check: Check) -> None:
        self.runbook_id = runbook_id
        self.check = check
