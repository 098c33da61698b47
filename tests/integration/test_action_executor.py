"""The executor on the real servers: an activity in, its result out, and every place where a process can die."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec
import pytest
from confluent_kafka import Consumer
from prometheus_client import CollectorRegistry

from outlast import ids
from outlast.clock import SystemClock
from outlast.contracts import codec
from outlast.contracts.messages import ActivityResult, EventReference, RunActivity, RunbookReference
from outlast.contracts.topics import ENGINE_INBOX, Topic
from outlast.db.migrate import migrate, migration_files
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import TopicAdmin
from outlast_action_executor.concurrency import Tasks
from outlast_action_executor.core.claim import Instance
from outlast_action_executor.guard import Guard
from outlast_action_executor.loop import ExecutorLoop
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.platform import PlatformFindings
from outlast_action_executor.ports import Committed, Group, Ports
from outlast_action_executor.registry import load_registry
from outlast_action_executor.runner import ActionRunner
from outlast_action_executor.store import PostgresLedger, connect_ledger
from outlast_action_executor.web import Web

PARTITIONS = 4
TRACEPARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


class Receiver(asyncio.Protocol):
    """A small HTTP server that counts every request by its idempotency key, before any deduplication."""

    keys: dict[str, int]
    gate: asyncio.Event

    def __init__(self, keys: dict[str, int], gate: asyncio.Event) -> None:
        self.keys, self.gate, self.buffer = keys, gate, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = self.buffer[:end].decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
            length = end + 4 + int(headers.get("content-length", 0))
            if len(self.buffer) < length:
                return
            self.buffer = self.buffer[length:]
            key = headers["idempotency-key"]
            self.keys[key] = self.keys.get(key, 0) + 1
            self.answering = asyncio.ensure_future(self.answer())

    async def answer(self) -> None:
        await self.gate.wait()
        self.transport.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
        )


class Renaming:
    """A sink whose topics have a prefix: the broker is shared with other tests."""

    def __init__(self, sink: KafkaSink, prefix: str) -> None:
        self._sink, self._prefix = sink, prefix
        self.flushed: Callable[[], Awaitable[None]] | None = None

    def send(self, messages: Sequence[Outgoing]) -> None:
        self._sink.send([msgspec.structs.replace(each, topic=self._prefix + each.topic) for each in messages])

    async def flush(self) -> None:
        await self._sink.flush()
        if self.flushed is not None:
            await self.flushed()

    async def partition_count(self, topic: str) -> int:
        return await self._sink.partition_count(self._prefix + topic)

    async def close(self) -> None:
        await self._sink.close()


class Died(BaseException):
    """The process is gone: nothing after this point happens."""


class Dying(PostgresLedger):
    """A ledger whose process dies at a named point of a commit."""

    dies_at: str = ""

    async def commit(self, group: Group) -> Committed:
        if self.dies_at == "before_claim" and group.claims:
            raise Died
        if self.dies_at == "before_settle" and group.settlements:
            raise Died
        committed = await super().commit(group)
        if (self.dies_at == "after_claim" and group.claims) or (
            self.dies_at == "after_settle" and group.settlements
        ):
            raise Died
        return committed


@dataclass
class Executor:
    """One executor, in this process, that can die without saying goodbye."""

    loop: ExecutorLoop
    ledger: Dying
    concurrency: Tasks
    closers: list[Callable[[], Awaitable[Any]]]
    me: Instance
    task: "asyncio.Task[None] | None" = None
    is_stopping: bool = False

    async def stop(self) -> None:
        self.is_stopping = True
        self.concurrency.wake()
        assert self.task is not None
        await asyncio.wait_for(self.task, 30)
        await self._close()

    async def kill(self) -> None:
        """Everything ends where it stands."""
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(Died, asyncio.CancelledError):
            await self.task
        await self.concurrency.close()
        await self.loop.source.close()
        await self._close()

    async def died(self) -> None:
        """Wait until it dies of itself."""
        assert self.task is not None
        with pytest.raises(Died):
            await asyncio.wait_for(self.task, 30)
        await self.kill()

    async def _close(self) -> None:
        for close in self.closers:
            await close()


@dataclass
class World:
    """Topics, a database, a receiver, and executors on them."""

    kafka: str
    dsn: str
    prefix: str
    url: str
    keys: dict[str, int]
    gate: asyncio.Event
    producer: KafkaSink
    consumer: Consumer
    executors: list[Executor] = field(default_factory=list)
    results: list[tuple[ActivityResult, int, dict[str, bytes]]] = field(default_factory=list)
    count: int = 0

    async def executor(self, ordinal: str = "0", dies_at: str = "") -> Executor:
        pool = await connect_ledger(self.dsn)
        await migrate(pool, "executor", migration_files("outlast_action_executor"))
        clock = SystemClock()
        name = f"{self.prefix}{ordinal}"
        ledger = Dying(pool, self.prefix)
        ledger.dies_at = dies_at
        me = await ledger.incarnate(ordinal)
        registry = load_registry()
        web = Web(Guard(["127.0.0.0/8"]))
        runner = ActionRunner(registry, web, PlatformFindings("http://127.0.0.1:9", "", web), clock)
        sink = Renaming(KafkaSink(self.kafka, name), self.prefix)
        concurrency = Tasks()
        metrics = ExecutorMetrics(registry.names, CollectorRegistry())
        loop = ExecutorLoop(me, Ports(ledger, sink, runner, concurrency, clock), metrics)
        topics = [self.prefix + "activities.notify"]
        loop.attach(KafkaSource(self.kafka, self.prefix + "group", name, topics, loop, client_id=name))
        executor = Executor(loop, ledger, concurrency, [sink.close, web.close, ledger.close, pool.close], me)
        executor.task = asyncio.create_task(loop.run(lambda: executor.is_stopping, 20.0))
        self.executors.append(executor)
        return executor

    def activity(self, **changes: Any) -> RunActivity:
        self.count += 1
        execution = ids.execution_id(
            int(time.time() * 1000), PARTITIONS, "acme", "test", str(self.count), "rb"
        )
        return RunActivity(
            **{
                "execution_id": execution,
                "activity_id": "tell",
                "attempt": 1,
                "company_id": "acme",
                "runbook": RunbookReference(id="rb", name="Tell", version=1, sha256="0" * 64),
                "event": EventReference(
                    source="test", id="1", type="finding_created", time=SystemClock().now()
                ),
                "action": "send_webhook",
                "input": msgspec.Raw(msgspec.json.encode({"url": self.url, "body": {"n": self.count}})),
                "timeout_seconds": 5.0,
                **changes,
            }
        )

    async def send(self, *activities: RunActivity) -> None:
        header = (("traceparent", TRACEPARENT.encode()),)
        topic = self.prefix + "activities.notify"
        self.producer.send(
            [Outgoing(topic, codec.encode(a), a.execution_id.encode(), None, header) for a in activities]
        )
        await self.producer.flush()

    async def received(self, count: int, seconds: float = 30.0) -> list[ActivityResult]:
        """Wait for that many results in all."""
        deadline = time.monotonic() + seconds
        while len(self.results) < count and time.monotonic() < deadline:
            for message in await asyncio.to_thread(self.consumer.consume, 1000, 0.05):
                assert message.error() is None, message.error()
                result = codec.inbox.decode(message.value())
                assert isinstance(result, ActivityResult)
                assert message.key() == result.execution_id.encode()
                self.results.append((result, message.partition(), dict(message.headers() or ())))
        assert len(self.results) >= count, f"expected {count} results, got {len(self.results)}"
        return [result for result, _, _ in self.results]

    async def rows(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def until(self, query: str, seconds: float = 15.0) -> None:
        """Wait until the query's only value is true."""
        deadline = time.monotonic() + seconds
        while not (await self.rows(query))[0][0]:
            assert time.monotonic() < deadline, query
            await asyncio.sleep(0.02)


