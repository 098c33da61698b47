"""Which of the waiting may start now. Pure: counts and queues, no clock, no I/O.

Companies take turns, and within a company its destinations do, so a company with a thousand waiting delays another
company's one by at most a round. A destination at its cap holds back nobody else's calls.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from outlast import limits


class Waiting(Protocol):
    """What the caps look at."""

    @property
    def company_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def destination(self) -> str | None:
        """Whom it loads; None has no cap."""
        ...


class Caps(NamedTuple):
    """How many calls may run at the same time."""

    total_max: int = limits.CALLS_IN_FLIGHT_MAX
    company_max: int = limits.CALLS_PER_COMPANY_MAX
    destination_max: int = limits.CALLS_PER_DESTINATION_MAX


T = TypeVar("T", bound=Waiting)


class WaitingRoom(Generic[T]):
    """Queues by company and destination, and how many of each are running."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._queues: dict[str, dict[str | None, deque[T]]] = {}
        self._turns: deque[str] = deque()
        self._waiting = 0
        self._running = 0
        self._by_company: dict[str, int] = {}
        self._by_destination: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    @property
    def running(self) -> int:
        """How many were taken and not released."""
        return self._running

    def add(self, item: T) -> None:
        """Last in its queue."""
        destinations = self._queues.get(item.company_id)
        if destinations is None:
            destinations = self._queues[item.company_id] = {}
            self._turns.append(item.company_id)
        queue = destinations.get(item.destination)
        if queue is None:
            queue = destinations[item.destination] = deque()
        queue.append(item)
        self._waiting += 1

    def take(self) -> list[T]:
        """Those that may start now, in the order of turns; they count as running until released."""
        taken: list[T] = []
        idle_turns = 0
        while self._turns and self._running < self._caps.total_max and idle_turns < len(self._turns):
            company = self._turns.popleft()
            queue = self._next_of(company)
            if queue is None:
                idle_turns += 1
                self._turns.append(company)
                continue
            idle_turns = 0
            item = queue.popleft()
            self._waiting -= 1
            self.start(item)
            taken.append(item)
            if self._tidy(company, item.destination, queue):
                self._turns.append(company)
        return taken

    def start(self, item: T) -> None:
        """One that did not wait here starts out of turn: it counts as running, whatever the caps."""
        self._running += 1
        self._by_company[item.company_id] = self._by_company.get(item.company_id, 0) + 1
        if item.destination is not None:
            self._by_destination[item.destination] = self._by_destination.get(item.destination, 0) + 1

    def release(self, item: T) -> None:
        """One that was taken runs no more."""
        self._running -= 1
        _count_down(self._by_company, item.company_id)
        if item.destination is not None:
            _count_down(self._by_destination, item.destination)

    def forget(self, is_forgotten: Callable[[T], bool]) -> None:
        """Drop those of the waiting for whom it holds."""
        kept = [
            item
            for company in self._turns
            for queue in self._queues[company].values()
            for item in queue
            if not is_forgotten(item)
        ]
        self._queues.clear()
        self._turns.clear()
        self._waiting = 0
        for item in kept:
            self.add(item)

    def _next_of(self, company: str) -> deque[T] | None:
        """The company's queue whose turn it is and whose caps have room."""
        if self._by_company.get(company, 0) >= self._caps.company_max:
            return None
        for destination, queue in self._queues[company].items():
            if destination is None or self._by_destination.get(destination, 0) < self._caps.destination_max:
                return queue
        return None

    def _tidy(self, company: str, destination: str | None, queue: deque[T]) -> bool:
        """Move the destination behind its company's others; False when the company waits for nothing more."""
        destinations = self._queues[company]
        if not queue:
            del destinations[destination]
        elif len(destinations) > 1:
            destinations[destination] = destinations.pop(destination)
        if not destinations:
            del self._queues[company]
            return False
        return True


def _count_down(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
