"""Tables that grow for ever are range-partitioned by the time in the execution id: a week a table.

Dropping a week is dropping a table: no dead rows, no vacuum. Rows outside every week fall into the default table.
"""

from datetime import UTC, datetime, timedelta

import asyncpg

from outlast import ids

WEEKS_AHEAD = 2


def week_of(at: datetime) -> datetime:
    """The Monday, midnight UTC, that begins the week of `at`."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


async def ensure_weekly_partitions(pool: asyncpg.Pool, schema: str, table: str, now: datetime) -> list[str]:
    """Make the tables of last week, this one and the next two; returns the names made now. Idempotent.

    Done under the schema's own lock, so that two instances may start at once.
    """
    made: list[str] = []
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"{schema}.{table}")
        for offset in range(-1, WEEKS_AHEAD + 1):
            begin = week_of(now) + timedelta(weeks=offset)
            end = begin + timedelta(weeks=1)
            name = f"{table}_{begin:%Y%m%d}"
            if await connection.fetchval("select to_regclass($1)", f"{schema}.{name}") is not None:
                continue
            low, high = (ids.lower_bound(int(each.timestamp() * 1000)) for each in (begin, end))
            await connection.execute(
                f'create table "{schema}"."{name}" partition of "{schema}"."{table}" '
                f"for values from ('{low}') to ('{high}')"
            )
            made.append(name)
    return made
