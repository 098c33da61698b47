"""The timers' rows in memory: the same promises as PostgresTimerStore, held to them by the same suite."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast_timer_scheduler.core.commands import Changes, Key
from outlast_timer_scheduler.core.due import Ask, Position, Timer
from outlast_timer_scheduler.core.entries import EntryKey, Row, RunbookKey
from outlast_timer_scheduler.core.firings import Fired
from outlast_timer_scheduler.cron_store import KEPT, CronChanges
from outlast_timer_scheduler.store import Placed, Stored
from tests.stores.columns import check_execution_ids, check_text


class MemoryTimerStore:
    """The schema `timers`, shared by every instance of the timer scheduler."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.timers: dict[Key, Placed] = {}
        self._order: dict[int, list[Position]] = {}
        """Of each partition, in order."""
        self.before_commit: Callable[[Changes], None] = lambda _changes: None
        """For a test to die at."""

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Stored:
        """All of it or nothing, offsets first."""
        self.before_commit(changes)
        self._fence.check(moves)
        check_execution_ids(key[0] for key in (*changes.ended, *changes.started))
        check_text(*(text for key in (*changes.ended, *changes.started) for text in key))
        self._fence.apply(moves)
        ended = [self._delete(key) for key in changes.ended if key in self.timers]
        started: list[Placed] = []
        for _, (partition, timer) in sorted(changes.started.items()):
            placed = self._insert(partition, timer)
            if placed is not None:
                started.append(placed)
        return Stored(started, ended)

    def _delete(self, key: Key) -> Placed:
        placed = self.timers.pop(key)
        order = self._order[placed.partition]
        del order[bisect_left(order, placed.timer.position)]
        return placed

    def _insert(self, partition: int, timer: Timer) -> Placed | None:
        present = self.timers.get(timer.key)
        if present is not None:
            if present.partition == partition:
                return None
            timer = self._delete(timer.key).timer
        placed = self.timers[timer.key] = Placed(partition, timer)
        insort(self._order.setdefault(partition, []), timer.position)
        return placed

    async def pages(self, asks: Sequence[Ask]) -> Sequence[Placed]:
        """The timers that are asked for, each partition's in order."""
        assert len({ask.until for ask in asks}) == 1
        return [placed for ask in asks for placed in self._page(ask)]

    def _page(self, ask: Ask) -> list[Placed]:
        order = self._order.get(ask.partition, [])
        first = bisect_right(order, ask.after)
        last = min(bisect_left(order, (ask.until, "", "")), first + ask.timers_max)
        return [self.timers[(execution, timer)] for _, execution, timer in order[first:last]]


class MemoryCronStore:
    """The rows of schedules: the same promises as PostgresCronStore, under the same fence as the timers."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.rows: dict[EntryKey, Row] = {}
        self.fired: dict[tuple[str, str, int, datetime], Fired] = {}
        self.before_commit: Callable[[CronChanges], None] = lambda _changes: None
        """For a test to die at."""

    async def entries(self, keys: Collection[RunbookKey]) -> Sequence[Row]:
        """The entries of these runbooks, by key."""
        return [row for key, row in sorted(self.rows.items()) if key[:2] in keys]

    async def commit_cron(self, changes: CronChanges, moves: Sequence[Move]) -> None:
        """All of it or nothing, fence first."""
        self.before_commit(changes)
        self._fence.check(moves)
        check_text(*(text for row in changes.put for text in (*row.key[:2], row.cron, row.timezone)))
        self._fence.apply(moves)
        for key in changes.gone:
            self.rows.pop(key, None)
        self.rows.update((row.key, row) for row in changes.put)
        for fired in changes.fired:
            self.fired.setdefault(fired.position, fired)
        if changes.fired:
            oldest = changes.fired[0].fired_at - KEPT
            self.fired = {key: fired for key, fired in self.fired.items() if fired.fired_at >= oldest}

    async def firings_page(
        self, since: datetime, after: tuple[str, str, int, datetime], page_max: int
    ) -> list[Fired]:
        """Firings since an instant, after a position, in order."""
        found = [
            fired for key, fired in sorted(self.fired.items()) if key > after and fired.fired_at >= since
        ]
        return found[:page_max]
