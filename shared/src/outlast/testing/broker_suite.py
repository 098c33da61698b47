"""What a broker must do for us, as behaviours that run on every implementation of `outlast.messaging.ports`.

Each behaviour is a coroutine function of a harness; `BEHAVIOURS` lists them for a test to parametrise. They wait by
polling alone, so that the broker in memory can run them without an event loop.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from outlast.contracts.topics import Claim, TopicPartition
from outlast.errors import LimitExceeded, TransientError
from outlast.limits import MESSAGE_BYTES_MAX
from outlast.messaging.partitioner import partition_of
from outlast.messaging.ports import InstanceTaken, Outgoing, Owner, Received, Sink, Source

DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.1
QUIET_POLLS = 5


class AdaptableSource(Source, Protocol):
    """A source whose topics can change while it runs."""

    async def change_topics(self, topics: Iterable[str]) -> None:
        """Consume these from now on."""
        ...


class BrokerHarness(Protocol):
    """One broker under test."""

    @property
    def alarms(self) -> list[tuple[str, TopicPartition]]:
        """What sources made by this harness found alarming."""
        ...

    async def new_topic(self, partitions: int) -> str:
        """A topic that nobody has used."""
        ...

    def new_name(self) -> str:
        """A name that nobody has used: of a group, or of a topic that does not exist."""
        ...

    def source(self, group: str, instance_id: str, topics: Iterable[str], owner: Owner) -> AdaptableSource:
        """A member; closed by the harness at the end."""
        ...

    def sink(self) -> Sink:
        """A producer; closed by the harness at the end."""
        ...

    async def recreate(self, topic: str) -> None:
        """Delete the topic with all that is in it, and create it again."""
        ...

    def now_ms(self) -> int:
        """The broker's clock, roughly."""
        ...


@dataclass
class Ledger:
    """The database that all owners share: next offsets by partition and topic id."""

    next_offsets: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    topic_ids: dict[TopicPartition, str] = field(default_factory=dict[TopicPartition, str])
    owners: dict[TopicPartition, "LedgerOwner"] = field(default_factory=dict[TopicPartition, "LedgerOwner"])
    story: list[tuple[str, str, TopicPartition]] = field(
        default_factory=list[tuple[str, str, TopicPartition]]
    )
    """(what, who, which partition), in order."""


class LedgerOwner:
    """An owner that keeps offsets in a ledger and complains when two own one partition without a word between."""

    def __init__(self, ledger: Ledger, name: str = "one", failures: Sequence[Exception] = ()) -> None:
        self.held: set[TopicPartition] = set()
        self.failures: list[Exception] = list(failures)
        self._ledger = ledger
        self._name = name

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Start where the ledger says, at 0 for a topic id it does not know."""
        if self.failures:
            raise self.failures.pop(0)
        ledger = self._ledger
        for at, topic_id in claims:
            if ledger.topic_ids.get(at, topic_id) != topic_id:
                ledger.next_offsets[at] = 0
            ledger.topic_ids[at] = topic_id
            ledger.owners[at] = self
            ledger.story.append(("acquired", self._name, at))
            self.held.add(at)
        return {claim.at: ledger.next_offsets.get(claim.at, 0) for claim in claims}

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """Forget them."""
        for at in partitions:
            assert at in self.held, f"{self._name} was told to release {at}, which it does not hold"
            self.held.remove(at)
            self._ledger.story.append(("released", self._name, at))

    def handle(self, messages: Iterable[Received]) -> None:
        """Move the ledger's offsets, as a commit would."""
        for message in messages:
            assert message.at in self.held, f"{self._name} got {message.at} without owning it"
            assert self._ledger.owners[message.at] is self, f"{message.at} belongs to somebody newer"
            expected = self._ledger.next_offsets.get(message.at, 0)
            assert message.offset == expected, (
                f"expected offset {expected} of {message.at}, got {message.offset}"
            )
            self._ledger.next_offsets[message.at] = message.offset + 1


Behaviour: TypeAlias = Callable[[BrokerHarness], Awaitable[None]]
BEHAVIOURS: list[Behaviour] = []


def _behaviour(check: Behaviour) -> Behaviour:
    BEHAVIOURS.append(check)
    return check


# ---- messages -----------------------------------------------------------------------------------------------


@_behaviour
async def messages_of_a_partition_come_in_order(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(100)])
    got = await _take(_member(broker, topic), 100)
    for partition in (0, 1):
        ours = [message for message in got if message.partition == partition]
        assert [message.offset for message in ours] == list(range(50))
        assert [message.value for message in ours] == [b"%d" % n for n in range(partition, 100, 2)]


