"""The finalizer's process on real servers: a breaker that opens and is reset is told to everybody, with its head."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from msgspec import Raw

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import (
    Breaker,
    EventReference,
    Finished,
    Head,
    Message,
    RunbookReference,
    Started,
)
from outlast.contracts.parts import Origin
from outlast.db.compacted import HEAD_KEY, Republisher
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool, transaction
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing, Received
from outlast.messaging.topics import ensure_topics
from outlast.runtime.health import Health
from outlast.runtime.loop_settings import LoopSettings
from outlast.runtime.service import ProcessSettings, Stop
from outlast_finalizer import breakers
from outlast_finalizer.app import build
from outlast_finalizer.core.breaker import Key, Outcome
from outlast_finalizer.core.watchdog import PATIENCE, Patience
from outlast_finalizer.settings import Settings

SECONDS_MAX = 60.0
AT = datetime(2026, 1, 5, tzinfo=UTC)


@asynccontextmanager
async def running(kafka: str, dsn: str, patience: Patience = PATIENCE) -> AsyncIterator[None]:
    """The whole service, without its health port."""
    process = ProcessSettings("finalizer", uuid.uuid4().hex[:8], "info", "127.0.0.1", 0)
    stop = Stop()
    app = await build(Settings(LoopSettings(process, kafka, dsn), patience), Health(), stop)
    tasks = [asyncio.create_task(work) for work in app.tasks.values()]
    try:
        yield
    finally:
        stop.event.set()
        await asyncio.wait_for(asyncio.gather(*tasks), SECONDS_MAX)
        for close in app.closers:
            await close()


class Reader:
    """What is on `breakers`, of one company."""

    def __init__(self, kafka: str, company_id: str) -> None:
        self._company_id = company_id
        self.breakers: list[Breaker] = []
        self.reader = CompactedReader(
            kafka, [topics.BREAKERS], self._apply, client_id=uuid.uuid4().hex, headed=[topics.BREAKERS]
        )

    def _apply(self, received: Received) -> None:
        breaker = codec.compacted.decode(received.value)
        if isinstance(breaker, Breaker) and breaker.company_id == self._company_id:
            assert received.key == f"{self._company_id}/{breaker.runbook_id}".encode()
            self.breakers.append(breaker)

    def latest(self) -> Breaker | None:
        return self.breakers[-1] if self.breakers else None


async def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, f"expected {what}"
        await asyncio.sleep(0.02)


def failed(company_id: str, lane: int, number: int, generation: int = 0) -> Finished:
    return Finished(
        execution_id=ids.execution_id(1_767_571_200_000 + number, 4, company_id, "s", str(number), "page"),
        company_id=company_id, runbook=RunbookReference(id="page", name="page", version=1, sha256="0"),
        event=EventReference(source="s", id=str(number), type="finding_created", time=AT), mode="inline", lane=lane,
        rank=1, seq=3, at=AT, started_at=AT, status="failed", steps=(), payload=Raw(b"{}"),
        origin=Origin(generation=generation),
    )  # fmt: skip


def started(company_id: str, lane: int, number: int) -> Started:
    end = failed(company_id, lane, number)
    return Started(
        execution_id=end.execution_id, company_id=company_id, runbook=end.runbook, event=end.event, mode=end.mode,
        lane=lane, rank=1, seq=1, at=AT, payload=Raw(b"{}"),
    )  # fmt: skip


async def test_a_breaker_opens_and_is_reset_for_all_to_read(kafka: str, postgres: str) -> None:
    states = await asyncio.to_thread(ensure_topics, kafka)
    company_id = f"c-{uuid.uuid4().hex[:8]}"
    lane = ids.lane(company_id, "page", states[topics.LIFECYCLE].partitions)
    sink, reader = KafkaSink(kafka, "test"), Reader(kafka, company_id)
    reading = asyncio.create_task(reader.reader.run())

    async def send(topic: str, *messages: Message) -> None:
        sink.send([Outgoing(topic, codec.encode(each), b"k", lane) for each in messages])
        await sink.flush()

    def is_told(generation: int, is_open: bool) -> bool:
        latest = reader.latest()
        return latest is not None and (latest.generation, latest.is_open) == (generation, is_open)

    try:
        async with running(kafka, postgres):
            await until(
                lambda: reader.reader.is_ready, "a head, although no breaker of this database ever counted"
            )
            await send(topics.LIFECYCLE, *[failed(company_id, lane, number) for number in range(12)])
            await until(lambda: is_told(0, is_open=True), "an open breaker")
            assert reader.breakers[-1].failures == 10
            order = ResetBreaker(
                command_id=uuid.uuid4().hex,
                company_id=company_id,
                runbook_id="page",
                by="ana",
                at=AT,
                lane=lane,
            )
            await send(topics.CONTROL_COMMANDS, order, order)
            await until(lambda: is_told(1, is_open=False), "a closed one of the next generation")
            await send(topics.LIFECYCLE, *[failed(company_id, lane, number) for number in range(100, 130)])
            await send(topics.LIFECYCLE, *[failed(company_id, lane, number, 1) for number in range(200, 210)])
            await until(lambda: is_told(1, is_open=True), "failures of the new generation to open it")
        assert [(each.generation, each.is_open) for each in reader.breakers] == [
            (0, True),
            (1, False),
            (1, True),
        ]
        revisions = [each.revision for each in reader.breakers]
        assert revisions == sorted(set(revisions))
    finally:
        await reader.reader.close()
        await reading
        await sink.close()


class Listener:
    """What is said of some runs on a topic."""

    def __init__(self, kafka: str, topic: str, runs: Collection[str]) -> None:
        self._runs = {run.encode() for run in runs}
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        numbers = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
        self.values: list[bytes] = []

    def take(self) -> list[bytes]:
        """All values so far."""
        for message in self._consumer.consume(500, timeout=0.05):
            if message.error() is None and message.key() in self._runs:
                self.values.append(message.value() or b"")
        return self.values

    def close(self) -> None:
        self._consumer.close()


async def test_silent_runs_are_asked_about_and_an_inline_one_fails_in_the_end(
    kafka: str, postgres: str
) -> None:
    states = await asyncio.to_thread(ensure_topics, kafka)
    company_id = f"c-{uuid.uuid4().hex[:8]}"
    lane = ids.lane(company_id, "page", states[topics.LIFECYCLE].partitions)
    said = {
        mode: msgspec.structs.replace(
            started(company_id, lane, number), mode=mode, at=datetime.now(UTC) - timedelta(seconds=1)
        )
        for number, mode in enumerate(("inline", "workflow"))
    }
    inline, durable = said["inline"].execution_id, said["workflow"].execution_id
    lifecycle = Listener(kafka, topics.LIFECYCLE, [inline, durable])
    inbox = Listener(kafka, topics.ENGINE_INBOX, [inline, durable])
    sink = KafkaSink(kafka, "test")

    def ends() -> list[Finished]:
        found = [codec.lifecycle.decode(value) for value in lifecycle.take()]
        return [each for each in found if isinstance(each, Finished)]

    try:
        async with running(kafka, postgres, Patience(timedelta(seconds=1), timedelta(seconds=2))):
            key = [(each, each.execution_id.encode()) for each in said.values()]
            sink.send([Outgoing(topics.LIFECYCLE, codec.encode(each), name, lane) for each, name in key])
            await sink.flush()
            await until(lambda: bool(ends()), "the inline run to be given up")
            await until(lambda: len(inbox.take()) > 0, "the engine to be asked about the durable one")
        assert {(each.execution_id, each.rank, each.status) for each in ends()} == {(inline, 2, "failed")}
        assert {codec.inbox.decode(value).execution_id for value in inbox.values} == {durable}  # type: ignore[union-attr]
    finally:
        lifecycle.close()
        inbox.close()
        await sink.close()


class Incarnations:
    """Topic ids as the test wants them."""

    def __init__(self) -> None:
        self.topic_id = "first"

    async def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        return dict.fromkeys(names, self.topic_id)


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[asyncpg.Pool]:
    made = await connect_pool(postgres, "records")
    await migrate(made, "records", migration_files("outlast_finalizer"))
    yield made
    await made.close()


async def test_a_new_topic_gets_all_breakers_that_ever_opened_and_a_head(pool: asyncpg.Pool) -> None:
    def outcomes(runbook_id: str, count: int) -> list[Outcome]:
        return [Outcome(str(n), Key("acme", runbook_id), True, 0, 10, AT) for n in range(count)]

    for runbook_id, count in (("a", 10), ("b", 9), ("c", 11)):
        async with transaction(pool) as connection:
            await breakers.count(connection, outcomes(runbook_id, count), [])
    incarnations = Incarnations()
    republisher = Republisher(pool, incarnations, [breakers.BreakersTopic()])

    async def said() -> list[Message]:
        rows = await pool.fetch("delete from outbox returning id, key, value")
        ordered = sorted(rows, key=lambda row: row["id"])
        assert ordered[-1]["key"] == HEAD_KEY
        return [codec.compacted.decode(row["value"]) for row in ordered]

    await said()
    assert await republisher.look() == [topics.BREAKERS]
    *found, head = await said()
    assert [each.runbook_id for each in found if isinstance(each, Breaker)] == ["a", "c"]
    assert head == Head(revision=2, count=2)
    assert await republisher.look() == []
    incarnations.topic_id = "second"
    assert await republisher.look() == [topics.BREAKERS]
    assert len(await said()) == 3
