"""The timer scheduler's two duties on one loop: the timers of waiting runs, and the schedules of runbooks."""

from collections.abc import Collection, Sequence

from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_timer_scheduler.cron_work import CronTurn, CronWork
from outlast_timer_scheduler.work import TimerWork


class Duties:
    """What the loop drives (outlast.runtime.work: Work, and Agenda). Commands concern timers alone."""

    def __init__(self, timers: TimerWork, schedules: CronWork) -> None:
        self._timers = timers
        self._schedules = schedules
        self._first: tuple[TimerWork | CronWork, TimerWork | CronWork] = (timers, schedules)
        """In turns, so that a herd of one kind does not hold up the other."""

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Which timers are new, which are gone."""
        return await self._timers.decide(messages)

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store what one of the two has decided."""
        if isinstance(turn.changes, CronTurn):
            await self._schedules.commit(turn.changes, moves)
        else:
            await self._timers.commit(turn, moves)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """All of these is read again."""
        self._timers.forget(partitions)
        self._schedules.forget(partitions)

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """Firings of schedules, once more; timers fire from their rows."""
        return await self._schedules.derive(at, pending)

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """The last day's firings of schedules; timers fire from their rows."""
        return await self._schedules.outstanding_page(at, after, page_max)

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """In how many seconds either has something to do."""
        both = (self._timers.due_seconds(owned), self._schedules.due_seconds(owned))
        return min((each for each in both if each is not None), default=None)

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """What is due of one of the two."""
        first, second = self._first
        self._first = (second, first)
        return await first.act(owned) or await second.act(owned)
