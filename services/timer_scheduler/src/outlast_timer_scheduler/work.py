"""The timer scheduler's work: keep timers, and say `timer_due` to the engine when the time of one has come.

A timer is fired in this order: say it, wait until the broker has it, delete the row under the fence. Whoever dies in
between leaves a row that fires again; the engine refuses the second. A timer that is started again after it fired
fires again at once: so the engine asks for a firing that was lost.

What is held in memory follows the rows: it changes after a commit, and after a failure it is forgotten and read anew.
"""

from collections.abc import Collection, Sequence

from outlast import ids, limits
from outlast.clock import Clock
from outlast.contracts import codec, topics
from outlast.contracts.messages import TimerDue
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.tracing import trace_headers, traceparent_of
from outlast.runtime.work import Turn
from outlast_timer_scheduler import inbound, metrics
from outlast_timer_scheduler.core.commands import Changes
from outlast_timer_scheduler.core.due import Timer, Upcoming, take_fairly
from outlast_timer_scheduler.store import TimerStore


class TimerWork:
    """What the loop drives (outlast.runtime.work: Work, and Agenda)."""

    def __init__(self, store: TimerStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._upcoming: dict[TopicPartition, Upcoming] = {}
        """Of the partitions that were read since they were acquired."""

    # ---- commands --------------------------------------------------------------------------------------------

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Which timers are new, which are gone."""
        changes = Changes()
        turn = Turn(changes)
        for received in messages:
            try:
                command = inbound.read(received)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            changes.apply(command, received.partition, traceparent_of(received.headers))
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the changes; then what is held in memory follows."""
        changes = turn.changes
        assert isinstance(changes, Changes)
        now = self._clock.now()
        stored = await self._store.commit(changes, moves)
        if changes.fired:  # these were taken out before they were said
            metrics.FIRED.inc(len(changes.fired))
            for timer in changes.fired:
                metrics.LATENESS_SECONDS.observe(max(0.0, (now - timer.fire_at).total_seconds()))
        else:
            metrics.CANCELLED.inc(len(stored.ended))
            for partition, timer in stored.ended:
                upcoming = self._upcoming.get(_at(partition))
                if upcoming is not None:
                    upcoming.remove(timer)
        metrics.STARTED.inc(len(stored.started))
        for partition, timer in stored.started:
            upcoming = self._upcoming.get(_at(partition))
            if upcoming is not None:
                upcoming.add(timer)
        self._count_held()

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """The timers of these are read again before they fire."""
        for at in partitions:
            self._upcoming.pop(at, None)
        self._count_held()

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """Nothing: what is due is said before it is stored."""
        return []

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: timers fire from their rows, and the engine asks again for the others."""
        return ()

    # ---- what is due -----------------------------------------------------------------------------------------

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """In how many seconds a timer fires or a page is wanted; 0 for a partition that was not read yet."""
        if not owned:
            return None
        if any(at not in self._upcoming for at in owned):
            return 0.0
        next_at = min(self._upcoming[at].next_at() for at in owned)
        return max(0.0, (next_at - self._clock.now()).total_seconds())

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """Read ahead where it is time, and say a bounded part of what is due, of each partition its share."""
        now = self._clock.now()
        upcoming = {at: self._upcoming.setdefault(at, _nothing_read(at)) for at in owned}
        await self._read_ahead(list(upcoming.values()))
        taken = take_fairly(upcoming.values(), now, limits.TIMERS_FIRED_MAX)
        fired = [timer for timers in taken for timer in timers]
        if not fired:
            return None
        return Turn(
            Changes(fired=fired),
            answers=[_due(timer) for timer in fired],
            touched={at for at, timers in zip(upcoming, taken, strict=True) if timers},
        )

    async def _read_ahead(self, upcoming: Sequence[Upcoming]) -> None:
        now = self._clock.now()
        asks = {each.partition: (each, ask) for each in upcoming if (ask := each.ask(now)) is not None}
        if not asks:
            return
        pages: dict[int, list[Timer]] = {partition: [] for partition in asks}
        for partition, timer in await self._store.pages([ask for _, ask in asks.values()]):
            pages[partition].append(timer)
        for partition, (each, ask) in asks.items():
            each.enter(ask, pages[partition])
        self._count_held()

    def _count_held(self) -> None:
        metrics.HELD.set(sum(len(each) for each in self._upcoming.values()))


def _nothing_read(at: TopicPartition) -> Upcoming:
    return Upcoming(at.partition, limits.TIMERS_HELD_MAX)


def _at(partition: int) -> TopicPartition:
    return TopicPartition(topics.TIMER_COMMANDS, partition)


def _due(timer: Timer) -> Outgoing:
    message = TimerDue(execution_id=timer.execution_id, timer_id=timer.timer_id, fire_at=timer.fire_at)
    return Outgoing(
        topics.ENGINE_INBOX,
        codec.encode(message),
        timer.execution_id.encode(),
        ids.engine_partition(timer.execution_id),
        trace_headers(timer.traceparent),
    )