@_behaviour
async def a_message_comes_as_it_was_sent(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(1)
    headers = (("content-type", b"x"), ("again", b"1"), ("again", b"2"), ("empty", b""))
    sent = [
        Outgoing(topic, b"\x00\xff", b"\x00key", headers=headers),
        Outgoing(topic, None, b"tombstone"),
        Outgoing(topic, b"no key"),
        Outgoing(topic, b"", b""),
    ]
    await _send(broker, sent)
    got = await _take(_member(broker, topic), 4)
    assert [(m.value, m.key, m.headers) for m in got] == [(m.value, m.key, m.headers) for m in sent]


@_behaviour
async def the_time_is_the_brokers(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(1)
    before = broker.now_ms()
    await _send(broker, [Outgoing(topic, b"x")])
    [message] = await _take(_member(broker, topic), 1)
    assert before - 1_000 <= message.timestamp_ms <= broker.now_ms() + 1_000


@_behaviour
async def a_flushed_message_is_there_for_everybody(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(1)
    sink = broker.sink()
    one, other = _member(broker, topic), _member(broker, topic)
    for number in range(5):
        sink.send([Outgoing(topic, b"%d" % number)])
        await sink.flush()
        assert [m.value for m in await _take(one, 1)] == [b"%d" % number]
    assert len(await _take(other, 5)) == 5


@_behaviour
async def the_sender_may_choose_the_partition(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(4)
    await _send(broker, [Outgoing(topic, b"%d" % n, b"same key", partition=n) for n in range(4)])
    got = await _take(_member(broker, topic), 4)
    assert sorted((m.partition, m.value) for m in got) == [(n, b"%d" % n) for n in range(4)]


@_behaviour
async def a_key_has_the_partition_that_every_kafka_client_gives_it(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(4)
    keys = [b"key-%d" % n for n in range(40)]
    await _send(broker, [Outgoing(topic, b"", key) for key in keys])
    got = await _take(_member(broker, topic), 40)
    assert {m.key: m.partition for m in got} == {key: partition_of(key, 4) for key in keys}


@_behaviour
async def partitions_are_counted(broker: BrokerHarness) -> None:
    assert await broker.sink().partition_count(await broker.new_topic(3)) == 3


@_behaviour
async def a_message_too_large_is_refused_with_the_whole_batch(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(1)
    sink = broker.sink()
    try:
        sink.send([Outgoing(topic, b"small"), Outgoing(topic, bytes(MESSAGE_BYTES_MAX + 1))])
        raise AssertionError("expected LimitExceeded")
    except LimitExceeded:
        pass
    sink.send([Outgoing(topic, b"next")])
    await sink.flush()
    assert [m.value for m in await _take(_member(broker, topic), 1)] == [b"next"]


@_behaviour
async def a_poll_takes_no_more_than_it_was_asked_for(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n) for n in range(50)])
    member = _member(broker, topic)
    got: list[Received] = []
    for _ in _until(lambda: len(got) == 50):
        batch = await member.source.poll(7, POLL_SECONDS)
        assert len(batch) <= 7
        member.owner.handle(batch)
        got.extend(batch)


@_behaviour
async def a_poll_without_messages_returns_empty(broker: BrokerHarness) -> None:
    member = _member(broker, await broker.new_topic(1))
    await _settle(member)
    assert not await member.source.poll(10, 0.01)


# ---- ownership ----------------------------------------------------------------------------------------------


@_behaviour
async def the_owner_is_asked_before_the_first_message(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(3)
    await _send(broker, [Outgoing(topic, b"%d" % n) for n in range(30)])
    member = _member(broker, topic)
    await _take(member, 30)  # the owner refuses what it does not hold
    assert member.owner.held == {TopicPartition(topic, n) for n in range(3)}


@_behaviour
async def reading_starts_where_the_owner_says(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(20)])
    member = _member(broker, topic)
    member.ledger.next_offsets = {TopicPartition(topic, 0): 3, TopicPartition(topic, 1): 10}
    got = await _take(member, 7)
    assert [(m.partition, m.offset) for m in got] == [(0, n) for n in range(3, 10)]
    await _expect_quiet(member)


@_behaviour
async def two_members_share_and_neither_reads_the_others(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(4)
    one = _member(broker, topic, "one")
    await _settle(one)
    other = _join(broker, one, "other")
    await _until_settled(one, other)
    assert {len(one.owner.held), len(other.owner.held)} == {2}
    assert one.owner.held | other.owner.held == {TopicPartition(topic, n) for n in range(4)}
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 4) for n in range(40)])
    got = await _take_together([one, other], 40)
    assert sorted(m.value or b"" for m in got) == sorted(b"%d" % n for n in range(40))


@_behaviour
async def what_stays_is_not_interrupted_by_a_second_member(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(4)
    one = _member(broker, topic, "one")
    await _settle(one)
    other = _join(broker, one, "other")
    await _until_settled(one, other)
    story = one.ledger.story
    for at in other.owner.held:
        assert story.index(("released", "one", at)) < story.index(("acquired", "other", at))
    for at in one.owner.held:
        assert [entry for entry in story if entry[2] == at] == [("acquired", "one", at)]


@_behaviour
async def a_closed_member_releases_and_continues_at_the_ledgers_offset(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(10)])
    member = _member(broker, topic)
    await _take(member, 10)
    await member.source.close()
    assert not member.owner.held
    await _send(broker, [Outgoing(topic, b"later", partition=1)])
    again = _join(broker, member, "again", member.instance_id)
    assert [(m.offset, m.value) for m in await _take(again, 1)] == [(5, b"later")]


@_behaviour
async def a_restarted_member_takes_over_from_its_former_self(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(10)])
    former = _member(broker, topic, "former")
    await _take(former, 10)
    await _send(broker, [Outgoing(topic, b"later", partition=0)])
    again = _join(broker, former, "again", former.instance_id)  # the former never closed
    assert [(m.offset, m.value) for m in await _take(again, 1)] == [(5, b"later")]
    for _ in _until(lambda: False):
        try:
            # it may still be given what is really the other's: the fence in the database is what stops it
            await former.source.poll(10, POLL_SECONDS)
        except InstanceTaken:
            break
    assert not former.owner.held


@_behaviour
async def rejoining_releases_everything_and_asks_anew(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(10)])
    member = _member(broker, topic)
    await _take(member, 10)
    for at in list(member.ledger.next_offsets):
        member.ledger.next_offsets[at] = 4  # as if the last commit had failed
    await member.source.rejoin()
    assert not member.owner.held
    assert sorted((m.partition, m.offset) for m in await _take(member, 2)) == [(0, 4), (1, 4)]
    assert [what for what, _, _ in member.ledger.story].count("acquired") == 4


