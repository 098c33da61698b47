"""Signal delivery's work: record, send until answered, match with who waits, note the verdicts.

Every signal is a row with one target row a run. A target is sent when it is made, and again with back-off until its
verdict is known; a signal with a key gets more targets while it is open, as runs come to wait for it. Signals and
subscriptions with one key are stored under one lock, so neither misses the other, whoever owns their partitions.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from outlast import ids
from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.messages import SignalMessage, SignalRequest, SignalVerdict, Subscribe, Unsubscribe
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError, TransientError
from outlast.messaging.partitioner import murmur2
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import traceparent_of
from outlast.runtime.work import Turn
from outlast_signal_delivery import metrics
from outlast_signal_delivery.core.delivery import NOT_FINAL, RANKS, delivery_id
from outlast_signal_delivery.inbound import read
from outlast_signal_delivery.outbound import deliver, traceparent_for
from outlast_signal_delivery.records import Runs
from outlast_signal_delivery.store import Changes, Committed, NewSignal, Said, Sending, SignalStore

PartitionCount = Callable[[str], Awaitable[int]]
log = get_logger(__name__)


class SignalWork:
    """What the loop drives (outlast.runtime.work.Work)."""

    def __init__(
        self,
        store: SignalStore,
        runs: Runs,
        partition_count: PartitionCount,
        clock: Clock,
        committed: Callable[[Committed], None],
    ) -> None:
        self._store = store
        self._runs = runs
        self._partition_count = partition_count
        self._clock = clock
        self._committed = committed
        """Told what every commit brought up: answers that somebody waits for, sendings to look after."""

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Read the batch; ask for the records of runs that the engine does not know."""
        changes = Changes(self._clock.now())
        turn = Turn(changes)
        waits: dict[tuple[str, str], Subscribe | Unsubscribe] = {}
        verdicts: list[SignalVerdict] = []
        for received in messages:
            try:
                message = read(received)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            self._take(received, message, turn, changes)
            if isinstance(message, SignalVerdict):
                verdicts.append(message)
            elif isinstance(message, Subscribe | Unsubscribe):
                waits[message.execution_id, message.activity_id] = message
        changes.subscribed = [each for each in waits.values() if isinstance(each, Subscribe)]
        changes.unsubscribed = [each for each in waits.values() if isinstance(each, Unsubscribe)]
        changes.said = strongest([*await self._unaddressable(changes.signals), *await self._said(verdicts)])
        return turn

    def _take(self, received: Received, message: SignalMessage, turn: Turn, changes: Changes) -> None:
        match message:
            case SignalRequest():
                signal = new_signal(message, traceparent_of(received.headers))
                changes.signals.append(signal)
                turn.pending.setdefault(received.at, []).append(signal.delivery_id)
            case Subscribe():
                turn.pending.setdefault(received.at, []).append(message.execution_id)
            case Unsubscribe() | SignalVerdict():
                pass

    async def _unaddressable(self, signals: Sequence[NewSignal]) -> list[Said]:
        """Executions that cannot be were never born."""
        named = [each for each in signals if each.request.execution_id]
        if not named:
            return []
        count = await self._partition_count(topics.ENGINE_INBOX)
        return [
            Said(each.delivery_id, each.request.execution_id, "unknown", RANKS["unknown"])
            for each in named
            if not is_run(each.request.execution_id, count)
        ]

    async def _said(self, verdicts: Sequence[SignalVerdict]) -> list[Said]:
        """The verdicts with their ranks. "unknown" counts for little while a record of the run exists."""
        unknown = {(each.company_id, each.execution_id) for each in verdicts if each.verdict == "unknown"}
        recorded = await self._recorded(unknown)
        return [
            Said(
                delivery_id(each.company_id, each.signal_id),
                each.execution_id,
                each.verdict,
                NOT_FINAL
                if each.verdict == "unknown" and (each.company_id, each.execution_id) in recorded
                else RANKS[each.verdict],
            )
            for each in verdicts
        ]

    async def _recorded(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        if not asked:
            return ()
        try:
            return await self._runs.known(asked)
        except TransientError as fault:
            log.warning("records_away", error=str(fault), runs=len(asked))
            return asked  # nothing is final that cannot be looked up; it is asked again

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store all; then send what is new to whom it is for."""
        changes = turn.changes
        assert isinstance(changes, Changes)
        done = await self._store.commit(changes, moves)
        turn.outgoing += [deliver(each) for each in done.sendings]
        for each in changes.signals:
            if each.delivery_id in done.new:
                metrics.received.labels("execution" if each.request.execution_id else "key").inc()
        metrics.sent.labels("first").inc(len(done.sendings))
        metrics.sent.labels("again").inc(len(changes.sent))
        metrics.expired.inc(len(changes.expired))
        for _, verdict in done.verdicts:
            metrics.verdicts.labels(verdict).inc()
        self._committed(done)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """What has no last word yet, of these signals; what has no answer, to these runs that came to wait."""
        if at.topic == topics.SIGNALS:
            found = await self._store.open_targets(pending, ())
        elif at.topic == topics.SUBSCRIPTIONS:
            found = await self._store.open_targets((), pending)
        else:
            return []
        count = await self._partition_count(topics.ENGINE_INBOX)
        return [deliver(each) for each in found if is_addressable(each, count)]

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Signals of this partition without a last word."""
        if at.topic != topics.SIGNALS:
            return ()
        count = await self._partition_count(topics.SIGNALS)
        return await self._store.outstanding_page(at.partition, count, after, page_max)


def new_signal(request: SignalRequest, traceparent: str) -> NewSignal:
    """The row that a request makes."""
    return NewSignal(
        delivery_id(request.company_id, request.signal_id),
        request,
        murmur2(request.signal_id.encode()) & 0x7FFFFFFF,
        traceparent or traceparent_for(request.company_id, request.signal_id),
    )


def is_addressable(sending: Sending, engine_partitions: int) -> bool:
    """Whether there can be such a run."""
    return is_run(sending.execution_id, engine_partitions)


def is_run(execution_id: str, engine_partitions: int) -> bool:
    """Whether it is a run's id, and its partition exists; else no such run was ever born, and none would answer."""
    return execution_id[14] == "8" and ids.engine_partition(execution_id) < engine_partitions


def strongest(said: Iterable[Said]) -> list[Said]:
    """The word of the highest rank on each (signal, run)."""
    best: dict[tuple[str, str], Said] = {}
    for each in said:
        known = best.get((each.delivery_id, each.execution_id))
        if known is None or known.rank < each.rank:
            best[each.delivery_id, each.execution_id] = each
    return list(best.values())
