"""The finalizer's work: record runs, and answer each ended one with `recorded`.

The answer goes to the engine (the run leaves its open rows) and to the matcher (the dispatch closes), one message a
batch and partition with the ids in it. A run that is said to have ended twice is answered twice, never with silence.

`finished` leaves the payload out when `started` was delivered; if the broker lost `started` before we read it, the
record has no payload. Such a run is not answered but asked about: the engine then says everything again, payload
and all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from outlast import ids, limits
from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, LifecycleMessage, Probe, Recorded
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_finalizer import metrics
from outlast_finalizer.core.outcome import RunRow, latest_rows
from outlast_finalizer.store import Ended, FinalizerStore


@dataclass(slots=True)
class _Recording:
    rows: list[RunRow]
    ended: dict[str, Ended]


class FinalizerWork:
    """What the loop drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: FinalizerStore) -> None:
        self._store = store

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """The latest word on each run, and which have ended."""
        read: list[LifecycleMessage] = []
        recording = _Recording([], {})
        turn = Turn(recording)
        for received in messages:
            try:
                message = codec.lifecycle.decode(received.value)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            read.append(message)
            if isinstance(message, Finished):
                ended = Ended(message.lane, message.company_id, message.runbook.id, True)
                recording.ended[message.execution_id] = ended
                turn.pending.setdefault(received.at, []).append(message.execution_id)
        recording.rows = latest_rows(read)
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the rows; then answer those that are whole, and ask about those that are not."""
        recording = turn.changes
        assert isinstance(recording, _Recording)
        ended = recording.ended
        for execution_id in await self._store.commit(recording.rows, moves):
            ended[execution_id] = ended[execution_id]._replace(has_payload=False)
        turn.outgoing += answers(ended)
        _count(recording.rows)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """The answers for those of these runs that have ended."""
        return answers(await self._store.finished(pending))

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: the engine says again what is not recorded, and is answered."""
        return ()


def answers(ended: Mapping[str, Ended]) -> list[Outgoing]:
    """`recorded` for the runs whose records are whole, a probe for each of the others."""
    whole = {execution_id: each.lane for execution_id, each in ended.items() if each.has_payload}
    asked = [_probe(execution_id, each) for execution_id, each in ended.items() if not each.has_payload]
    if asked:
        metrics.PAYLOADS_ASKED.inc(len(asked))
    return recorded(whole) + asked


def _probe(execution_id: str, ended: Ended) -> Outgoing:
    probe = Probe(
        execution_id=execution_id, company_id=ended.company_id, runbook_id=ended.runbook_id, lane=ended.lane
    )
    partition = ids.engine_partition(execution_id)
    return Outgoing(topics.ENGINE_INBOX, codec.encode(probe), execution_id.encode(), partition)


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