@_behaviour
async def the_owners_error_is_raised_and_the_next_poll_joins_anew(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"x")])
    member = _member(broker, topic)
    member.owner.failures += [LookupError("a bug in the owner")]
    for _ in _until(lambda: False):
        try:
            assert not await member.source.poll(10, POLL_SECONDS)
        except LookupError:
            break
    assert not member.owner.held
    assert len(await _take(member, 1)) == 1


@_behaviour
async def an_owner_that_is_away_is_asked_again(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"x")])
    member = _member(broker, topic)
    member.owner.failures += [TransientError("the database is away"), TransientError("still")]
    got: list[Received] = []
    for _ in _until(lambda: bool(got)):
        try:
            got.extend(await member.source.poll(10, POLL_SECONDS))
        except TransientError:
            assert not member.owner.held


@_behaviour
async def topics_can_be_added_without_interrupting_the_others(broker: BrokerHarness) -> None:
    first, second = await broker.new_topic(2), await broker.new_topic(2)
    member = _member(broker, first)
    await _settle(member)
    await member.source.change_topics([first, second])
    await _send(broker, [Outgoing(second, b"x")])
    await _take(member, 1)
    assert member.owner.held == {TopicPartition(name, n) for name in (first, second) for n in range(2)}
    assert not [entry for entry in member.ledger.story if entry[0] == "released"]


# ---- back pressure, and what may be lost ----------------------------------------------------------------------


@_behaviour
async def a_paused_partition_waits_and_loses_nothing(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    member = _member(broker, topic)
    await _settle(member)
    paused, running = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await member.source.pause([paused])
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=n % 2) for n in range(10)])
    assert {m.at for m in await _take(member, 5)} == {running}
    await _expect_quiet(member)
    await member.source.resume([paused])
    assert [m.offset for m in await _take(member, 5)] == list(range(5))


