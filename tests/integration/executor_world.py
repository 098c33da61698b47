"""An executor on the real servers that can die at named points, and what it talks to."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec
import pytest
from confluent_kafka import Consumer, Message
from prometheus_client import CollectorRegistry

from outlast import ids
from outlast.clock import SystemClock
from outlast.contracts import codec
from outlast.contracts.messages import (
    ActivityResult,
    Cancel,
    EventReference,
    Finished,
    InlineOutcome,
    LifecycleMessage,
    RunActivity,
    RunbookReference,
    Start,
)
from outlast.contracts.topics import ENGINE_INBOX, INLINE, LIFECYCLE, Topic
from outlast.db.migrate import migrate, migration_files
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import TopicAdmin
from outlast.runbooks.documents import Json, canonical
from outlast_action_executor import partitions
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
        assert isinstance(transport, asyncio.Transport)
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
    said: list[LifecycleMessage] = field(default_factory=list)
    """What became of inline runs."""
    outcomes: list[tuple[InlineOutcome, int]] = field(default_factory=list)
    """Of shadowed runs, and the partition that each came on."""
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
        topics = [self.prefix + "activities.notify", self.prefix + INLINE]
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

    def start(self, *actions: Json, **changes: Any) -> Start:
        self.count += 1
        definition = canonical(
            {"name": "Tell", "rules": [{"event": "finding_created"}], "actions": list(actions)}
        )
        born = int(time.time() * 1000)
        return Start(
            **{
                "execution_id": ids.execution_id(born, PARTITIONS, "acme", "test", str(self.count), "rb"),
                "company_id": "acme",
                "runbook": RunbookReference(
                    id="rb", name="Tell", version=1, sha256=hashlib.sha256(definition).hexdigest()
                ),
                "event": EventReference(
                    source="test", id=str(self.count), type="finding_created", time=SystemClock().now()
                ),
                "mode": "inline",
                "lane": 1,
                "payload": msgspec.Raw(msgspec.json.encode({"event": {"id": self.count}})),
                "definition": msgspec.Raw(definition),
                "traceparent": TRACEPARENT,
                **changes,
            }
        )

    def post(self, name: str, **more: Json) -> Json:
        """A step that POSTs to the receiver."""
        config: Json = {"url": self.url, "body": {"n": "{{ event.id }}"}}
        return {
            "id": name,
            "type": "send_webhook",
            "class": "notify",
            "idempotent": True,
            "config": config,
            **more,
        }

    async def begin(self, *messages: Start | Cancel) -> None:
        topic = self.prefix + INLINE
        self.producer.send(
            [Outgoing(topic, codec.encode(each), each.execution_id.encode(), None) for each in messages]
        )
        await self.producer.flush()

    async def ended(self, count: int, seconds: float = 30.0) -> list[Finished]:
        """Wait for that many ends of inline runs in all."""
        await self._read_until(lambda: len(self._ends()) >= count, seconds)
        assert len(self._ends()) >= count, f"expected {count} ends, got {len(self._ends())}"
        return self._ends()

    def _ends(self) -> list[Finished]:
        return [each for each in self.said if isinstance(each, Finished)]

    async def received(self, count: int, seconds: float = 30.0) -> list[ActivityResult]:
        """Wait for that many results in all."""
        await self._read_until(lambda: len(self.results) >= count, seconds)
        assert len(self.results) >= count, f"expected {count} results, got {len(self.results)}"
        return [result for result, _, _ in self.results]

    async def _read_until(self, is_enough: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_enough() and time.monotonic() < deadline:
            for message in await asyncio.to_thread(self.consumer.consume, 1000, 0.05):
                assert message.error() is None, message.error()
                self._take(message)

    def _take(self, message: Message) -> None:
        if message.topic() == self.prefix + LIFECYCLE:
            self.said.append(codec.lifecycle.decode(message.value()))
            return
        result = codec.inbox.decode(message.value())
        if isinstance(result, InlineOutcome):
            self.outcomes.append((result, message.partition() or 0))
            return
        assert isinstance(result, ActivityResult)
        assert message.key() == result.execution_id.encode()
        self.results.append((result, message.partition() or 0, _headers(message)))

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


def _headers(message: Message) -> dict[str, bytes]:
    found = message.headers() or []
    return {name: value for name, value in found if isinstance(value, bytes)}


@contextlib.asynccontextmanager
async def executor_world(kafka: str, postgres: str, topic_prefix: str) -> AsyncIterator[World]:
    """Everything around the executors, until the test is over."""
    names = ["activities.notify", INLINE, ENGINE_INBOX, LIFECYCLE, "action_executor.dead_letters"]
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
    consumer.subscribe([topic_prefix + ENGINE_INBOX, topic_prefix + LIFECYCLE])
    world = World(
        kafka, postgres, topic_prefix, f"http://127.0.0.1:{port}/hook", keys, gate, producer, consumer
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "INLINE", topic_prefix + INLINE)
        yield world
    gate.set()
    for executor in world.executors:
        if executor.task is not None and not executor.task.done():
            await executor.kill()
    await producer.close()
    await asyncio.to_thread(consumer.close)
    server.close()
    await asyncio.to_thread(admin.delete, [topic_prefix + name for name in names])
