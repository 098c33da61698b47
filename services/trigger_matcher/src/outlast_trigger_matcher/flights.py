"""How many runs of each company are under way: what is more than its limit waits, and delays nobody else."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

RECOUNT_SECONDS = 1.0
"""How long a count is trusted while there is room."""
FULL_SECONDS = 0.1
"""How long a company that is full is not counted again."""


class Counting(Protocol):
    """The part of the store that counts."""

    async def in_flight(self, companies: Collection[str], limit: int) -> Mapping[str, int]:
        """How many runs of each company are sent, not closed and not waiting, counted up to `limit`; `limit` for one
        whose firings are deferred already: those come first.
        """
        ...


class Flights:
    """Room that each company has left, by a count that is at most a second old. Near the limit it is approximate."""

    def __init__(self, counting: Counting, limit: int, monotonic: Callable[[], float]) -> None:
        self._counting = counting
        self.limit = limit
        self._monotonic = monotonic
        self._room: dict[str, tuple[float, int]] = {}

    async def count(self, companies: Collection[str]) -> None:
        """Know the room of these companies."""
        now = self._monotonic()
        stale = [company for company in companies if self._is_stale(company, now)]
        if not stale:
            return
        if len(self._room) > 10 * len(stale) + 1_000:
            self._room = {name: each for name, each in self._room.items() if now - each[0] < RECOUNT_SECONDS}
        counts = await self._counting.in_flight(stale, self.limit)
        for company in stale:
            self._room[company] = (now, self.limit - counts.get(company, 0))

    def _is_stale(self, company: str, now: float) -> bool:
        known = self._room.get(company)
        if known is None:
            return True
        return now - known[0] >= (RECOUNT_SECONDS if known[1] > 0 else FULL_SECONDS)

    def take(self, company: str) -> bool:
        """Whether one more run of this company may be sent; it is taken to be."""
        at, room = self._room.get(company, (0.0, 1))
        self._room[company] = (at, room - 1)
        return room > 0
