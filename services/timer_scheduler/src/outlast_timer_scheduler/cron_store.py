"""The rows of schedules, committed under the fence of the timers' loop."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import asyncpg

from outlast import limits
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import columns, load_queries
from outlast_timer_scheduler.core.entries import EntryKey, Row, RunbookKey
from outlast_timer_scheduler.core.firings import Fired
from outlast_timer_scheduler.store import LOOP

KEPT = timedelta(seconds=limits.CRON_REPEATED_SECONDS + 3600)
"""How long firings are kept: longer than they may be asked for."""


@dataclass(slots=True)
class CronChanges:
    """Rows to write: first entries go, then they come or move on, and what fired is noted."""

    gone: Sequence[EntryKey] = ()
    put: Sequence[Row] = ()
    fired: list[Fired] = field(default_factory=list[Fired])


class CronStore(Protocol):
    """What schedules need of the database."""

    async def entries(self, keys: Collection[RunbookKey]) -> Sequence[Row]:
        """The entries of these runbooks, by key."""
        ...

    async def commit_cron(self, changes: CronChanges, moves: Sequence[Move]) -> None:
        """The changes in one transaction, fence first. Fenced, DataRejected, TransientError (outcome unknown)."""
        ...

    async def firings_page(
        self, since: datetime, after: tuple[str, str, int, datetime], page_max: int
    ) -> list[Fired]:
        """Firings since an instant, after a position, in order."""
        ...


class PostgresCronStore:
    """The schema `timers`, as far as schedules are concerned."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_timer_scheduler")

    async def entries(self, keys: Collection[RunbookKey]) -> Sequence[Row]:
        """The entries of these runbooks, by key."""
        async with classified():
            rows = await self._pool.fetch(
                self._queries["entries"], [key[0] for key in keys], [key[1] for key in keys]
            )
        return [Row(*row) for row in rows]

    async def commit_cron(self, changes: CronChanges, moves: Sequence[Move]) -> None:
        """The changes in one transaction, fence first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            if changes.gone:
                await connection.execute(self._queries["end_entries"], *columns(sorted(changes.gone)))
            if changes.put:
                await connection.execute(
                    self._queries["put_entries"], *columns(sorted(changes.put, key=_key))
                )
            if changes.fired:
                await connection.execute(self._queries["add_firings"], *columns(sorted(changes.fired)))
                await connection.execute(self._queries["drop_firings"], changes.fired[0].fired_at - KEPT)

    async def firings_page(
        self, since: datetime, after: tuple[str, str, int, datetime], page_max: int
    ) -> list[Fired]:
        """Firings since an instant, after a position, in order."""
        async with classified():
            rows = await self._pool.fetch(self._queries["firings_page"], since, *after, page_max)
        return [Fired(*row) for row in rows]


def _key(row: Row) -> EntryKey:
    return row.key
