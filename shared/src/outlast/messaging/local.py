"""The broker in memory: what a loop can observe of Kafka, without time, threads or sockets.

Awaiting its coroutines never suspends, so a simulation can drive a loop by hand, and a test is as fast as its
code. Time comes from outside; nothing is random; `Faults` decide what goes wrong.
`outlast.testing.broker_suite` holds it and the real broker to the same behaviour.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from outlast.contracts.topics import TOPICS, Claim, TopicPartition
from outlast.errors import LimitExceeded, TransientError
from outlast.limits import MESSAGE_BYTES_MAX
from outlast.messaging.assignment import sticky_assignment
from outlast.messaging.faults import Faults, NoFaults
from outlast.messaging.heads import Heads
from outlast.messaging.partitioner import partition_of
from outlast.messaging.ports import InstanceTaken, Outgoing, Owner, Received, lost_topic_id

PARTITIONS_DEFAULT = 4
_contracts = {topic.name: topic.partitions for topic in TOPICS}


@dataclass(slots=True)
class LocalTopic:
    """One topic: its id, and per partition the messages in order."""

    topic_id: str
    partitions: list[list[Received]]


@dataclass(slots=True, eq=False)
class _Seat:
    """A static member's place in its group; it stays when the process dies, until the session ends."""

    holder: "LocalSource"
    topics: frozenset[str]
    held: set[TopicPartition] = field(default_factory=set[TopicPartition])


@dataclass(slots=True)
class _Group:
    seats: dict[str, _Seat] = field(default_factory=dict[str, _Seat])
    assignment: dict[TopicPartition, str] = field(default_factory=dict[TopicPartition, str])
    positions: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


