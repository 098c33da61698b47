"""The outbox on a real Postgres: commit order without gaps, one publisher, nothing lost with a lost topic."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from outlast.db import outbox
from outlast.db.migrate import migrate
from outlast.db.outbox import OUTBOX_DDL, OutboxPublisher, append
from outlast.db.pool import connect_pool, transaction
from outlast.errors import LimitExceeded, TransientError
from outlast.messaging.ports import Outgoing

SECONDS_MAX = 20.0


@dataclass
class Broker:
    """A sink and the topic ids beside it. What is sent counts only once it is flushed."""

    ids: dict[str, str] = field(default_factory=lambda: {"t": "first"})
    acknowledged: list[Outgoing] = field(default_factory=list)
    queued: list[Outgoing] = field(default_factory=list)
    failures: int = 0
    asked: int = 0
    hold: asyncio.Event | None = None

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.queued += messages

    async def flush(self) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.failures:
            self.failures -= 1
            self.queued.clear()
            raise TransientError("the broker is away")
        self.acknowledged += self.queued
        self.queued.clear()

    async def partition_count(self, topic: str) -> int:
        return 1

    async def close(self) -> None: ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        self.asked += 1
        return {topic: self.ids[topic] for topic in topics if topic in self.ids}

    def values(self) -> list[bytes | None]:
        return [message.value for message in self.acknowledged]


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[asyncpg.Pool]:
    made = await connect_pool(postgres, "boxes", 8)
    await migrate(made, "boxes", [("0001_pre_outbox.sql", OUTBOX_DDL)])
    yield made
    await made.close()


def message(value: str, key: str = "k", topic: str = "t") -> Outgoing:
    return Outgoing(topic, value.encode(), key.encode(), headers=(("n", b"\xff\x00"),))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 what we wait for has no event
            await asyncio.sleep(0.01)


async def until_count(pool: asyncpg.Pool, expected: int, query: str) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while await pool.fetchval(query) != expected:  # noqa: ASYNC110 as above
            await asyncio.sleep(0.01)


async def write(pool: asyncpg.Pool, *messages: Outgoing) -> None:
    async with transaction(pool) as connection:
        await append(connection, messages)


@asynccontextmanager
async def running(*publishers: OutboxPublisher) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for each in publishers:
            tasks.create_task(each.run(stopping))
        yield
        stopping.set()


async def test_what_commits_late_with_a_smaller_id_is_published_all_the_same(pool: asyncpg.Pool) -> None:
    broker = Broker()
    async with running(OutboxPublisher(pool, broker, broker)):
        async with transaction(pool) as slow:
            await append(slow, [message("took its id first")])
            await write(pool, message("committed first"))
            await until(lambda: broker.values() == [b"committed first"])
        await until(lambda: broker.values() == [b"committed first", b"took its id first"])


async def test_a_message_arrives_whole_and_in_order_of_writing(pool: asyncpg.Pool) -> None:
    broker = Broker()
    rows = [
        Outgoing("t", None, b"tombstone", 3, (("a", b"\x00"), ("b", b""))),
        *(message(str(n)) for n in range(1200)),
    ]
    await write(pool, *rows)
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: len(broker.acknowledged) == len(rows))
    assert broker.acknowledged == rows


async def test_nothing_is_marked_before_every_delivery_report_is_in(pool: asyncpg.Pool) -> None:
    broker = Broker(hold=asyncio.Event())
    await write(pool, message("a"))
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: broker.queued)
        assert await pool.fetchval("select count(*) from outbox where published_topic_id is not null") == 0
        assert broker.hold is not None
        broker.hold.set()
        await until_count(pool, 0, "select count(*) from outbox where published_topic_id is null")
    assert [tuple(row) for row in await pool.fetch("select published_topic_id from outbox")] == [("first",)]


async def test_what_the_broker_did_not_take_is_sent_again(pool: asyncpg.Pool) -> None:
    broker = Broker(failures=2)
    await write(pool, message("a"), message("b"))
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: broker.values() == [b"a", b"b"])


async def test_rows_of_the_lost_topic_are_sent_again_and_marked_with_the_new_one(pool: asyncpg.Pool) -> None:
    broker = Broker(ids={"t": "first", "u": "kept"})
    publisher = OutboxPublisher(pool, broker, broker, check_seconds=0.05)
    async with running(publisher):
        await write(pool, message("a"), message("b"), message("other", topic="u"))
        await until(lambda: len(broker.acknowledged) == 3)
        broker.acknowledged.clear()
        broker.ids["t"] = "second"
        await until(lambda: broker.values() == [b"a", b"b"])
        await until_count(pool, 0, "select count(*) from outbox where published_topic_id is null")
    marks = await pool.fetch("select distinct topic, published_topic_id from outbox order by topic")
    assert [tuple(row) for row in marks] == [("t", "second"), ("u", "kept")]


async def test_a_topic_lost_while_no_publisher_ran_is_noticed_at_start(pool: asyncpg.Pool) -> None:
    broker = Broker()
    await write(pool, message("a"))
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: broker.acknowledged)
    broker.ids["t"] = "second"
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: broker.values() == [b"a", b"a"])


async def test_a_missing_topic_holds_up_only_its_own_rows(pool: asyncpg.Pool) -> None:
    broker = Broker()
    await write(pool, message("waits", topic="absent"), message("goes"))
    async with running(OutboxPublisher(pool, broker, broker, check_seconds=0.05)):
        await until(lambda: broker.values() == [b"goes"])
        broker.ids["absent"] = "now here"
        await until(lambda: broker.values() == [b"goes", b"waits"])


async def test_two_publishers_lose_nothing_and_one_takes_over_from_the_other(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOCK_RETRY_SECONDS", 0.05)
    broker = Broker()
    first, second = (OutboxPublisher(pool, broker, broker) for _ in range(2))
    async with running(second):
        async with running(first):
            await write(pool, message("a"))
            await until(lambda: broker.values() == [b"a"])
            await until(lambda: first.published + second.published == 1)
        await write(pool, message("b"))
        await until(lambda: broker.values() == [b"a", b"b"])


async def test_the_death_of_the_session_in_the_middle_loses_nothing(pool: asyncpg.Pool) -> None:
    broker = Broker(hold=asyncio.Event())
    await write(pool, message("a"))
    async with running(OutboxPublisher(pool, broker, broker)):
        await until(lambda: broker.queued)
        await pool.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        assert broker.hold is not None
        broker.hold.set()
        await until(lambda: len(broker.acknowledged) >= 2)  # sent, could not mark, sent again
        await until_count(pool, 0, "select count(*) from outbox where published_topic_id is null")
    assert set(broker.values()) == {b"a"}


async def test_another_process_writing_wakes_the_publisher_at_once(pool: asyncpg.Pool) -> None:
    broker = Broker()
    async with running(OutboxPublisher(pool, broker, broker, check_seconds=3600)):
        await write(pool, message("a"))
        await until(lambda: broker.acknowledged)
        await write(pool, message("b"))  # nobody calls wake(): the notification does it
        await until(lambda: len(broker.acknowledged) == 2)


async def test_old_rows_go_and_recent_ones_stay(pool: asyncpg.Pool) -> None:
    broker = Broker()
    await write(pool, message("old"), message("new"))
    publisher = OutboxPublisher(pool, broker, broker)
    async with running(publisher):
        await until(lambda: publisher.published == 2)
    await pool.execute("update outbox set published_at = now() - interval '8 days' where value = 'old'")
    async with running(OutboxPublisher(pool, broker, broker)):
        await until_count(pool, 1, "select count(*) from outbox")
    assert await pool.fetchval("select value from outbox") == b"new"


async def test_a_message_that_the_broker_would_refuse_is_refused_to_its_writer(pool: asyncpg.Pool) -> None:
    async with transaction(pool) as connection:
        with pytest.raises(LimitExceeded):
            await append(connection, [Outgoing("t", b"x" * (5 * 1024 * 1024))])
