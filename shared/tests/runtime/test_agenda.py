"""What a loop does of its own accord is said, stored and fenced like what it was asked for."""

from collections.abc import Collection, Sequence

import pytest
from prometheus_client import CollectorRegistry

from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.work import Turn

IN, OUT = "in", "out"
AT = TopicPartition(IN, 0)


class Alarms:
    """Rows that are to be said and deleted. Both the work and the agenda of a loop."""

    def __init__(self, fence: LocalFence) -> None:
        self.fence = fence
        self.due: list[bytes] = []
        self.seconds: float | None = None
        self.polled: list[float] = []
        self.commits_away = 0

    async def decide(self, messages: Sequence[Received]) -> Turn:
        return Turn([])

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        self.fence.check(moves)
        if self.commits_away:
            self.commits_away -= 1
            raise TransientError("nobody knows")
        self.fence.apply(moves)
        assert isinstance(turn.changes, list)
        self.due = [each for each in self.due if each not in turn.changes]

    def forget(self, partitions: Collection[TopicPartition]) -> None: ...

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        return []

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        return ()

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        return self.seconds

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        if not self.due or AT not in owned:
            return None
        turn = Turn(list(self.due), touched={AT})
        turn.answers = [Outgoing(OUT, each, b"k", 0) for each in self.due]
        return turn


class World:
    def __init__(self) -> None:
        self.broker = LocalBroker(lambda: 0, partitions_default=1)
        for topic in (IN, OUT):
            self.broker.ensure_topic(topic)
        self.fence = LocalFence()
        self.alarms = Alarms(self.fence)

    def start(self, instance: str = "0") -> FencedLoop:
        loop = FencedLoop(
            service="engine",
            name="test",
            fence=self.fence,
            work=self.alarms,
            agenda=self.alarms,
            sink=LocalSink(self.broker),
            metrics=LoopMetrics("test", CollectorRegistry()),
            monotonic=lambda: 0.0,
        )
        loop.attach(LocalSource(self.broker, "group", instance, [IN], loop))
        return loop

    def said(self) -> list[bytes | None]:
        return [message.value for message in self.broker.messages(OUT)]


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_due_is_said_without_a_message_and_once(world: World) -> None:
    loop = world.start()
    await loop.turn()
    world.alarms.due = [b"wake"]
    for _ in range(3):
        await loop.turn()
    assert world.said() == [b"wake"]
    assert world.fence.rows[AT].next_offset == 0


async def test_what_was_said_and_not_stored_is_said_again(world: World) -> None:
    loop = world.start()
    await loop.turn()
    world.alarms.due, world.alarms.commits_away = [b"wake"], 1
    for _ in range(4):
        await loop.turn()
    assert world.said() == [b"wake", b"wake"]
    assert world.alarms.due == []


async def test_who_owns_the_partition_no_more_stores_nothing(world: World) -> None:
    zombie = world.start("0")
    await zombie.turn()
    await world.fence.acquire([Claim(AT, world.fence.rows[AT].topic_id)])
    world.alarms.due = [b"wake"]
    await zombie.turn()
    assert world.alarms.due == [b"wake"]


async def test_a_poll_ends_when_something_is_due(world: World) -> None:
    loop = world.start()
    inner = loop.source.poll

    async def poll(messages_max: int, timeout_seconds: float) -> Sequence[Received]:
        world.alarms.polled.append(timeout_seconds)
        return await inner(messages_max, 0.0)

    loop.source.poll = poll  # type: ignore[method-assign]
    for seconds in (None, 0.25, 60.0, -1.0):
        world.alarms.seconds = seconds
        await loop.turn(1.0)
    assert world.alarms.polled == [1.0, 0.25, 1.0, 0.0]
