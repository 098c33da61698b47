"""The gate as a process of the world: its own work and tables, driven by something that is as unreliable as may be.

Its table is a changelog that outlives it, unless that is lost, too. Its offsets are committed now and then, and one
request in twenty is passed over, or its answer is.
"""

from collections.abc import Collection, Mapping, Sequence
from random import Random

from outlast.contracts import topics
from outlast.contracts.topics import Claim, TopicPartition
from outlast.errors import TransientError
from outlast.messaging.local import LocalSink
from outlast.messaging.ports import Outgoing, Received, Source
from outlast.runtime.metrics import LoopMetrics
from outlast.testing.faults import Faults
from outlast_gate.tables import Tables
from outlast_gate.work import GateWork

GROUP = "outlast.gate"
BATCH_MAX = 50
LOST = 1 / 20
COMMITS = 0.3
FLUSHES_MAX = 50
REQUEST = b'{"type":"gate_request.v1"'
METRICS = LoopMetrics("gate.requests")


class GateKept:
    """What outlives the gate's processes."""

    def __init__(self) -> None:
        self.changelog: dict[bytes, bytes] = {}
        self.offsets: dict[tuple[str, int], int] = {}
        """By topic id and lane."""

    def lose_tables(self) -> None:
        """The changelog is deleted."""
        self.changelog.clear()


class _Table(dict[bytes, bytes]):
    """What this process holds; remembers what is not in the changelog yet."""

    def __init__(self) -> None:
        super().__init__()
        self.unwritten: dict[bytes, bytes | None] = {}

    def __setitem__(self, key: bytes, value: bytes) -> None:
        super().__setitem__(key, value)
        self.unwritten[key] = value

    def pop(self, key: bytes, default: object = None) -> object:  # type: ignore[override]
        self.unwritten[key] = None
        return super().pop(key, default)  # type: ignore[arg-type]


class _Sink:
    """Delivers dead letters at any price, as the gate insists; what else it says may be lost."""

    def __init__(self, sink: LocalSink) -> None:
        self._sink = sink
        self._dead: list[Outgoing] = []
        self.is_deaf = False
        """Loses what it is given."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        if self.is_deaf:
            return
        self._dead += [each for each in messages if each.topic.endswith(".dead_letters")]
        self._sink.send(messages)

    async def flush(self) -> None:
        for _ in range(FLUSHES_MAX):
            try:
                await self._sink.flush()
            except TransientError:
                self._sink.send(self._dead)
                if not self._dead:
                    return
            else:
                self._dead = []
                return

    async def partition_count(self, topic: str) -> int:
        return await self._sink.partition_count(topic)

    async def close(self) -> None:
        await self._sink.close()


class GateLoop:
    """One process of the gate; the owner of its source."""

    def __init__(self, kept: GateKept, sink: LocalSink, faults: Faults, random: Random) -> None:
        self._kept = kept
        self._sink = _Sink(sink)
        self._faults = faults
        self._random = random
        self._table = _Table()
        self._tables = Tables(self._table, self._table)
        self._work = GateWork(self._tables, self._sink, METRICS)
        self._source: Source | None = None
        self._ids: dict[TopicPartition, str] = {}
        self._next: dict[TopicPartition, int] = {}
        self.lost = LOST
        """Of the requests, how many are passed over or answered in vain."""

    def attach(self, source: Source) -> None:
        """The source whose owner this is."""
        self._source = source

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Restore the table; begin at the committed offsets."""
        self._ids |= {claim.at: claim.topic_id for claim in claims}
        starts = {each.at: self._kept.offsets.get((each.topic_id, each.at.partition), 0) for each in claims}
        self._next |= starts
        self._restore()
        return starts

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """These lanes are somebody else's."""
        for at in partitions:
            self._ids.pop(at, None)
            self._next.pop(at, None)

    def _restore(self) -> None:
        self._table.clear()
        self._table.update(self._kept.changelog)
        self._tables.reload({at.partition for at in self._ids})
        self._table.unwritten.clear()

    async def turn(self, timeout_seconds: float = 0.0, /) -> float | None:
        """Some requests, one by one."""
        assert self._source is not None
        messages = await self._source.poll(BATCH_MAX, 0.0)
        for received in messages:
            await self._take(received)
            self._next[received.at] = received.offset + 1
        await self._sink.flush()
        if self._faults.is_struck("commit"):
            self._faults.crash("the gate, before its table is written")
        self._write()
        if not messages or self._random.random() < COMMITS:
            self._commit()
        return None

    async def _take(self, received: Received) -> None:
        is_request = self._faults.is_on and (received.value or b"").startswith(REQUEST)
        is_lost = is_request and self._random.random() < self.lost
        if is_lost and self._random.random() < 0.5:
            return
        self._sink.is_deaf = is_lost
        await self._work.handle(received)
        self._sink.is_deaf = False

    def _write(self) -> None:
        for key, value in self._table.unwritten.items():
            if value is None:
                self._kept.changelog.pop(key, None)
            else:
                self._kept.changelog[key] = value
        self._table.unwritten.clear()

    def _commit(self) -> None:
        for at, offset in self._next.items():
            if at in self._ids:
                self._kept.offsets[self._ids[at], at.partition] = offset


def lanes() -> Sequence[str]:
    """What the gate reads."""
    return (topics.GATE_REQUESTS,)
