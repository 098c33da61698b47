"""Following executions: a recorded one closes its dispatch, one that the engine does not know is started again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from outlast.clock import from_milliseconds
from outlast.contracts import codec, topics
from outlast.contracts.messages import Unknown
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.outbound import probe_message, start_message
from outlast_trigger_matcher.store import LanesStore

EPOCH = datetime.fromtimestamp(0, UTC)
UNKNOWN = "unknown.v1"


class _Kind(msgspec.Struct):
    """As much of a lifecycle message as is read of those that are the finalizer's: they bring whole payloads."""

    type: str


_kind: codec.Decoder[_Kind] = codec.Decoder(_Kind)


@dataclass(slots=True)
class _Closing:
    closed: list[str] = field(default_factory=list[str])
    at: datetime = EPOCH


class LanesWork:
    """What the loop over `executions.lifecycle` and `executions.recorded` drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: LanesStore) -> None:
        self._store = store

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Which dispatches to close, and which starts to send again."""
        closing = _Closing()
        turn = Turn(closing)
        unknown: list[str] = []
        for received in messages:
            try:
                if received.topic == topics.RECORDED:
                    closing.closed += codec.recorded.decode(received.value).executions
                    closing.at = max(closing.at, from_milliseconds(received.timestamp_ms))
                    continue
                if _kind.decode(received.value).type != UNKNOWN:
                    continue
                message = codec.lifecycle.decode(received.value)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            if isinstance(message, Unknown):
                unknown.append(message.execution_id)
                turn.pending.setdefault(received.at, []).append(message.execution_id)
        if unknown:
            starts = await self._store.starts(unknown)
            metrics.STARTS_REPEATED.inc(len(starts))
            turn.outgoing += [start_message(start) for start in starts]
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Close them."""
        closing = turn.changes
        assert isinstance(closing, _Closing)
        await self._store.commit_lanes(closing.closed, closing.at, moves)
        metrics.DISPATCHES_CLOSED.inc(len(closing.closed))

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """Ask the engine about each: it answers with what the run has to say, or that it is unknown."""
        return [probe_message(start) for start in await self._store.starts(pending)]

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Accepted and not recorded executions of the lane; one of the two topics walks for both."""
        if at.topic != topics.LIFECYCLE:
            return ()
        return await self._store.unclosed_page(at.partition, after, page_max)
