"""The broker in memory behaves as a broker must, and nothing in it ever waits."""

from collections.abc import Coroutine, Iterable
from typing import Any

import pytest

from outlast.contracts.topics import TopicPartition
from outlast.errors import TransientError
from outlast.messaging.faults import NoFaults
from outlast.messaging.local import LocalBroker, LocalCompactedReader, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing, Owner, Received
from outlast.testing.broker_suite import BEHAVIOURS, Behaviour, Ledger, LedgerOwner


class LocalHarness:
    def __init__(self) -> None:
        self.alarms: list[tuple[str, TopicPartition]] = []
        self.clock = 1_000_000
        self.broker = LocalBroker(self.now_ms)
        self._names = 0

    async def new_topic(self, partitions: int) -> str:
        name = self.new_name()
        self.broker.ensure_topic(name, partitions)
        topic = self.broker.topics[name]
        del topic.partitions[partitions:]
        return name

    def new_name(self) -> str:
        self._names += 1
        return f"name-{self._names}"

    def source(self, group: str, instance_id: str, topics: Iterable[str], owner: Owner) -> LocalSource:
        return LocalSource(
            self.broker,
            group,
            instance_id,
            topics,
            owner,
            alarm=lambda kind, at: self.alarms.append((kind, at)),
        )

    def sink(self) -> LocalSink:
        return LocalSink(self.broker)

    async def recreate(self, topic: str) -> None:
        self.broker.delete_topic(topic)

    def now_ms(self) -> int:
        return self.clock


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end without an event loop: it must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("expected the coroutine not to suspend")


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.__name__)
def test_behaviour(behaviour: Behaviour) -> None:
    drive(behaviour(LocalHarness()))


@pytest.fixture
def broker() -> LocalBroker:
    return LocalBroker(lambda: 0)


def send(broker: LocalBroker, *messages: Outgoing) -> None:
    sink = LocalSink(broker)
    sink.send(messages)
    drive(sink.flush())


def values(messages: Iterable[Received]) -> list[bytes | None]:
    return [message.value for message in messages]


def test_a_new_cluster_is_empty_and_everything_is_acquired_under_new_ids(broker: LocalBroker) -> None:
    ledger = Ledger()
    owner = LedgerOwner(ledger)
    broker.ensure_topic("t", 6)
    source = LocalSource(broker, "g", "i", ["t"], owner)
    send(broker, Outgoing("t", b"old", partition=5))
    owner.handle(drive(source.poll(10, 0)))
    former = dict(ledger.topic_ids)
    broker.lose_everything()
    assert not drive(source.poll(10, 0))
    assert ledger.topic_ids.keys() == former.keys(), "as many partitions as before"
    assert not set(former.values()) & set(ledger.topic_ids.values())
    send(broker, Outgoing("t", b"new", partition=5))
    got = drive(source.poll(10, 0))
    owner.handle(got)
    assert [(m.offset, m.value) for m in got] == [(0, b"new")]


def test_a_member_whose_session_ended_is_a_zombie_until_it_polls(broker: LocalBroker) -> None:
    ledger = Ledger()
    zombie, other = LedgerOwner(ledger, "zombie"), LedgerOwner(ledger, "other")
    source = LocalSource(broker, "g", "0", ["t"], zombie)
    drive(source.poll(10, 0))
    broker.end_session("g", "0")
    drive(LocalSource(broker, "g", "1", ["t"], other).poll(10, 0))
    assert zombie.held == other.held == {TopicPartition("t", n) for n in range(4)}
    drive(source.poll(10, 0))
    assert len(zombie.held) < 4


def test_a_dead_members_partitions_wait_for_its_session(broker: LocalBroker) -> None:
    ledger = Ledger()
    drive(
        LocalSource(broker, "g", "0", ["t"], LedgerOwner(ledger)).poll(10, 0)
    )  # and is never heard of again
    other = LedgerOwner(ledger, "other")
    source = LocalSource(broker, "g", "1", ["t"], other)
    drive(source.poll(10, 0))
    assert not other.held
    broker.end_session("g", "0")
    drive(source.poll(10, 0))
    assert len(other.held) == 4


def test_what_a_dead_sender_had_not_flushed_is_gone(broker: LocalBroker) -> None:
    broker.ensure_topic("t")
    LocalSink(broker).send([Outgoing("t", b"x")])
    assert not broker.messages("t")