@pytest.fixture
async def world(kafka: str, postgres: str, topic_prefix: str) -> AsyncIterator[World]:
    names = ["activities.notify", ENGINE_INBOX, "action_executor.dead_letters"]
    admin = TopicAdmin(kafka)
    await asyncio.to_thread(admin.ensure, [Topic(topic_prefix + name, "test", PARTITIONS) for name in names])
    keys: dict[str, int] = {}
    gate = asyncio.Event()
    gate.set()
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(keys, gate), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    producer = KafkaSink(kafka, topic_prefix + "producer")
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": topic_prefix + "watch", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic_prefix + ENGINE_INBOX])
    world = World(
        kafka, postgres, topic_prefix, f"http://127.0.0.1:{port}/hook", keys, gate, producer, consumer
    )
    yield world
    gate.set()
    for executor in world.executors:
        if executor.task is not None and not executor.task.done():
            await executor.kill()
    await producer.close()
    await asyncio.to_thread(consumer.close)
    server.close()
    await asyncio.to_thread(admin.delete, [topic_prefix + name for name in names])


async def test_an_activity_is_claimed_called_recorded_and_answered(world: World) -> None:
    await world.executor()
    activity = world.activity()
    await world.send(activity)
    (result,) = await world.received(1)
    assert result.activity_id == "tell"
    assert result.error is None
    assert msgspec.json.decode(result.output) == {"status": 200, "body": {"ok": True}}  # type: ignore[arg-type]
    _, partition, headers = world.results[0]
    assert partition == ids.engine_partition(activity.execution_id)
    assert headers["traceparent"] == TRACEPARENT.encode()
    assert world.keys == {f"{activity.execution_id}:tell:main": 1}
    rows = await world.rows("select succeeded, result, unknown_resolution from executor.claims")
    assert [(row["succeeded"], codec.inbox.decode(row["result"])) for row in rows] == [(True, result)]


