"""Looks for runs that go on without a word, and asks about them: a page a turn, progress in their rows."""

from collections.abc import Collection
from datetime import timedelta

from outlast import limits
from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.topics import TopicPartition
from outlast.runtime.work import Turn
from outlast_finalizer import metrics
from outlast_finalizer.core.watchdog import Patience, next_check
from outlast_finalizer.outbound import WORKFLOW, Ended, ask
from outlast_finalizer.store import Changes, FinalizerStore

LOOK_SECONDS_MAX = 30.0
"""Between two looks, where the last one found no full page."""


class WatchdogAgenda:
    """What the loop does of its own accord (outlast.runtime.work.Agenda).

    A question that is lost is asked again after the next pause; asked twice it changes nothing.
    """

    def __init__(self, store: FinalizerStore, clock: Clock, patience: Patience) -> None:
        self._store = store
        self._clock = clock
        self._patience = patience
        self._pause = min(patience.silent_after / 4, timedelta(seconds=LOOK_SECONDS_MAX))
        self._look_at = clock.now()

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """In how many seconds to look again; None while no lane is ours."""
        if not _lanes(owned):
            return None
        return max(0.0, (self._look_at - self._clock.now()).total_seconds())

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """Ask about a page of the runs whose time has come."""
        now = self._clock.now()
        lanes = _lanes(owned)
        if now < self._look_at or not lanes:
            return None
        page = await self._store.silent(lanes, now, limits.OPEN_PAGE_MAX)
        if len(page) < limits.OPEN_PAGE_MAX:
            self._look_at = now + self._pause
        if not page:
            return None
        turn = Turn(
            Changes(
                checked={each.execution_id: next_check(each.told_at, now, self._patience) for each in page}
            )
        )
        for each in page:
            turn.touched.add(TopicPartition(topics.LIFECYCLE, each.lane))
            if each.is_running:
                metrics.SILENT_ASKED.labels(each.mode).inc()
                about = Ended(each.lane, each.company_id, each.runbook_id, False, each.mode == WORKFLOW)
                turn.outgoing.append(ask(each.execution_id, about))
        return turn


def _lanes(owned: Collection[TopicPartition]) -> list[int]:
    return sorted(at.partition for at in owned if at.topic == topics.LIFECYCLE)
