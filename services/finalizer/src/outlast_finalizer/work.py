"""The finalizer's work: record runs, and answer each ended one with `recorded`.

The answer goes to the engine (the run leaves its open rows) and to the matcher (the dispatch closes), one message a
batch and partition with the ids in it. A run that is said to have ended twice is answered twice, never with silence.
"""

from collections.abc import Collection, Mapping, Sequence

from outlast import ids, limits
from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, LifecycleMessage, Recorded
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import Turn
from outlast_finalizer import metrics
from outlast_finalizer.core.outcome import RunRow, latest_rows
from outlast_finalizer.store import FinalizerStore


class FinalizerWork:
    """What the loop drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: FinalizerStore) -> None:
        self._store = store

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """The latest word on each run, and the answers."""
        turn = Turn([])
        read: list[LifecycleMessage] = []
        ended: dict[str, int] = {}
        for received in messages:
            try:
                message = codec.lifecycle.decode(received.value)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            read.append(message)
            if isinstance(message, Finished):
                ended[message.execution_id] = message.lane
                turn.pending.setdefault(received.at, []).append(message.execution_id)
        turn.changes = latest_rows(read)
        turn.outgoing += recorded(ended)
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the rows."""
        rows = turn.changes
        assert isinstance(rows, list)
        await self._store.commit(rows, moves)
        _count(rows)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """The answers for those of these runs that have ended."""
        return recorded(await self._store.finished(pending))

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: the engine says again what is not recorded, and is answered."""
        return ()


def recorded(ended: Mapping[str, int]) -> list[Outgoing]:
    """`recorded` messages for these runs (id to lane): by engine partition, and by lane."""
    by_place: dict[TopicPartition, list[str]] = {}
    for execution_id, lane in ended.items():
        inbox = TopicPartition(topics.ENGINE_INBOX, ids.engine_partition(execution_id))
        by_place.setdefault(inbox, []).append(execution_id)
        by_place.setdefault(TopicPartition(topics.RECORDED, lane), []).append(execution_id)
    return [
        Outgoing(at.topic, codec.encode(Recorded(executions=tuple(names[i : i + limits.RECORDED_IDS_MAX]))),
                 None, at.partition)
        for at, names in by_place.items()
        for i in range(0, len(names), limits.RECORDED_IDS_MAX)
    ]  # fmt: skip


def _count(rows: list[RunRow]) -> None:
    for row in rows:
        if isinstance(row.message, Finished):
            metrics.FINISHED.labels(row.status, row.message.mode).inc()
            seconds = (row.message.at - row.message.event.time).total_seconds()
            metrics.END_TO_END_SECONDS.observe(max(0.0, seconds))