async def resolutions(world: World) -> list[str | None]:
    return [
        row["unknown_resolution"]
        for row in await world.rows("select unknown_resolution from executor.claims")
    ]


@pytest.mark.parametrize(
    ("dies_at", "posts_before", "posts", "resolved"),
    [
        ("before_claim", 0, 1, ""),
        ("after_claim", 0, 1, "retried"),
        ("before_settle", 1, 2, "retried"),
        ("after_settle", 1, 1, ""),
    ],
)
async def test_a_death_at_any_point_ends_in_one_result(
    world: World, dies_at: str, posts_before: int, posts: int, resolved: str
) -> None:
    """Only an answer that was not recorded is asked for twice, and then under the same key."""
    activity = world.activity()
    key = f"{activity.execution_id}:tell:main"
    dying = await world.executor(dies_at=dies_at)
    await world.send(activity)
    await dying.died()
    assert world.keys.get(key, 0) == posts_before
    await world.executor()
    (result,) = await world.received(1)
    assert (result.error, result.resolved) == (None, resolved)
    assert world.keys == {key: posts}
    assert await resolutions(world) == [resolved or None]


async def test_an_unrepeatable_action_cut_off_fails_rather_than_repeats(world: World) -> None:
    config = msgspec.Raw(msgspec.json.encode({"url": world.url}))
    activity = world.activity(action="http_request", input=config, on_unknown="fail")
    dying = await world.executor(dies_at="before_settle")
    await world.send(activity)
    await dying.died()
    await world.executor()
    (result,) = await world.received(1)
    assert result.error is not None
    assert (result.error.code, result.resolved) == ("outcome_unknown", "failed")
    assert list(world.keys.values()) == [1]