@_behaviour
async def a_partition_paused_with_messages_fetched_loses_nothing(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(1)
    await _send(broker, [Outgoing(topic, b"%d" % n) for n in range(100)])
    member = _member(broker, topic)
    first = await _take(member, 1, at_most=1)
    await member.source.pause([first[0].at])
    await _expect_quiet(member)
    await member.source.resume([first[0].at])
    assert len(await _take(member, 99)) == 99


@_behaviour
async def a_recreated_topic_is_a_new_one_and_starts_at_0(broker: BrokerHarness) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"old", partition=0) for _ in range(5)])
    member = _member(broker, topic)
    await _take(member, 5)
    former = dict(member.ledger.topic_ids)
    await broker.recreate(topic)
    sink = broker.sink()
    for _ in _until(lambda: False):
        try:
            sink.send([Outgoing(topic, b"new", partition=0)])
            await sink.flush()
            break
        except TransientError:
            continue
    got: list[Received] = []
    for _ in _until(lambda: bool(got)):
        got.extend(await member.source.poll(10, POLL_SECONDS))
    assert [(m.offset, m.value) for m in got] == [(0, b"new")]
    assert not set(former.values()) & set(member.ledger.topic_ids.values())


@_behaviour
async def a_missing_topic_is_created_for_those_who_need_it(broker: BrokerHarness) -> None:
    topic = broker.new_name()
    member = _member(broker, topic)
    await _settle(member)
    other = broker.new_name()
    sink = broker.sink()
    for _ in _until(lambda: False):
        try:
            sink.send([Outgoing(topic, b"x"), Outgoing(other, b"y")])
            await sink.flush()
            break
        except TransientError:
            continue
    assert (await _take(member, 1, at_most=1))[0].value == b"x"
    assert (await _take(_member(broker, other), 1))[0].value == b"y"


@_behaviour
async def a_partition_that_ends_before_the_owners_offset_is_an_alarm_and_starts_over(
    broker: BrokerHarness,
) -> None:
    topic = await broker.new_topic(2)
    await _send(broker, [Outgoing(topic, b"%d" % n, partition=0) for n in range(3)])
    member = _member(broker, topic)
    lost = TopicPartition(topic, 0)
    member.ledger.next_offsets[lost] = 1_000
    assert [(m.at, m.offset) for m in await _take(member, 3)] == [(lost, n) for n in range(3)]
    assert broker.alarms == [("offset_out_of_range", lost)]
    await _send(broker, [Outgoing(topic, b"next", partition=0)])
    assert [m.offset for m in await _take(member, 1)] == [3]


# ---- how the behaviours wait ------------------------------------------------------------------------------------


@dataclass
class _Member:
    source: AdaptableSource
    owner: LedgerOwner
    ledger: Ledger
    group: str
    instance_id: str
    topic: str


def _member(broker: BrokerHarness, topic: str, name: str = "one") -> _Member:
    """The first member of a new group."""
    ledger, group = Ledger(), broker.new_name()
    owner = LedgerOwner(ledger, name)
    return _Member(
        broker.source(group, f"{group}-0", [topic], owner), owner, ledger, group, f"{group}-0", topic
    )


def _join(broker: BrokerHarness, first: _Member, name: str, instance_id: str | None = None) -> _Member:
    """Another member of the group, or another process under the same instance id."""
    instance_id = instance_id or f"{first.group}-1"
    owner = LedgerOwner(first.ledger, name)
    source = broker.source(first.group, instance_id, [first.topic], owner)
    return _Member(source, owner, first.ledger, first.group, instance_id, first.topic)


async def _send(broker: BrokerHarness, messages: Sequence[Outgoing]) -> None:
    sink = broker.sink()
    sink.send(messages)
    await sink.flush()


async def _take(member: _Member, count: int, at_most: int = 2_000) -> list[Received]:
    """Poll until so many have come; the owner's ledger moves with them."""
    return await _take_together([member], count, at_most)


async def _take_together(members: Sequence[_Member], count: int, at_most: int = 2_000) -> list[Received]:
    got: list[Received] = []
    for _ in _until(lambda: len(got) >= count):
        for member in members:
            batch = await member.source.poll(at_most, POLL_SECONDS)
            member.owner.handle(batch)
            got.extend(batch)
    assert len(got) == count, f"expected {count} messages, got {len(got)}"
    return got


async def _settle(member: _Member) -> None:
    """Poll until something is owned."""
    for _ in _until(lambda: bool(member.owner.held)):
        assert not await member.source.poll(10, POLL_SECONDS)


async def _until_settled(one: _Member, other: _Member) -> None:
    """Poll both until they own the same number."""
    for _ in _until(lambda: len(one.owner.held) == len(other.owner.held) > 0):
        for member in (one, other):
            assert not await member.source.poll(10, POLL_SECONDS)


async def _expect_quiet(member: _Member) -> None:
    for _ in range(QUIET_POLLS):
        assert not await member.source.poll(10, POLL_SECONDS)


def _until(is_done: Callable[[], bool]) -> Iterable[None]:
    """Turns until it is done; AssertionError after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s"
        yield
