"""Sources, sinks and compacted readers on the real broker: the shared suite, and what only a real one can do."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as WirePartition

from outlast.contracts.topics import Topic, TopicPartition
from outlast.errors import TransientError
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Outgoing, Owner, Received
from outlast.messaging.topics import TopicAdmin
from outlast.testing.broker_suite import BEHAVIOURS, Behaviour, Ledger, LedgerOwner

SECONDS_MAX = 30.0
SESSION_SECONDS = 6.0


class KafkaHarness:
    def __init__(self, bootstrap: str) -> None:
        self.alarms: list[tuple[str, TopicPartition]] = []
        self.admin = TopicAdmin(bootstrap)
        self._bootstrap = bootstrap
        self._topics: dict[str, int] = {}
        self._open: list[KafkaSource | KafkaSink] = []

    async def new_topic(self, partitions: int) -> str:
        name = self.new_name()
        self._topics[name] = partitions
        await asyncio.to_thread(self.admin.ensure, [Topic(name, "test", partitions)])
        return name

    def new_name(self) -> str:
        name = f"suite-{uuid.uuid4().hex[:12]}"
        self._topics[name] = 1
        return name

    def source(self, group: str, instance_id: str, topics: Iterable[str], owner: Owner) -> KafkaSource:
        made = KafkaSource(
            self._bootstrap,
            group,
            instance_id,
            topics,
            owner,
            client_id="suite",
            alarm=lambda kind, at: self.alarms.append((kind, at)),
        )
        self._open.append(made)
        return made

    def sink(self) -> KafkaSink:
        made = KafkaSink(self._bootstrap, "suite")
        self._open.append(made)
        return made

    async def recreate(self, topic: str) -> None:
        await asyncio.to_thread(self.admin.delete, [topic])
        await asyncio.to_thread(self.admin.ensure, [Topic(topic, "test", self._topics[topic])])

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def close(self) -> None:
        for each in self._open:
            await each.close()
        await asyncio.to_thread(self.admin.delete, self._topics)


@pytest.fixture
async def broker(kafka: str) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka)
    yield harness
    await harness.close()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.__name__)
async def test_behaviour(behaviour: Behaviour, broker: KafkaHarness) -> None:
    await behaviour(broker)


# ---- what only the real one does ------------------------------------------------------------------------------


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"expected {what} within {SECONDS_MAX} s"
        await asyncio.sleep(0.02)


async def taken(source: KafkaSource, count: int) -> list[Received]:
    got: list[Received] = []
    deadline = time.monotonic() + SECONDS_MAX
    while len(got) < count:
        assert time.monotonic() < deadline, f"expected {count} messages, got {len(got)}"
        got.extend(await source.poll(1_000, 0.2))
    return got


class MemberProcess:
    def __init__(self, *arguments: str) -> None:
        script = Path(__file__).with_name("broker_member.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
        )

    async def says(self, word: str) -> tuple[float, list[str]]:
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), SECONDS_MAX)
            assert line, "the member ended"
            at, said, *rest = line.split()
            if said == word:
                return float(at), rest

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def members(kafka: str) -> Iterator[Callable[..., MemberProcess]]:
    started: list[MemberProcess] = []

    def start(group: str, instance_id: str, *topics: str) -> MemberProcess:
        started.append(MemberProcess(kafka, group, instance_id, ",".join(topics)))
        return started[-1]

    yield start
    for each in started:
        each.kill()


async def test_a_killed_members_restarted_self_has_its_partitions_at_once(
    broker: KafkaHarness, members: Callable[..., MemberProcess]
) -> None:
    topic, group = await broker.new_topic(4), broker.new_name()
    member = members(group, "i-0", topic)
    await member.says("acquired")
    member.kill()
    again = members(group, "i-0", topic)
    started, _ = await again.says("started")
    acquired, partitions = await again.says("acquired")
    assert len(partitions) == 4
    assert acquired - started < SESSION_SECONDS / 2, "the session was waited for"


async def test_a_killed_members_partitions_go_to_the_others_after_its_session(
    broker: KafkaHarness, members: Callable[..., MemberProcess]
) -> None:
    topic, group = await broker.new_topic(4), broker.new_name()
    ledger = Ledger()
    owner = LedgerOwner(ledger)
    source = broker.source(group, "i-0", [topic], owner)
    member = members(group, "i-1", topic)
    deadline = time.monotonic() + SECONDS_MAX
    while len(owner.held) != 2:
        assert time.monotonic() < deadline
        await source.poll(10, 0.1)
    member.kill()
    while len(owner.held) != 4:
        assert time.monotonic() < deadline
        await source.poll(10, 0.1)


async def test_a_restarted_member_gets_topics_and_partitions_that_are_new_since(
    broker: KafkaHarness, members: Callable[..., MemberProcess]
) -> None:
    topic, other, group = await broker.new_topic(1), await broker.new_topic(1), broker.new_name()
    member = members(group, "i-0", topic)
    await member.says("acquired")
    member.kill()
    await asyncio.to_thread(broker.admin.ensure, [Topic(topic, "test", 2)])
    again = members(group, "i-0", topic, other)
    got: set[str] = set()
    while len(got) < 3:
        got |= set((await again.says("acquired"))[1])
    assert got == {f"{topic}:0", f"{topic}:1", f"{other}:0"}


async def test_a_cancelled_poll_loses_nothing(broker: KafkaHarness) -> None:
    topic = await broker.new_topic(1)
    source = broker.source(broker.new_name(), "i-0", [topic], LedgerOwner(Ledger()))
    sink = broker.sink()
    for number in range(10):
        polling = asyncio.ensure_future(source.poll(100, 5.0))
        await asyncio.sleep(0)
        polling.cancel()
        sink.send([Outgoing(topic, b"%d" % number)])
    await sink.flush()
    assert [m.value for m in await taken(source, 10)] == [b"%d" % n for n in range(10)]


async def test_positions_reach_the_broker_for_lag_tools(broker: KafkaHarness, kafka: str) -> None:
    topic, group = await broker.new_topic(1), broker.new_name()
    source = broker.source(group, "i-0", [topic], LedgerOwner(Ledger()))
    sink = broker.sink()
    sink.send([Outgoing(topic, b"x")] * 5)
    await sink.flush()
    await taken(source, 5)
    source.position({TopicPartition(topic, 0): 5})
    await source.close()
    reader = Consumer({"bootstrap.servers": kafka, "group.id": group})
    try:
        [committed] = await asyncio.to_thread(reader.committed, [WirePartition(topic, 0)], SECONDS_MAX)
    finally:
        reader.close()
    assert committed.offset == 5


async def test_a_compacted_reader_is_ready_when_it_holds_the_heads_revision(
    broker: KafkaHarness, kafka: str
) -> None:
    topic = await broker.new_topic(1)
    applied: list[bytes | None] = []
    reader = CompactedReader(
        kafka, [topic], lambda m: applied.append(m.key), client_id="reader", headed=[topic]
    )
    running = asyncio.create_task(reader.run())
    sink = broker.sink()
    sink.send([Outgoing(topic, b'{"type":"head.v1","revision":2,"count":2}', b"head")])
    sink.send([Outgoing(topic, b'{"type":"producer.v1","revision":1}', b"one")])
    await sink.flush()
    await until(lambda: applied == [b"one"], "the first record")
    assert not reader.is_ready
    sink.send([Outgoing(topic, b'{"type":"producer.v1","revision":2}', b"two")])
    await sink.flush()
    await asyncio.wait_for(reader.ready(), SECONDS_MAX)
    assert applied == [b"one", b"two"]
    await reader.close()
    await running


async def test_a_recreated_compacted_topic_is_read_again(broker: KafkaHarness, kafka: str) -> None:
    topic = await broker.new_topic(1)
    applied: list[bytes | None] = []
    reader = CompactedReader(kafka, [topic], lambda m: applied.append(m.value), client_id="reader")
    running = asyncio.create_task(reader.run())
    await asyncio.wait_for(reader.ready(), SECONDS_MAX)
    await broker.recreate(topic)
    sink = broker.sink()
    sink.send([Outgoing(topic, b"new", b"k")])
    await sink.flush()
    await until(lambda: applied == [b"new"], "the record of the new topic")
    await reader.close()
    await running


async def test_what_apply_raises_ends_the_reader(broker: KafkaHarness, kafka: str) -> None:
    topic = await broker.new_topic(1)

    def apply(_: Received) -> None:
        raise LookupError("a bug")

    reader = CompactedReader(kafka, [topic], apply, client_id="reader")
    sink = broker.sink()
    sink.send([Outgoing(topic, b"x", b"k")])
    await sink.flush()
    with pytest.raises(LookupError):
        await asyncio.wait_for(reader.run(), SECONDS_MAX)
    await reader.close()


async def test_without_a_broker_polls_are_empty_and_sends_fail_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outlast.messaging.kafka.MESSAGE_TIMEOUT_MS", 500)
    nowhere = "127.0.0.1:1"
    source = KafkaSource(nowhere, "g", "i", ["t"], LedgerOwner(Ledger()), client_id="c")
    assert not await source.poll(10, 0.1)
    assert source.is_broker_away
    sink = KafkaSink(nowhere, "c")
    sink.send([Outgoing("t", b"x")])
    with pytest.raises(TransientError):
        await sink.flush()
    await sink.flush()  # it was said once
    with pytest.raises(TransientError):
        await sink.partition_count("t")
    await source.close()
    await sink.close()
