"""One suite for the timers' rows, in memory and in Postgres: started once, ended once, read in pages, fenced."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from tests.stores.memory_timers import MemoryTimerStore

from outlast import ids
from outlast.contracts.messages import CancelTimer, StartTimer
from outlast.contracts.topics import TIMER_COMMANDS, Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.errors import DataRejected, Fenced
from outlast_timer_scheduler.core.commands import Changes
from outlast_timer_scheduler.core.due import Ask, Position, Timer
from outlast_timer_scheduler.store import LOOP, Placed, PostgresTimerStore, Stored, TimerStore

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
BEFORE_ALL: Position = (datetime.min.replace(tzinfo=UTC), "00000000-0000-0000-0000-000000000000", "")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Acquiring(Protocol):
    """The part of a fence that is needed here."""

    async def acquire(self, claims: list[Claim]) -> object: ...


@dataclass
class Rows:
    """A store under test, and how far its partitions are."""

    store: TimerStore
    fence: Fence
    offsets: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    async def own(self, *partitions: int) -> None:
        claims = [Claim(TopicPartition(TIMER_COMMANDS, number), "id") for number in partitions]
        for owned in await self.fence.acquire(claims):
            self.epochs[owned.at.partition] = owned.epoch
            self.offsets[owned.at.partition] = owned.next_offset

    async def commit(self, changes: Changes, partition: int = 0, count: int = 1) -> Stored:
        offset = self.offsets[partition]
        move = Move(TopicPartition(TIMER_COMMANDS, partition), self.epochs[partition], offset, offset + count)
        stored = await self.store.commit(changes, [move])
        self.offsets[partition] = offset + count
        return stored

    async def page(
        self, partition: int = 0, after: Position = BEFORE_ALL, seconds: float = 60, count: int = 100
    ) -> list[Timer]:
        until = BEGIN + timedelta(seconds=seconds)
        return [placed.timer for placed in await self.store.pages([Ask(partition, after, until, count)])]


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        fence = LocalFence()
        made = Rows(MemoryTimerStore(fence), fence)
        await made.own(0, 1)
        yield made
        return
    pool = await connect_pool(request.getfixturevalue("postgres"), "timers", 2, is_reset=False)
    await migrate(pool, "timers", migration_files("outlast_timer_scheduler"))
    made = Rows(PostgresTimerStore(pool), PostgresFence(pool, LOOP))
    await made.own(0, 1)
    yield made
    await pool.close()


def timer(number: int, seconds: float, name: str = "t") -> Timer:
    execution = ids.execution_id(1_767_571_200_000, 4, "acme", "test", str(number), "rb")
    return Timer(BEGIN + timedelta(seconds=seconds), execution, name, TRACE)


def started(*timers: Timer, partition: int = 0) -> Changes:
    changes = Changes()
    for each in timers:
        command = StartTimer(execution_id=each.execution_id, timer_id=each.timer_id, fire_at=each.fire_at)
        changes.apply(command, partition, each.traceparent)
    return changes


def cancelled(*timers: Timer) -> Changes:
    changes = Changes()
    for each in timers:
        changes.apply(CancelTimer(execution_id=each.execution_id, timer_id=each.timer_id), 0, "")
    return changes


async def test_a_started_timer_is_read_back_as_it_was_and_said_to_be_new_once(rows: Rows) -> None:
    one = timer(1, 10.000001)
    assert (await rows.commit(started(one))).started == [Placed(0, one)]
    assert (await rows.commit(started(timer(1, 50)))).started == []
    assert await rows.page() == [one]
    assert await rows.page(partition=1) == []


async def test_a_timer_ends_once_fired_or_cancelled(rows: Rows) -> None:
    one, two, three = timer(1, 1), timer(1, 2, "u"), timer(2, 3)
    await rows.commit(started(one, two, three))
    assert (await rows.commit(cancelled(one))).ended == [Placed(0, one)]
    assert (await rows.commit(Changes(fired=[two, one]), count=0)).ended == [Placed(0, two)]
    assert (await rows.commit(cancelled(two))).ended == []
    assert await rows.page() == [three]


async def test_what_is_cancelled_and_started_in_one_batch_is_the_new_one(rows: Rows) -> None:
    await rows.commit(started(timer(1, 10)))
    changes = cancelled(timer(1, 10))
    changes.started = started(timer(1, 20)).started
    stored = await rows.commit(changes)
    assert (stored.ended, stored.started) == ([Placed(0, timer(1, 10))], [Placed(0, timer(1, 20))])
    assert await rows.page() == [timer(1, 20)]


async def test_pages_are_in_order_also_within_one_instant(rows: Rows) -> None:
    names = ["b", "a", "B", "é", "z", "_"]
    timers = [timer(number, 10, name) for number in range(20) for name in names] + [
        timer(99, 5),
        timer(99, 60, "x"),
    ]
    await rows.commit(started(*timers))
    read: list[Timer] = []
    after = BEFORE_ALL
    while page := await rows.page(after=after, count=7):
        assert len(page) <= 7
        read += page
        after = page[-1].position
    assert read == sorted(timers[:-1])  # that of the instant itself is not before it


async def test_each_partition_has_its_own_page(rows: Rows) -> None:
    await rows.commit(started(timer(1, 1), timer(2, 2)), 0)
    await rows.commit(started(timer(3, 3), timer(4, 4), partition=1), 1)
    until = BEGIN + timedelta(seconds=60)
    asks = [Ask(0, timer(1, 1).position, until, 5), Ask(1, BEFORE_ALL, until, 1)]
    assert list(await rows.store.pages(asks)) == [Placed(0, timer(2, 2)), Placed(1, timer(3, 3))]


async def test_a_timer_moves_to_the_partition_that_speaks_for_it_with_its_instant(rows: Rows) -> None:
    await rows.commit(started(timer(1, 10)), 0)
    stored = await rows.commit(started(timer(1, 20), partition=1), 1)
    assert stored.started == [Placed(1, timer(1, 10))]
    assert (await rows.page(0), await rows.page(1)) == ([], [timer(1, 10)])


async def test_who_was_superseded_writes_nothing(rows: Rows) -> None:
    await rows.commit(started(timer(1, 10)))
    epochs = dict(rows.epochs)
    await rows.own(0)
    rows.epochs = epochs
    for changes in (started(timer(2, 10)), cancelled(timer(1, 10)), Changes(fired=[timer(1, 10)])):
        with pytest.raises(Fenced):
            await rows.commit(changes, count=0)
    assert await rows.page() == [timer(1, 10)]


async def test_a_row_that_no_database_takes_is_refused_with_its_batch(rows: Rows) -> None:
    with pytest.raises(DataRejected):
        await rows.commit(started(timer(1, 10), timer(2, 10, "\x00")))
    assert await rows.page() == []
    await rows.commit(started(timer(1, 10)))
