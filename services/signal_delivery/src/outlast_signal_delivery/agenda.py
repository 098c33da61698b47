"""What is done without a message: signals without an answer are sent again, and closed when their time is over.

At most one look at the database a second, and only when something is known to be open; without that a look every
half minute, for what another process recorded and could not say.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.topics import TopicPartition
from outlast.runtime.work import Turn
from outlast_signal_delivery.core.delivery import RANKS, resend_seconds
from outlast_signal_delivery.limits import DUE_MAX, LOOK_SECONDS_MAX, LOOK_SECONDS_MIN
from outlast_signal_delivery.outbound import deliver
from outlast_signal_delivery.store import Changes, Said, Sending, Sent, SignalStore
from outlast_signal_delivery.work import PartitionCount, is_addressable


class SignalAgenda:
    """What the loop asks between its batches (outlast.runtime.work.Agenda)."""

    def __init__(self, store: SignalStore, partition_count: PartitionCount, clock: Clock) -> None:
        self._store = store
        self._partition_count = partition_count
        self._clock = clock
        self._looked_at = float("-inf")
        self._next_at = float("-inf")
        """When to look next, on the monotonic clock."""
        self._seen: frozenset[int] = frozenset()

    def expect(self, seconds: float) -> None:
        """Something will be due in so many seconds."""
        self._next_at = min(self._next_at, self._clock.monotonic() + seconds)

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """Until the next look."""
        mine = _signals_of(owned)
        self._seen &= mine  # what comes back was somebody else's meanwhile
        if not mine:
            return None
        if not mine <= self._seen:
            return 0.0
        at = max(self._next_at, self._looked_at + LOOK_SECONDS_MIN)
        return max(0.0, at - self._clock.monotonic())

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """Send again and close what is due; one page of it."""
        if self.due_seconds(owned) != 0.0:
            return None
        mine = _signals_of(owned)
        count = await self._partition_count(topics.SIGNALS)
        now = self._clock.now()
        due = await self._store.due(now, mine, count, DUE_MAX)
        self._looked_at = self._clock.monotonic()
        self._next_at = self._looked_at + _pause_seconds(now, due.next_at)
        self._seen = mine
        if not due.sendings and not due.expired:
            return None
        engine_partitions = await self._partition_count(topics.ENGINE_INBOX)
        changes = Changes(now)
        turn = Turn(changes)
        for each in due.sendings:
            self._send_again(each, engine_partitions, turn, changes)
            _name(turn, each.bucket % count, each.delivery_id)
        changes.expired = [name for name, _ in due.expired]
        for name, bucket in due.expired:
            _name(turn, bucket % count, name)
        return turn

    def _send_again(self, each: Sending, engine_partitions: int, turn: Turn, changes: Changes) -> None:
        if not is_addressable(each, engine_partitions):
            changes.said.append(Said(each.delivery_id, each.execution_id, "unknown", RANKS["unknown"]))
            return
        attempts = each.attempts + 1
        due_at = changes.now + timedelta(seconds=resend_seconds(attempts))
        changes.sent.append(Sent(each.delivery_id, each.execution_id, attempts, due_at))
        turn.outgoing.append(deliver(each))


def _name(turn: Turn, partition: int, name: str) -> None:
    at = TopicPartition(topics.SIGNALS, partition)
    turn.touched.add(at)
    names = turn.pending.setdefault(at, [])
    if not names or names[-1] != name:
        names.append(name)


def _signals_of(owned: Collection[TopicPartition]) -> frozenset[int]:
    return frozenset(at.partition for at in owned if at.topic == topics.SIGNALS)


def _pause_seconds(now: datetime, next_at: datetime | None) -> float:
    if next_at is None:
        return LOOK_SECONDS_MAX
    return min(LOOK_SECONDS_MAX, max(0.0, (next_at - now).total_seconds()))
