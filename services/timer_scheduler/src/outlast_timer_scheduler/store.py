"""The timers' rows, committed with the offsets in one transaction."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import asyncpg

from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import columns, load_queries
from outlast_timer_scheduler.core.commands import Changes
from outlast_timer_scheduler.core.due import Ask, Timer

LOOP = "timer_scheduler.commands"


class Placed(NamedTuple):
    """A timer and the partition whose owner fires it."""

    partition: int
    timer: Timer


class Stored(NamedTuple):
    """What a commit changed, which may be less than was asked for: a timer is started once and ends once."""

    started: Sequence[Placed] = ()
    ended: Sequence[Placed] = ()


class TimerStore(Protocol):
    """What the timer scheduler's loop needs of its database."""

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Stored:
        """The changes in one transaction, offsets first. Fenced, DataRejected, TransientError (outcome unknown)."""
        ...

    async def pages(self, asks: Sequence[Ask]) -> Sequence[Placed]:
        """The timers that are asked for, each partition's in order. All asks name the same instant."""
        ...


class PostgresTimerStore:
    """The timer scheduler's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_timer_scheduler")

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Stored:
        """The changes in one transaction, offsets first."""
        started: Sequence[asyncpg.Record] = ()
        ended: Sequence[asyncpg.Record] = ()
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            if keys := changes.ended:
                ended = await connection.fetch(
                    self._queries["end_timers"], [key[0] for key in keys], [key[1] for key in keys]
                )
            if changes.started:
                rows = [(partition, *timer) for _, (partition, timer) in sorted(changes.started.items())]
                started = await connection.fetch(self._queries["start_timers"], *columns(rows))
        return Stored([_placed(row) for row in started], [_placed(row) for row in ended])

    async def pages(self, asks: Sequence[Ask]) -> Sequence[Placed]:
        """The timers that are asked for, each partition's in order."""
        async with classified():
            rows = await self._pool.fetch(
                self._queries["pages"],
                [ask.partition for ask in asks],
                [ask.after[0] for ask in asks],
                [ask.after[1] for ask in asks],
                [ask.after[2] for ask in asks],
                [ask.timers_max for ask in asks],
                asks[0].until,
            )
        return [_placed(row) for row in rows]


def _placed(row: asyncpg.Record) -> Placed:
    timer = Timer(row["fire_at"], str(row["execution_id"]), row["timer_id"], row["traceparent"])
    return Placed(row["partition"], timer)