async def test_what_was_answered_and_not_delivered_is_answered_again(world: World) -> None:
    """Dead after the commit of the results and before their delivery: the ledger answers, nothing is called."""
    activities = [world.activity() for _ in range(20)]
    dying = await world.executor(dies_at="after_settle")
    await world.send(*activities)
    await dying.died()
    assert world.results == []
    await world.executor()
    results = await world.received(20)
    assert {result.execution_id for result in results} == {each.execution_id for each in activities}
    rows = await world.rows("select count(*) from executor.claims where succeeded")
    assert rows[0][0] == 20


async def test_a_call_in_flight_at_a_kill_is_resolved_by_the_other_instance(world: World) -> None:
    """The other ordinal leaves the live claim alone; a new life of the dead one lets it go at once."""
    world.gate.clear()
    activity = world.activity(timeout_seconds=2.0)
    first = await world.executor("0")
    await world.send(activity)
    await world.until("select count(*) = 1 from executor.claims")
    await first.kill()
    await world.executor("1")
    world.gate.set()
    await world.executor("0")
    (result,) = await world.received(1)
    assert result.resolved == "retried"
    (row,) = await world.rows("select takeovers, attempt from executor.claims")
    assert (row["takeovers"], row["attempt"]) == (1, 1)
    assert set(world.keys) == {f"{activity.execution_id}:tell:main"}


async def test_killed_again_and_again_under_load_nothing_is_lost_or_repeated_after_its_record(
    world: World,
) -> None:
    activities = [world.activity() for _ in range(400)]
    executor = await world.executor()
    for begin in range(0, 400, 50):
        await world.send(*activities[begin : begin + 50])
        await asyncio.sleep(0.02 * (begin // 50 % 3))
        await executor.kill()
        executor = await world.executor()
    deadline = time.monotonic() + 60
    wanted = {each.execution_id for each in activities}
    while {result.execution_id for result, _, _ in world.results} < wanted:
        assert time.monotonic() < deadline
        await world.received(len(world.results) + 1)
    assert set(world.keys) == {f"{execution}:tell:main" for execution in wanted}
    repeats = sum(world.keys.values()) - len(wanted)
    rows = await world.rows("select coalesce(sum(takeovers), 0) from executor.claims")
    assert repeats <= rows[0][0], "a call beyond the first has a take-over that explains it"
    rows = await world.rows("select count(*) from executor.claims where result is null")
    assert rows[0][0] == 0


async def test_two_executors_share_the_partitions_and_call_everything_once(world: World) -> None:
    first = await world.executor("0")
    activities = [world.activity() for _ in range(200)]
    await world.send(*activities[:100])
    second = await world.executor("1")
    await world.send(*activities[100:])
    await world.received(200)
    deadline = time.monotonic() + 30
    while not (first.loop.owned and second.loop.owned):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert set(world.keys) == {f"{each.execution_id}:tell:main" for each in activities}
    assert set(world.keys.values()) == {1}
    await first.stop()
    await second.stop()


async def test_a_stop_lets_calls_finish_and_stores_the_offsets(world: World) -> None:
    world.gate.clear()
    executor = await world.executor()
    await world.send(world.activity(), world.activity())
    await world.until("select count(*) = 2 from executor.claims")
    stopping = asyncio.create_task(executor.stop())
    await asyncio.sleep(0)
    late = world.activity()
    await world.send(late)
    world.gate.set()
    await stopping
    assert len(await world.received(2)) == 2
    rows = await world.rows("select sum(next_offset) from executor.partitions")
    assert rows[0][0] == 2
    rows = await world.rows("select count(*) from executor.claims")
    assert rows[0][0] == 2, "nothing is claimed while draining"
    await world.executor()
    results = await world.received(3)
    assert results[-1].execution_id == late.execution_id


async def test_a_database_that_was_away_costs_time_only(world: World) -> None:
    await world.executor()
    await world.send(world.activity())
    await world.received(1)
    await world.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    await world.send(*[world.activity() for _ in range(20)])
    await world.received(21)
    assert set(world.keys.values()) == {1}
