"""One runbook under one event type: its name, and the question that decides."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from outlast.runbooks.documents import Json

Check: TypeAlias = Callable[[Json, datetime], bool]


class Entry:
    """`check` None means always. Compared by identity."""

    __slots__ = ("check", "runbook_id")

    def __init__(self, runbook_id: str, check: Check | None) -> None:
        self.runbook_id = runbook_id
        self.check = check
