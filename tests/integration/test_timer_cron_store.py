"""One suite for the rows of schedules, in memory and in Postgres: put, moved on, ended, fenced, and what fired kept."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.stores.memory_timers import MemoryCronStore

from outlast.contracts.topics import TIMER_COMMANDS, Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.errors import DataRejected, Fenced
from outlast_timer_scheduler.core.entries import Row
from outlast_timer_scheduler.core.firings import Fired
from outlast_timer_scheduler.cron_store import KEPT, CronChanges, CronStore, PostgresCronStore
from outlast_timer_scheduler.store import LOOP

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
AT = TopicPartition(TIMER_COMMANDS, 0)
FIRST = ("", "", 0, datetime.min.replace(tzinfo=UTC))


class Rows:
    """A store under test, and the partition whose fence it writes under."""

    def __init__(self, store: CronStore, fence: Fence) -> None:
        self.store = store
        self.fence = fence
        self.epoch = 0

    async def own(self) -> None:
        (owned,) = await self.fence.acquire([Claim(AT, "id")])
        self.epoch = owned.epoch

    async def commit(self, changes: CronChanges, epoch: int | None = None) -> None:
        await self.store.commit_cron(changes, [Move(AT, epoch or self.epoch, 0, 0, None)])


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        fence = LocalFence()
        made = Rows(MemoryCronStore(fence), fence)
        await made.own()
        yield made
        return
    pool = await connect_pool(request.getfixturevalue("postgres"), "timers", 2, is_reset=False)
    await migrate(pool, "timers", migration_files("outlast_timer_scheduler"))
    made = Rows(PostgresCronStore(pool), PostgresFence(pool, LOOP))
    await made.own()
    yield made
    await pool.close()


def row(runbook: str, rule: int = 0, hours: float = 0, company: str = "acme") -> Row:
    last_at = BEGIN + timedelta(hours=hours)
    return Row(company, runbook, rule, 3, "0 * * * *", "Europe/Berlin", last_at, last_at + timedelta(hours=1))


def fired(runbook: str, hours: float, rule: int = 0, at: datetime = BEGIN) -> Fired:
    instant = BEGIN + timedelta(hours=hours)
    return Fired("acme", runbook, rule, instant, "0 * * * *", "Europe/Berlin", False, at)


async def test_entries_are_put_moved_on_and_ended(rows: Rows):
    await rows.commit(CronChanges(put=[row("b"), row("a", 1), row("a"), row("a", company="globex")]))
    assert await rows.store.entries([("acme", "a"), ("acme", "b"), ("acme", "c")]) == [
        row("a"),
        row("a", 1),
        row("b"),
    ]
    await rows.commit(CronChanges(gone=[("acme", "a", 1), ("acme", "c", 0)], put=[row("b", hours=1)]))
    assert await rows.store.entries([("acme", "a"), ("acme", "b")]) == [row("a"), row("b", hours=1)]
    assert await rows.store.entries([("globex", "a")]) == [row("a", company="globex")]


async def test_an_entry_that_ends_may_begin_anew_at_once(rows: Rows):
    await rows.commit(CronChanges(put=[row("again")]))
    await rows.commit(CronChanges(gone=[("acme", "again", 0)], put=[row("again", hours=5)]))
    assert await rows.store.entries([("acme", "again")]) == [row("again", hours=5)]


async def test_an_entry_that_comes_no_more_has_no_next_time(rows: Rows):
    last = row("last")._replace(next_at=None)
    await rows.commit(CronChanges(put=[last]))
    assert await rows.store.entries([("acme", "last")]) == [last]


async def test_a_lost_partition_writes_nothing(rows: Rows):
    epoch = rows.epoch
    await rows.own()
    with pytest.raises(Fenced):
        await rows.commit(CronChanges(put=[row("fenced")], fired=[fired("fenced", 1)]), epoch)
    assert await rows.store.entries([("acme", "fenced")]) == []


async def test_what_no_row_can_hold_is_refused_whole(rows: Rows):
    with pytest.raises(DataRejected):
        await rows.commit(CronChanges(put=[row("fine"), row("nul\0")]))
    assert await rows.store.entries([("acme", "fine")]) == []


async def test_firings_are_kept_once_and_read_in_pages(rows: Rows):
    said = [fired("p1", hours, rule) for rule in (0, 1) for hours in (1, 2)] + [fired("p0", 9)]
    await rows.commit(CronChanges(put=[row("p1")], fired=list(reversed(said))))
    await rows.commit(CronChanges(put=[row("p1")], fired=[said[0]._replace(is_catch_up=True)]))
    expected = [said[4], *said[:4]]
    page = await rows.store.firings_page(BEGIN, FIRST, 3)
    assert page == expected[:3]
    assert await rows.store.firings_page(BEGIN, page[-1].position, 3) == expected[3:]
    assert await rows.store.firings_page(BEGIN + timedelta(seconds=1), FIRST, 3) == []


async def test_firings_are_dropped_when_nobody_may_ask_for_them(rows: Rows):
    later = BEGIN + KEPT + timedelta(seconds=1)
    await rows.commit(CronChanges(put=[row("old")], fired=[fired("old", 1), fired("old", 2)]))
    await rows.commit(CronChanges(put=[row("old")], fired=[fired("old", 30, at=later)]))
    left = await rows.store.firings_page(BEGIN, FIRST, 100)
    assert [each.position for each in left if each.runbook_id == "old"] == [fired("old", 30).position]
