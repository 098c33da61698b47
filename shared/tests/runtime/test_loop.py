"""The loop on a small piece of work: what it may never lose, and what may never stop it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from outlast import limits
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import ContractError, DataRejected, LimitExceeded, TransientError
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.work import Turn

IN, OUT = "in", "out"
AT = TopicPartition(IN, 0)


@dataclass
class Copying:
    """Says each message on; `derive` says its pending ids on. Faults are armed by tests."""

    fence: LocalFence
    stored: list[bytes] = field(default_factory=list)
    refuses: frozenset[bytes] = frozenset()
    asks: frozenset[bytes] = frozenset()
    away: int = 0
    derive_away: int = 0
    commit_away: int = 0
    commit_unanswered: int = 0
    underivable: frozenset[str] = frozenset()
    outstanding: list[str] = field(default_factory=list)

    async def decide(self, messages: Sequence[Received]) -> Turn:
        if self.away:
            self.away -= 1
            raise TransientError("away")
        values = [message.value or b"" for message in messages]
        if self.refuses & set(values):
            raise DataRejected("a row that was asked for cannot be")
        turn = Turn(values)
        if values and all(value == b"nothing" for value in values):
            turn.is_nothing = True
            return turn
        for message, value in zip(messages, values, strict=True):
            if value in self.asks:
                turn.answers.append(Outgoing(OUT, b"unknown " + value, b"k", 0))
                continue
            turn.outgoing.append(Outgoing(OUT, value, b"k", 0))
            turn.pending.setdefault(message.at, []).append(value.decode())
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        self.fence.check(moves)
        if self.commit_away:
            self.commit_away -= 1
            raise TransientError("unknown")
        self.fence.apply(moves)
        assert isinstance(turn.changes, list)
        self.stored += turn.changes
        if self.commit_unanswered:
            self.commit_unanswered -= 1
            raise TransientError("unknown")

    def forget(self, partitions: Collection[TopicPartition]) -> None: ...

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        if self.derive_away:
            self.derive_away -= 1
            raise TransientError("away")
        if self.underivable & set(pending):
            raise ContractError("a history that this release cannot read")
        return [Outgoing(OUT, each.encode(), b"k", 0) for each in pending]

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        return [each for each in self.outstanding if each > after][:page_max]


class Narrow(LocalSink):
    """A sink with faults: too little room for a time, a limit on the size of a message."""

    room: int | None = None
    bytes_max: int = 100

    def send(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            if len(message.value or b"") > self.bytes_max:
                raise LimitExceeded("bytes_max", self.bytes_max, len(message.value or b""))
        for message in messages:
            if self.room == 0:
                raise TransientError("full")
            if self.room is not None:
                self.room -= 1
            super().send([message])


class Harness:
    def __init__(self) -> None:
        self.broker = LocalBroker(lambda: 0, partitions_default=1)
        for topic in (IN, OUT, "engine.dead_letters"):
            self.broker.ensure_topic(topic)
        self.fence = LocalFence()
        self.work = Copying(self.fence)
        self.loop = self.start()

    def start(self) -> FencedLoop:
        """A process of its own, as after a death: nothing is kept but broker, fence and stored rows."""
        self.sink = Narrow(self.broker)
        loop = FencedLoop(
            service="engine",
            name="test",
            fence=self.fence,
            work=self.work,
            sink=self.sink,
            metrics=LoopMetrics("test", CollectorRegistry()),
            monotonic=lambda: 0.0,
        )
        loop.attach(LocalSource(self.broker, "group", "instance", [IN], loop))
        self.loop = loop
        return loop

    def send(self, *values: bytes) -> None:
        for value in values:
            self.broker.append(Outgoing(IN, value, b"k", 0))

    def said(self) -> list[bytes | None]:
        return [message.value for message in self.broker.messages(OUT)]

    def buried(self) -> list[bytes | None]:
        return [message.value for message in self.broker.messages("engine.dead_letters")]


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def test_it_knows_when_messages_came_last(harness: Harness) -> None:
    await harness.loop.turn()
    assert harness.loop.polled_at == -math.inf
    harness.send(b"1")
    await harness.loop.turn()
    assert harness.loop.polled_at == 0.0


def at_rest(harness: Harness) -> int:
    return harness.fence.rows[AT].next_offset


async def test_messages_that_leave_nothing_to_store_cost_no_commit_and_pass_with_the_next_one(
    harness: Harness,
):
    harness.send(b"nothing", b"nothing")
    await harness.loop.turn()
    assert at_rest(harness) == 0
    harness.send(b"a")
    await harness.loop.turn()
    assert (at_rest(harness), harness.work.stored) == (3, [b"a"])


async def test_messages_that_leave_nothing_to_store_are_passed_when_the_loop_is_idle(harness: Harness):
    harness.send(b"nothing")
    await harness.loop.turn()
    await harness.loop.turn()
    assert (at_rest(harness), harness.work.stored) == (1, [])


async def test_after_a_death_what_left_nothing_to_store_is_read_again_and_takes_nothing_with_it(
    harness: Harness,
):
    harness.send(b"nothing")
    await harness.loop.turn()
    harness.start()
    harness.send(b"a")
    for _ in range(3):
        await harness.loop.turn()
    assert (at_rest(harness), harness.said()) == (2, [b"nothing", b"a"])


async def test_a_partition_that_nobody_has_read_yet_is_walked_over(harness: Harness):
    harness.work.outstanding = ["of another loop"]
    for _ in range(3):
        await harness.loop.turn()
    assert harness.said() == [b"of another loop"]


async def test_messages_polled_while_the_inherited_ids_cannot_be_derived_are_not_passed_over(
    harness: Harness,
):
    await harness.loop.turn()  # a new partition, and nothing to say again
    harness.send(b"a")
    await harness.loop.turn()  # committed, said, not flushed: `a` is pending
    harness.send(b"b")
    harness.start()
    harness.work.derive_away = 1
    await harness.loop.turn()  # polls `b`, finds the database away while it derives `a`
    harness.send(b"c")
    for _ in range(3):
        await harness.loop.turn()
    assert harness.work.stored == [b"a", b"b", b"c"]
    assert harness.said() == [b"a", b"b", b"c"]


async def test_data_that_the_database_refuses_on_reading_is_buried_alone(harness: Harness):
    harness.work.refuses = frozenset({b"bad"})
    harness.send(b"a", b"bad", b"b")
    for _ in range(3):
        await harness.loop.turn()
    assert harness.work.stored == [b"a", b"b"]
    assert harness.buried() == [b"bad"]


async def test_an_answer_that_nothing_stored_implies_is_delivered_before_the_offset_moves(harness: Harness):
    harness.work.asks = frozenset({b"who"})
    harness.send(b"who")
    harness.work.commit_away = 1
    await harness.loop.turn()
    assert harness.said() == [b"unknown who"]
    harness.start()  # dies without another word; the message comes again
    await harness.loop.turn()
    assert harness.said() == [b"unknown who", b"unknown who"]
    assert harness.fence.rows[AT].next_offset == 1


async def test_attempts_that_the_process_outlives_are_not_taken_for_deaths(harness: Harness):
    harness.send(b"a")
    harness.work.away = 1_000
    for _ in range(limits.POISON_ACQUISITIONS_MAX + 2):
        harness.start()
        await harness.loop.turn()
    for _ in range(20):  # suspect now, and what it needs stays away
        await harness.loop.turn()
    harness.work.away = 0
    await harness.loop.turn()
    assert harness.buried() == []
    assert harness.work.stored == [b"a"]


async def test_a_message_that_kills_its_reader_again_and_again_is_buried_and_the_rest_goes_on(
    harness: Harness,
):
    class Death(BaseException):
        pass

    decide = harness.work.decide

    async def deadly(messages: Sequence[Received]) -> Turn:
        if any(message.value == b"killer" for message in messages):
            raise Death
        return await decide(messages)

    harness.work.decide = deadly  # type: ignore[method-assign]
    harness.send(b"a", b"killer", b"b")
    for _ in range(20):
        try:
            for _ in range(3):
                await harness.loop.turn()
        except Death:
            harness.start()
    assert harness.work.stored == [b"a", b"b"]
    assert harness.buried() == [b"killer"]


async def test_a_stop_after_a_commit_of_unknown_outcome_does_not_forget_what_it_had_to_say(harness: Harness):
    harness.send(b"a")
    await harness.loop.turn()
    harness.send(b"b")
    harness.work.commit_unanswered = 1  # it is committed, and nobody told us
    await harness.loop.turn()
    await harness.loop.finish()
    harness.start()
    await harness.loop.turn()
    assert harness.work.stored == [b"a", b"b"]
    assert harness.said() == [b"a", b"b"]


async def test_what_a_full_queue_refused_is_sent_before_the_next_batch_commits(harness: Harness):
    harness.send(b"a", b"b", b"c")
    harness.sink.room = 1
    await harness.loop.turn()
    harness.sink.room = None
    harness.send(b"d")
    for _ in range(3):
        await harness.loop.turn()
    assert harness.work.stored == [b"a", b"b", b"c", b"d"]
    assert set(harness.said()) == {b"a", b"b", b"c", b"d"}


async def test_a_message_that_no_broker_takes_keeps_nothing_else_waiting(harness: Harness):
    harness.send(b"a", b"x" * 101, b"b")
    for _ in range(3):
        await harness.loop.turn()
    assert harness.said() == [b"a", b"b"]
    harness.start()
    harness.send(b"c")
    for _ in range(2):
        await harness.loop.turn()
    assert harness.said()[-1] == b"c"


async def test_a_run_that_cannot_be_derived_silences_no_other(harness: Harness):
    harness.send(b"a", b"bad", b"b")
    harness.sink.room = 0
    await harness.loop.turn()  # committed, nothing sent
    harness.start()
    harness.work.underivable = frozenset({"bad"})
    await harness.loop.turn()
    assert harness.said() == [b"a", b"b"]


async def test_a_run_that_cannot_be_derived_does_not_end_the_walk_after_a_loss(harness: Harness):
    await harness.loop.turn()
    harness.work.outstanding = ["a", "bad", "c"]
    harness.work.underivable = frozenset({"bad"})
    harness.fence.rows[AT].topic_id = "another"
    harness.start()
    for _ in range(3):
        await harness.loop.turn()
    assert harness.said() == [b"a", b"c"]
    assert harness.fence.rows[AT].rederive_after is None
