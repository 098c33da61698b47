"""A week a table on a real Postgres: what came before its table was made must stop nobody."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from outlast import ids
from outlast.db.partitioning import ensure_weekly_partitions, keep_weeks
from outlast.db.pool import classified, connect_pool, transaction
from outlast.errors import DataRejected, TransientError

NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[asyncpg.Pool]:
    made = await connect_pool(postgres, "weeks", 2)
    await made.execute("create schema weeks")
    await made.execute(
        "create table history (execution_id uuid primary key) partition by range (execution_id)"
    )
    await made.execute("create table history_default partition of history default")
    yield made
    await made.close()


async def insert(pool: asyncpg.Pool, born: datetime) -> None:
    execution = ids.execution_id(int(born.timestamp() * 1000), 1, "acme", "s", "e", "r")
    await pool.execute("insert into history values ($1)", execution)


async def test_four_weeks_are_made_once(pool: asyncpg.Pool):
    assert await ensure_weekly_partitions(pool, "weeks", "history", NOW) == [
        f"history_{day}" for day in ("20251229", "20260105", "20260112", "20260119")
    ]
    assert await ensure_weekly_partitions(pool, "weeks", "history", NOW) == []
    await insert(pool, NOW)
    assert await pool.fetchval("select count(*) from history_20260105") == 1


async def test_weeks_have_the_storage_that_is_wanted_of_them_and_those_that_are_there_get_it(
    pool: asyncpg.Pool,
):
    of_weeks = "select distinct reloptions from pg_class where relname like 'history\\_2%' and relkind = 'r'"
    await ensure_weekly_partitions(pool, "weeks", "history", NOW)
    assert [row[0] for row in await pool.fetch(of_weeks)] == [None]
    for storage in ("fillfactor = 30", "fillfactor = 25"):
        await ensure_weekly_partitions(pool, "weeks", "history", NOW + timedelta(weeks=1), storage=storage)
    await ensure_weekly_partitions(pool, "weeks", "history", NOW, storage="fillfactor = 25")
    assert [row[0] for row in await pool.fetch(of_weeks)] == [["fillfactor=25"]]


async def test_a_row_from_a_clock_that_was_ahead_does_not_stop_the_weeks_from_being_made(pool: asyncpg.Pool):
    await insert(pool, NOW + timedelta(weeks=1))
    made = await ensure_weekly_partitions(pool, "weeks", "history", NOW)
    assert made == ["history_20251229", "history_20260105", "history_20260119"]
    await insert(pool, NOW)
    assert await pool.fetchval("select count(*) from history") == 2


async def test_a_database_that_is_away_is_asked_again():
    waited: list[float] = []
    made = 0

    async def make() -> None:
        nonlocal made
        made += 1
        if made == 1:
            raise TransientError("away")

    async def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 3

    await keep_weeks(make, wait)
    assert made == 2
    assert waited[1] < waited[0] == waited[2]


async def test_a_key_that_no_index_takes_is_the_rows_fault(pool: asyncpg.Pool):
    await pool.execute("create table names (name text primary key)")
    noise = await pool.fetchval("select string_agg(md5(n::text), '') from generate_series(1, 300) n")
    with pytest.raises(DataRejected):
        async with transaction(pool) as connection:
            await connection.execute("insert into names values ($1)", noise)


async def test_a_refused_row_is_not_shown(pool: asyncpg.Pool):
    await pool.execute("create table secrets (secret text, n int check (n > 0))")
    with pytest.raises(DataRejected) as refused:
        async with classified():
            await pool.execute("insert into secrets values ('hunter2', 0)")
    assert "hunter2" not in str(refused.value)
    assert "secrets" in str(refused.value)
