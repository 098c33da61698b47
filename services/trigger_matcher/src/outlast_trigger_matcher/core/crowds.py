"""Firings that come in crowds: whom the rows leave nothing to get is told so at once, without asking the gate.

A window that is full is full for all who come now, whatever is admitted later: entries are only added, and those that
count for a new firing are not forgotten. Where as many hold a slot, wait for one or ask for one as may have a place,
that was so when the firing was there already. So a firing that is refused here loses nothing that it could have had;
whoever is not refused asks the gate, and the dispatch decides as ever.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from outlast.contracts.guarding import Slot, Window
from outlast_trigger_matcher.core.rows import Dispatch, Guard, SlotKey, WindowKey

CROWD_MIN = 5
"""So many firings of one key in a batch are worth a look at what it has given out; fewer ask the gate for less."""


@dataclass(frozen=True, slots=True)
class Crowds:
    """The keys that a batch has crowds of: of windows with the largest limit, of slots with the lane, and how many may
    hold one or wait.
    """

    windows: Mapping[WindowKey, int] = field(default_factory=dict[WindowKey, int])
    slots: Mapping[SlotKey, tuple[int, int]] = field(default_factory=dict[SlotKey, tuple[int, int]])

    def __bool__(self) -> bool:
        return bool(self.windows or self.slots)


class SlotUse(NamedTuple):
    """How many hold a slot of a key, wait for one, and have asked without an answer yet, all at one instant.

    Of those who ask, none that a window may be in the way of.
    """

    held: int = 0
    queued: int = 0
    asking: int = 0


@dataclass(frozen=True, slots=True)
class GivenOut:
    """What keys have given out: the latest entries of windows, in order, and who has slots."""

    entries: Mapping[WindowKey, Sequence[datetime]] = field(default_factory=dict[WindowKey, list[datetime]])
    slots: Mapping[SlotKey, SlotUse] = field(default_factory=dict[SlotKey, SlotUse])


class Refusal(NamedTuple):
    """Why a firing is skipped, in the gate's words."""

    reason: str
    detail: str


def crowds_of(rows: Iterable[Dispatch]) -> Crowds:
    """The keys that so many of these firings want something of that it pays to look."""
    guarded = [row for row in rows if row.guard is not None]
    if len(guarded) < CROWD_MIN:
        return Crowds()
    windows: dict[WindowKey, int] = {}
    slots: dict[SlotKey, tuple[int, int]] = {}
    counts = Counter[tuple[str, WindowKey | SlotKey]]()
    for row in guarded:
        guard = row.guard
        assert guard is not None
        for window in guard.windows:
            key = (*row.runbook, window.key)
            counts["window", key] += 1
            windows[key] = max(windows.get(key, 0), window.limit)
        if guard.slot is not None:
            key = (*row.runbook, guard.slot.key)
            counts["slot", key] += 1
            slots[key] = (row.start.lane, max(slots.get(key, (0, 0))[1], _places(guard.slot)))
    return Crowds(
        {key: limit for key, limit in windows.items() if counts["window", key] >= CROWD_MIN},
        {key: asked for key, asked in slots.items() if counts["slot", key] >= CROWD_MIN},
    )


class Places:
    """What is left of what keys give out, for one firing of a batch after the other."""

    def __init__(self, given: GivenOut) -> None:
        self._given = given
        self._asking = {key: use.asking for key, use in given.slots.items()}

    def refusal(self, row: Dispatch, guard: Guard) -> Refusal | None:
        """Why this firing cannot get what it would ask for; None if it may, or nothing is known."""
        window = full_window(row, guard, self._given.entries)
        if window is not None:
            return Refusal("throttled", f"{window.limit} in {window.seconds:g} s")
        slot = guard.slot
        use = None if slot is None else self._given.slots.get((*row.runbook, slot.key))
        if slot is None or use is None:
            return None
        # Where a slot is free, who is first in the queue is about to have it, and leaves a place. Who asks will have
        # one: nothing else can refuse it.
        asking = self._asking[(*row.runbook, slot.key)]
        if use.held + use.queued + asking < _places(slot):
            return None
        if slot.on_conflict == "queue":
            return Refusal("queue_full", f"{slot.queue_limit} wait")
        return Refusal("slot_taken", f"{slot.limit} of {slot.limit}")

    def has_room(self, row: Dispatch) -> bool:
        """Whether this firing asks for something, and may get it."""
        return row.guard is not None and self.refusal(row, row.guard) is None

    def claim(self, row: Dispatch) -> None:
        """This one asks, and has room: who comes after it in the batch finds a place less, if no window is in its way.

        Not for an event that was taken in before: what its firing got is counted already. Of a window nothing is
        claimed: those who asked before may fill it, and who then is refused would have kept others out for nothing.
        """
        guard = row.guard
        assert guard is not None, f"expected {row.id} to be guarded"
        if guard.slot is not None and not guard.windows:
            key = (*row.runbook, guard.slot.key)
            if key in self._asking:
                self._asking[key] += 1


def _places(slot: Slot) -> int:
    """How many may hold a slot or wait for one."""
    return slot.limit + (slot.queue_limit if slot.on_conflict == "queue" else 0)


def full_window(
    row: Dispatch, guard: Guard, entries: Mapping[WindowKey, Sequence[datetime]]
) -> Window | None:
    """The first window that has no room for this firing: by its latest entries, in order."""
    for window in guard.windows:
        times = entries.get((*row.runbook, window.key), ())
        after = row.received_at - timedelta(seconds=window.seconds)
        if len(times) - bisect_right(times, after) >= window.limit:
            return window
    return None
