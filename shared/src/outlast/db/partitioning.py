"""Tables that grow for ever are range-partitioned by the time in the execution id: a week a table.

Dropping a week is dropping a table: no dead rows, no vacuum. Rows outside every week fall into the default table.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from outlast import ids
from outlast.db.pool import classified
from outlast.errors import TransientError

WEEKS_AHEAD = 2
KEEP_SECONDS = 6 * 3600.0
RETRY_SECONDS = 60.0

_log = structlog.get_logger()


def week_of(at: datetime) -> datetime:
    """The Monday, midnight UTC, that begins the week of `at`."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


async def ensure_weekly_partitions(
    pool: asyncpg.Pool, schema: str, table: str, now: datetime, *, storage: str = ""
) -> list[str]:
    """Make the tables of last week, this one and the next two, with these storage parameters ("fillfactor = 50").

    Returns the names made now. Idempotent; tables that are there get the storage too, for what they take in hereafter.

    Done under the schema's own lock, so that two instances may start at once. A week whose rows came before its
    table (a producer's clock was ahead) stays in the default table: slower to drop, and no reason to stop.
    """
    made: list[str] = []
    async with classified(), pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"{schema}.{table}")
        for offset in range(-1, WEEKS_AHEAD + 1):
            begin = week_of(now) + timedelta(weeks=offset)
            end = begin + timedelta(weeks=1)
            name = f"{table}_{begin:%Y%m%d}"
            if await connection.fetchval("select to_regclass($1)", f"{schema}.{name}") is None:
                low, high = (ids.lower_bound(int(each.timestamp() * 1000)) for each in (begin, end))
                try:
                    async with connection.transaction():
                        await connection.execute(
                            f'create table "{schema}"."{name}" partition of "{schema}"."{table}" '
                            f"for values from ('{low}') to ('{high}')"
                        )
                except asyncpg.CheckViolationError:
                    _log.error("week_left_in_default_table", table=f"{schema}.{table}", week=name)
                    continue
                made.append(name)
            if storage:
                await connection.execute(f'alter table "{schema}"."{name}" set ({storage})')
    return made


async def keep_weeks(make: Callable[[], Awaitable[object]], wait: Callable[[float], Awaitable[bool]]) -> None:
    """Call `make` every few hours until `wait` says stop; a database that is away is tried again soon."""
    seconds = KEEP_SECONDS
    while not await wait(seconds):
        try:
            await make()
            seconds = KEEP_SECONDS
        except TransientError as fault:
            _log.warning("weeks_not_made", error=str(fault))
            seconds = RETRY_SECONDS
