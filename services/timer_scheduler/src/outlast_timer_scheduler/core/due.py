"""Which timers are due: the near future of each partition in memory, the rest in the database.

A partition's timers are ordered by position. All of them up to a horizon are held, none beyond it; what is started
or cancelled this side of the horizon is entered here, once it is stored. The horizon moves on by pages. It lies a
minute ahead, or, where many timers are near, at the last one that there was room for.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush, nsmallest
from typing import NamedTuple

from outlast import limits

HORIZON = timedelta(minutes=1)
"""How far ahead timers are held; the next page is read when half of it has passed."""

Position = tuple[datetime, str, str]
"""Instant, execution, timer: ordered as the database orders them."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Timer(NamedTuple):
    """A timer that waits."""

    fire_at: datetime
    execution_id: str
    timer_id: str
    traceparent: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """There is one timer of a key."""
        return (self.execution_id, self.timer_id)

    @property
    def position(self) -> Position:
        """Its place in the order."""
        return (self.fire_at, self.execution_id, self.timer_id)


class Ask(NamedTuple):
    """A page to read: timers of the partition after a position and before an instant, so many."""

    partition: int
    after: Position
    until: datetime
    timers_max: int


class Upcoming:
    """The timers of one partition as far as the horizon."""

    def __init__(self, partition: int, timers_max: int = limits.TIMERS_HELD_MAX) -> None:
        self.partition = partition
        self._timers_max = timers_max
        self._heap: list[Timer] = []
        self._removed: set[Position] = set()
        """In the heap still, and gone all the same: taken out when they come up."""
        self._horizon: Position = (_LONG_AGO, _FIRST_ID, "")
        self._page_at = _LONG_AGO
        """When the next page is wanted, if there is room for it."""

    def __len__(self) -> int:
        return len(self._heap) - len(self._removed)

    def add(self, timer: Timer) -> None:
        """A timer was stored. Beyond the horizon it is left to the page that it will be on."""
        position = timer.position
        if position > self._horizon:
            return
        if position in self._removed:
            self._removed.discard(position)
            return
        heappush(self._heap, timer)
        if len(self._heap) > self._timers_max + self._timers_max // 4:
            self._shorten()

    def remove(self, timer: Timer) -> None:
        """A timer was deleted before it fired."""
        if timer.position > self._horizon:
            return
        self._removed.add(timer.position)
        if len(self._removed) > self._timers_max // 4:
            self._sweep()

    def next_at(self) -> datetime:
        """When there is something to do: a timer to fire, or a page to read."""
        self._drop_removed()
        if not self._heap:
            return self._page_at
        first = self._heap[0].fire_at
        return min(first, self._page_at) if self._has_room else first

    def ask(self, now: datetime) -> Ask | None:
        """The page that is wanted now."""
        if not self._has_room or self._page_at > now:
            return None
        return Ask(self.partition, self._horizon, now + HORIZON, self._timers_max - len(self._heap))

    def enter(self, ask: Ask, page: Sequence[Timer]) -> None:
        """The page that was asked for. Nothing may have been entered since the asking."""
        self._heap += page
        heapify(self._heap)
        if len(page) < ask.timers_max:
            self._horizon = (ask.until, _FIRST_ID, "")
            self._page_at = ask.until - HORIZON / 2
        else:
            self._horizon = page[-1].position
            self._page_at = _LONG_AGO

    def take(self, now: datetime, timers_max: int) -> list[Timer]:
        """Timers whose instant has come, earliest first. They are held no more."""
        taken: list[Timer] = []
        while len(taken) < timers_max:
            self._drop_removed()
            if not self._heap or self._heap[0].fire_at > now:
                break
            taken.append(heappop(self._heap))
        return taken

    @property
    def _has_room(self) -> bool:
        return len(self) < self._timers_max // 2

    def _drop_removed(self) -> None:
        while self._heap and self._removed and self._heap[0].position in self._removed:
            self._removed.discard(heappop(self._heap).position)

    def _sweep(self) -> None:
        self._heap = [timer for timer in self._heap if timer.position not in self._removed]
        heapify(self._heap)
        self._removed.clear()

    def _shorten(self) -> None:
        """Too many are near: let go of the latest, they are on a later page."""
        self._sweep()
        if len(self._heap) > self._timers_max:
            self._heap = nsmallest(self._timers_max, self._heap)
            self._horizon = self._heap[-1].position
            self._page_at = _LONG_AGO


def take_fairly(
    upcoming: Collection[Upcoming], now: datetime, timers_max: int = limits.TIMERS_FIRED_MAX
) -> list[list[Timer]]:
    """Up to so many due timers, by partition: equal shares, and what one leaves of its share goes to the others."""
    taken: list[list[Timer]] = [[] for _ in upcoming]
    hungry = list(zip(upcoming, taken, strict=True))
    left = timers_max
    while hungry and left > 0:
        share = -(-left // len(hungry))
        still_hungry: list[tuple[Upcoming, list[Timer]]] = []
        for each, of_each in hungry:
            more = each.take(now, min(share, left))
            of_each += more
            left -= len(more)
            if len(more) == share:
                still_hungry.append((each, of_each))
        hungry = still_hungry
    return taken