def test_while_the_broker_is_away_nothing_comes_and_flush_fails(broker: LocalBroker) -> None:
    source = LocalSource(broker, "g", "i", ["t"], LedgerOwner(Ledger()))
    drive(source.poll(1, 0))
    send(broker, Outgoing("t", b"x"))
    broker.is_up = False
    assert not drive(source.poll(10, 0))
    sink = LocalSink(broker)
    sink.send([Outgoing("t", b"y")])
    with pytest.raises(TransientError):
        drive(sink.flush())
    broker.is_up = True
    assert values(drive(source.poll(10, 0))) == [b"x"]


class Backwards(NoFaults):
    def order(self, count: int) -> list[int]:
        return list(reversed(range(count)))


class Twice(NoFaults):
    def copies(self, message: Outgoing) -> int:
        return 2


class Lost(NoFaults):
    def copies(self, message: Outgoing) -> int:
        return 0 if message.value == b"lost" else 1


class Slow(NoFaults):
    def take(self, at: TopicPartition, available: int) -> int:
        return 1


class Early(NoFaults):
    def is_early(self, message: Outgoing) -> bool:
        return message.value == b"early"


def test_reordering_keeps_the_order_of_each_key() -> None:
    broker = LocalBroker(lambda: 0, Backwards(), partitions_default=1)
    broker.ensure_topic("t")
    send(broker, *(Outgoing("t", b"%s%d" % (key, n), key) for n in range(3) for key in (b"a", b"b")))
    assert values(broker.messages("t")) == [b"b0", b"a0", b"b1", b"a1", b"b2", b"a2"]


def test_faults_duplicate_lose_and_withhold() -> None:
    broker = LocalBroker(lambda: 0, Twice(), partitions_default=1)
    broker.ensure_topic("t")
    send(broker, Outgoing("t", b"x"))
    broker.faults = Lost()
    with pytest.raises(TransientError):
        send(broker, Outgoing("t", b"lost"), Outgoing("t", b"y"))
    assert values(broker.messages("t")) == [b"x", b"x", b"y"]
    broker.faults = Slow()
    source = LocalSource(broker, "g", "i", ["t"], LedgerOwner(Ledger()))
    assert [values(drive(source.poll(10, 0))) for _ in range(3)] == [[b"x"], [b"x"], [b"y"]]


def test_a_message_may_arrive_though_its_sender_died() -> None:
    broker = LocalBroker(lambda: 0, Early(), partitions_default=1)
    broker.ensure_topic("t")
    LocalSink(broker).send([Outgoing("t", b"early", b"a"), Outgoing("t", b"late", b"b")])
    assert values(broker.messages("t")) == [b"early"]


def test_positions_make_lag(broker: LocalBroker) -> None:
    source = LocalSource(broker, "g", "i", ["t"], LedgerOwner(Ledger()))
    drive(source.poll(1, 0))
    send(broker, *(Outgoing("t", b"x", partition=0) for _ in range(5)))
    source.position({TopicPartition("t", 0): 3})
    assert broker.lag("g", "t") == 2


def test_a_compacted_topic_is_ready_when_the_heads_revision_is_there(broker: LocalBroker) -> None:
    applied: list[bytes | None] = []
    reader = LocalCompactedReader(broker, ["c"], lambda m: applied.append(m.key), headed=["c"])
    drive(reader.catch_up())
    assert not reader.is_ready, "an empty topic is about to be published again"
    send(broker, Outgoing("c", b'{"type":"head.v1","revision":2,"count":1}', b"head", partition=0))
    drive(reader.catch_up())
    assert not reader.is_ready
    send(broker, Outgoing("c", b'{"type":"definition.v1","revision":2}', b"k", partition=0))
    drive(reader.catch_up())
    assert reader.is_ready
    assert applied == [b"k"]


def test_a_lost_compacted_topic_is_read_again_and_nothing_is_taken_back(broker: LocalBroker) -> None:
    applied: list[bytes | None] = []
    reader = LocalCompactedReader(broker, ["c"], lambda m: applied.append(m.value))
    broker.ensure_topic("c")
    send(broker, Outgoing("c", b"1", b"k"))
    drive(reader.catch_up())
    broker.lose_everything()
    drive(reader.catch_up())
    assert reader.is_ready
    assert applied == [b"1"]
    send(broker, Outgoing("c", b"2", b"k"))
    drive(reader.catch_up())
    assert applied == [b"1", b"2"]
