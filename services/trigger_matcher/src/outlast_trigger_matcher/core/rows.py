"""One row an execution, from the moment that its firing is accepted: what stands in it, and what it implies."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from outlast.contracts.guarding import Ask, Slot, Window
from outlast.contracts.messages import Start

SlotKey: TypeAlias = tuple[str, str, str]
"""Company, runbook, key."""
WindowKey: TypeAlias = tuple[str, str, str]

UNSENT = frozenset({"deferred", "held", "requested", "queued"})
"""Accepted, and not on its way."""
WITHHELD = frozenset({"skipped", "suppressed", "cancelled"})
"""Ended without having been a run."""


class Guard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a firing asks the gate, with its keys rendered."""

    windows: tuple[Window, ...] = ()
    slot: Slot | None = None
    queue_age_seconds: float = 0.0
    releases_slot: bool = False


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one execution. `start.payload` and `start.definition` are empty where they were not loaded."""

    start: Start
    status: str
    received_at: datetime
    """The broker's time of its event: what windows count by."""
    changed_at: datetime
    """When it came to its status."""
    version: int = 1
    reason: str = ""
    detail: str = ""
    ended_by: str = ""
    guard: Guard | None = None
    asked_at: datetime | None = None
    expires_at: datetime | None = None
    """When it leaves the queue unserved."""
    slot_taken_at: datetime | None = None
    slot_freed_at: datetime | None = None
    slot_seq: int = 0
    resuming_seq: int = 0
    """Of the `resuming` that is not answered yet; 0 for none."""
    granted_seq: int = 0
    is_waiting: bool = False
    is_compared: bool = False
    """Of mode shadow: its durable double has ended, and was compared with it."""
    cancel: bytes | None = None
    """The order to cancel it, as it is passed on."""
    answer: str | None = None
    """About a suppressed firing: run | let_go."""
    answered_by: str = ""
    is_answered: bool = False
    settled_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def id(self) -> str:
        """The execution's."""
        return self.start.execution_id

    @property
    def runbook(self) -> tuple[str, str]:
        """Company and runbook."""
        return (self.start.company_id, self.start.runbook.id)

    @property
    def slot_key(self) -> SlotKey | None:
        """Which slots it needs one of; None if it needs none."""
        if self.guard is None or self.guard.slot is None:
            return None
        return (*self.runbook, self.guard.slot.key)

    @property
    def has_slot(self) -> bool:
        """Whether it holds one now."""
        return self.slot_taken_at is not None and self.slot_freed_at is None

    @property
    def left_double(self) -> bool:
        """Whether it ran and is recorded, and its durable double may not have begun: the record says nothing of it.

        What was never sent keeps the status that it ended with.
        """
        return self.start.mode == "shadow" and self.status == "settled" and not self.is_compared

    @property
    def may_take_slot(self) -> bool:
        """Whether it is to get one, or may ask for one again: what its key has given out must be known then."""
        has_yet_to_run = self.status in ("requested", "queued")
        return has_yet_to_run or (self.status == "sent" and self.slot_key is not None and not self.has_slot)

    @property
    def has_left(self) -> bool:
        """Whether the gate has nothing to keep for it: it holds no slot and waits for none."""
        return self.status not in UNSENT and not self.has_slot and not self.resuming_seq

    def ask(self) -> Ask:
        """The question to the gate. Windows count once: they are no part of what is asked from the queue, and who
        stands there, or goes on after a wait, is never skipped: a gate that forgot it would else find its queue full.
        """
        assert self.guard is not None, f"expected {self.id} to be guarded"
        is_first = self.status in ("requested", "deferred", "held")
        return Ask(
            id=self.id,
            at=self.received_at,
            windows=self.guard.windows if is_first else (),
            slot=self.guard.slot,
            is_resuming=not is_first,
        )


class Admission(msgspec.Struct, frozen=True):
    """An entry of a window."""

    key: WindowKey
    at: datetime
    execution_id: str
    until: datetime
    """From then on it counts for nothing that came before now."""