class LocalBroker:
    """Topics, groups, and what a test or a simulation does to them. `now_ms` is the broker's clock."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        faults: Faults | None = None,
        partitions_default: int = PARTITIONS_DEFAULT,
    ) -> None:
        self.is_up = True
        """False: polls find nothing and flushes fail, until it is True again."""
        self.faults: Faults = faults or NoFaults()
        self.topics: dict[str, LocalTopic] = {}
        self._now_ms = now_ms
        self._partitions_default = partitions_default
        self._incarnation = 0
        self._keyless = 0
        self._groups: dict[str, _Group] = {}

    def ensure_topic(self, name: str, at_least: int = 0) -> LocalTopic:
        """The topic; created with the partitions of contracts/, or the default, or what is asked, if more."""
        topic = self.topics.get(name)
        if topic is None:
            self._incarnation += 1
            topic = self.topics[name] = LocalTopic(f"{name}-{self._incarnation:06d}", [])
            at_least = max(at_least, _contracts.get(name) or self._partitions_default)
        topic.partitions += [[] for _ in range(at_least - len(topic.partitions))]
        return topic

    def delete_topic(self, name: str) -> None:
        """Delete it with all that is in it; whoever needs it creates it again, under a new id."""
        self.topics.pop(name, None)

    def lose_everything(self) -> None:
        """A new, empty cluster under the old address: no topics, no groups."""
        self.topics.clear()
        self._groups.clear()

    def end_session(self, group: str, instance_id: str) -> None:
        """The member was silent for its session: the others get its partitions. If it lives, it is a zombie."""
        self._group(group).seats.pop(instance_id, None)

    def messages(self, topic: str) -> list[Received]:
        """Everything in the topic, by partition."""
        found = self.topics.get(topic)
        return [message for log in found.partitions for message in log] if found else []

    def lag(self, group: str, topic: str) -> int:
        """Messages beyond the positions that the group has told."""
        positions = self._group(group).positions
        logs = self.topics[topic].partitions
        return sum(len(log) - positions.get(TopicPartition(topic, p), 0) for p, log in enumerate(logs))

    def append(self, message: Outgoing) -> Received:
        """Store one message now."""
        topic = self.ensure_topic(message.topic)
        partition = message.partition
        if partition is None:
            partition = self._choose(message.key, len(topic.partitions))
        if not 0 <= partition < len(topic.partitions):
            raise TransientError(f"expected {message.topic} to have partition {partition}")
        log = topic.partitions[partition]
        stored = Received(
            message.topic, partition, len(log), self._now_ms(), message.key, message.value, message.headers
        )
        log.append(stored)
        return stored

    def _choose(self, key: bytes | None, partitions: int) -> int:
        if key is not None:
            return partition_of(key, partitions)
        self._keyless += 1
        return self._keyless % partitions

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def sit(self, source: "LocalSource") -> tuple[_Seat, set[TopicPartition]]:
        """The source's seat, taken if it is new or comes back, and the partitions that are meant for it."""
        group = self._group(source.group)
        seat = group.seats.get(source.instance_id)
        if seat is None or seat.holder is not source:
            seat = group.seats[source.instance_id] = _Seat(source, source.topics)
        seat.topics = source.topics
        every = {name for each in group.seats.values() for name in each.topics if name in self.topics}
        partitions = [
            TopicPartition(name, number)
            for name in sorted(every)
            for number in range(len(self.topics[name].partitions))
        ]
        subscriptions = {instance: each.topics for instance, each in group.seats.items()}
        group.assignment = sticky_assignment(partitions, subscriptions, group.assignment)
        meant = {at for at, instance in group.assignment.items() if instance == source.instance_id}
        elsewhere = {at for each in group.seats.values() if each is not seat for at in each.held}
        return seat, meant - elsewhere

    def seat_of(self, source: "LocalSource") -> _Seat | None:
        """The seat under the source's instance id, whoever holds it."""
        return self._group(source.group).seats.get(source.instance_id)

    def tell(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember positions, for `lag`."""
        self._group(group).positions.update(offsets)


class LocalSource:
    """`ports.Source` on a `LocalBroker`. A killed process is one whose source is never called again."""

    def __init__(
        self,
        broker: LocalBroker,
        group: str,
        instance_id: str,
        topics: Iterable[str],
        owner: Owner,
        alarm: Callable[[str, TopicPartition], None] = lambda _kind, _at: None,
    ) -> None:
        self.group = group
        self.instance_id = instance_id
        self.topics = frozenset(topics)
        self._broker = broker
        self._owner = owner
        self._alarm = alarm
        self._has_joined = False
        self._next: dict[TopicPartition, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._partition_counts: dict[str, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0

    async def poll(self, messages_max: int, timeout_seconds: float) -> Sequence[Received]:
        """As the port says, but what is not there now does not come: it never waits."""
        if not self._broker.is_up:
            return []
        try:
            await self._rebalance()
        except BaseException:
            await self.rejoin()
            raise
        return self._take(messages_max)

    def position(self, offsets: Mapping[TopicPartition, int]) -> None:
        """As the port says."""
        self._broker.tell(self.group, {at: offset for at, offset in offsets.items() if at in self._next})

    async def pause(self, partitions: Collection[TopicPartition]) -> None:
        """As the port says. A partition that is lost and comes back is not paused any more."""
        self._paused.update(at for at in partitions if at in self._next)

    async def resume(self, partitions: Collection[TopicPartition]) -> None:
        """As the port says."""
        self._paused.difference_update(partitions)

    async def change_topics(self, topics: Iterable[str]) -> None:
        """Consume these topics from now on; partitions of topics that stay are not interrupted."""
        self.topics = frozenset(topics)

    async def rejoin(self) -> None:
        """As the port says."""
        seat = self._broker.seat_of(self)
        await self._release(set(self._next))
        if seat is not None and seat.holder is self:
            seat.held.clear()

    async def close(self) -> None:
        """As the port says."""
        await self.rejoin()

    async def _rebalance(self) -> None:
        seat = self._broker.seat_of(self)
        if self._has_joined and seat is not None and seat.holder is not self:
            raise InstanceTaken(f"expected {self.instance_id} to be us, but another process joined as it")
        if seat is None or self._has_other_topics():
            await self._release(
                set(self._next)
            )  # our session has ended, or the offsets mean nothing any more
            if seat is not None:
                seat.held.clear()
        for name in sorted(self.topics):
            topic = self._broker.ensure_topic(name, self._partition_counts.get(name, 0))
            self._partition_counts[name] = len(topic.partitions)
        seat, meant = self._broker.sit(self)
        self._has_joined = True
        await self._release(self._next.keys() - meant)
        seat.held &= meant
        await self._acquire(seat, sorted(meant - self._next.keys()))
        await self._restart_out_of_range()

    def _has_other_topics(self) -> bool:
        """Whether a topic that we hold is gone, or is another one under its name."""
        now = self._broker.topics
        return any(
            at.topic not in now or now[at.topic].topic_id != self._topic_ids[at.topic] for at in self._next
        )

    async def _acquire(self, seat: _Seat, partitions: Sequence[TopicPartition]) -> None:
        if not partitions:
            return
        claims = [Claim(at, self._broker.topics[at.topic].topic_id) for at in partitions]
        seat.held.update(partitions)
        starts = await self._owner.acquire(claims)
        self._topic_ids.update({claim.at.topic: claim.topic_id for claim in claims})
        self._next.update({at: starts[at] for at in partitions})

    async def _restart_out_of_range(self) -> None:
        for at, expected in sorted(self._next.items()):
            topic = self._broker.topics[at.topic]
            if expected > len(topic.partitions[at.partition]):
                self._alarm("offset_out_of_range", at)
                await self._release([at])
                claim = Claim(at, lost_topic_id(topic.topic_id, expected))
                self._next[at] = (await self._owner.acquire([claim]))[at]

    async def _release(self, partitions: Collection[TopicPartition]) -> None:
        gone = sorted(partitions)
        for at in gone:
            self._next.pop(at, None)
        self._paused.difference_update(gone)
        if gone:
            await self._owner.release(gone)

    def _take(self, messages_max: int) -> list[Received]:
        ours = sorted(self._next.keys() - self._paused)
        self._turn += 1
        taken: list[Received] = []
        for number in range(len(ours)):
            at = ours[(number + self._turn) % len(ours)]  # nobody is always last
            log = self._broker.topics[at.topic].partitions[at.partition]
            available = min(len(log) - self._next[at], messages_max - len(taken))
            count = min(available, self._broker.faults.take(at, available)) if available > 0 else 0
            taken += log[self._next[at] : self._next[at] + count]
            self._next[at] += count
        return taken


class LocalSink:
    """`ports.Sink` on a `LocalBroker`. What a killed process had sent and not flushed is lost with its sink."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker
        self._queued: list[Outgoing] = []
        self._queued_keys: set[tuple[str, bytes | None]] = set()

    def send(self, messages: Sequence[Outgoing]) -> None:
        """As the port says. LimitExceeded, with nothing queued, if one of them is too large."""
        for message in messages:
            if message.value is not None and len(message.value) > MESSAGE_BYTES_MAX:
                raise LimitExceeded("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX, len(message.value))
        for message in messages:
            is_alone = (message.topic, message.key) not in self._queued_keys
            if self._broker.is_up and is_alone and self._broker.faults.is_early(message):
                self._broker.append(message)
            else:
                self._queued.append(message)
                self._queued_keys.add((message.topic, message.key))

    async def flush(self) -> None:
        """As the port says."""
        queued, self._queued = self._queued, []
        self._queued_keys.clear()
        if queued and not self._broker.is_up:
            raise TransientError(f"expected {len(queued)} messages to be delivered, but the broker is away")
        missing = {message.topic for message in queued} - self._broker.topics.keys()
        for name in sorted(missing):
            self._broker.ensure_topic(name)
        if missing:
            raise TransientError(f"expected topics {sorted(missing)}, which were created just now")
        lost = sum(not self._deliver(message) for message in self._ordered(queued))
        if lost:
            raise TransientError(f"expected {len(queued)} messages to be delivered, {lost} were not")

    async def partition_count(self, topic: str) -> int:
        """As the port says."""
        return len(self._broker.ensure_topic(topic).partitions)

    async def close(self) -> None:
        """As the port says."""
        await self.flush()

    def _deliver(self, message: Outgoing) -> bool:
        copies = self._broker.faults.copies(message)
        for _ in range(copies):
            self._broker.append(message)
        return copies > 0

    def _ordered(self, queued: Sequence[Outgoing]) -> list[Outgoing]:
        """In the faults' order, but messages with one key keep theirs."""
        by_key: dict[object, list[Outgoing]] = {}
        for message in reversed(queued):
            by_key.setdefault((message.topic, message.partition, message.key), []).append(message)
        order = self._broker.faults.order(len(queued))
        shuffled = [queued[index] for index in order]
        return [by_key[(m.topic, m.partition, m.key)].pop() for m in shuffled]


class LocalCompactedReader:
    """The compacted topics of a `LocalBroker`: `catch_up` applies what is new. See `compacted.CompactedReader`."""

    def __init__(
        self,
        broker: LocalBroker,
        topics: Iterable[str],
        apply: Callable[[Received], None],
        headed: Collection[str] = (),
    ) -> None:
        self._broker = broker
        self._topics = sorted(set(topics))
        self._apply = apply
        self._heads = Heads(headed)
        self._next: dict[tuple[str, int], int] = {}
        self._has_read = False

    @property
    def is_ready(self) -> bool:
        """Whether everything that was there at the first reading, and every head's revision, has been applied."""
        return self._has_read and self._heads.are_reached

    async def catch_up(self) -> None:
        """Apply what is new, in order; a topic under a new id is read from its start."""
        if not self._broker.is_up:
            return
        for name in self._topics:
            topic = self._broker.ensure_topic(name)
            for number, log in enumerate(topic.partitions):
                start = self._next.get((topic.topic_id, number), 0)
                self._next[(topic.topic_id, number)] = len(log)
                for message in log[start:]:
                    if not self._heads.note(message):
                        self._apply(message)
        self._has_read = True
