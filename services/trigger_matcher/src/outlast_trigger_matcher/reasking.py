"""What is done without a message: questions without an answer are asked again, what is over is ended, what may go goes.

One cheap look a second while nothing is held back anywhere; a few looks a second while something is. Nothing is
remembered here but when to look next: the rows say what is due.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.messages import Origin
from outlast.contracts.topics import TopicPartition
from outlast.runtime.logging import get_logger
from outlast.runtime.work import Turn
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.births import Firing
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.core.rows import Dispatch
from outlast_trigger_matcher.intake import Knowledge
from outlast_trigger_matcher.ports import LanesStore, Plan, Pressing

UNANSWERED = timedelta(seconds=2)
"""A question without an answer, or a free slot with a queue behind it, for so long: asked again."""
IDLE_SECONDS = 1.0
PRESSING_SECONDS = 0.25
DEFERRED_SECONDS = 0.02
"""After runs have ended while a company's firings wait for room: several ends are one look."""
RECONCILE_SECONDS = 30.0
PAGE_MAX = 500
DEFERRED_MAX = 2_000
REST = 4.0
"""Of the time that a look took: so long at least until the next, however much presses."""
ENTRIES_KEPT = timedelta(days=1)
"""After its window is over, an entry may still count for an event that is taken in late."""
PRUNED_MAX = 5_000

log = get_logger(__name__)


class LanesAgenda:
    """What the loop over the lanes asks between its batches (outlast.runtime.work.Agenda)."""

    def __init__(self, store: LanesStore, pressing: Pressing, known: Knowledge, clock: Clock) -> None:
        self._store = store
        self._pressing = pressing
        self._known = known
        self._clock = clock
        self._next_at = self._rested_at = float("-inf")
        self._reconcile_at = float("-inf")
        self._seen: frozenset[int] = frozenset()
        self._has_deferred = False

    def runs_ended(self) -> None:
        """There may be room again for firings that were deferred."""
        if self._has_deferred:
            soon = max(self._rested_at, self._clock.monotonic() + DEFERRED_SECONDS)
            self._next_at = min(self._next_at, soon)

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """Until the next look; at once at lanes that are new here."""
        lanes = _lanes(owned)
        if not lanes:
            return None
        if lanes != self._seen:
            return 0.0
        return max(0.0, self._next_at - self._clock.monotonic())

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """What is due, a page of each kind."""
        if self.due_seconds(owned) != 0.0:
            return None
        lanes = _lanes(owned)
        began_at, plan = self._clock.monotonic(), Plan(now=self._clock.now())
        turn = Turn(plan)
        pause_seconds = IDLE_SECONDS
        if await self._pressing.has_any(lanes):
            pause_seconds = await self._press(lanes, plan)
        if self._clock.monotonic() >= self._reconcile_at:
            reconcile_seconds = await self._reconcile(lanes, plan)
            self._reconcile_at = self._clock.monotonic() + reconcile_seconds
        self._seen, now = lanes, self._clock.monotonic()
        self._rested_at = now + REST * (now - began_at)
        self._next_at = max(self._rested_at, now + pause_seconds)
        if not plan.wanted and not plan.again:
            return None
        turn.touched = {TopicPartition(topics.LIFECYCLE, lane) for lane in lanes}
        # Whoever owns any of the lanes can say again what rows of all of them have to say.
        turn.pending[min(turn.touched)] = [*plan.wanted, *(row.id for row in plan.again)]
        return turn

    async def _press(self, lanes: frozenset[int], plan: Plan) -> float:
        pressing, before = self._pressing, plan.now - UNANSWERED
        await self._hold_back(lanes, plan)
        for each in await pressing.expired(lanes, plan.now, PAGE_MAX):
            plan.do(each, partial(Board.expire, execution_id=each))
        asked = list(await pressing.unanswered(lanes, before, PAGE_MAX))
        heads = await pressing.unserved(lanes, before, PAGE_MAX)
        for each in (*asked, *heads):
            plan.do(each, partial(Board.ask_again, execution_id=each))
        metrics.ASKED_AGAIN.inc(len(asked) + len(heads))
        await self._make_use_of_room(lanes, plan)
        await self._run_suppressed(lanes, plan)
        return PRESSING_SECONDS

    async def _make_use_of_room(self, lanes: frozenset[int], plan: Plan) -> None:
        """What was deferred goes as far as its company has room; and what was held, when an engine is there again."""
        limit, is_back = self._known.flights.limit, not self._known.births.engines.is_degraded(plan.now)
        ready = await self._pressing.deferred(lanes, limit, DEFERRED_MAX, with_held=is_back)
        self._has_deferred = bool(ready)
        self._let_go(ready, plan)
        has_seen_all = len(ready) < DEFERRED_MAX  # else there may be room for more than were let go
        held = await self._pressing.held(lanes, PAGE_MAX) if is_back and has_seen_all else ()
        for each in held:
            if each not in plan.wanted:
                plan.do(each, partial(Board.defer, execution_id=each))

    async def _hold_back(self, lanes: frozenset[int], plan: Plan) -> None:
        """What is not sent of runbooks that may not fire any more."""
        for runbook in await self._pressing.runbooks(lanes):
            objection = self._known.births.breakers.standing(*runbook[1:]).objection
            if objection:
                for each in await self._pressing.unsent(runbook, PAGE_MAX):
                    plan.do(each, partial(Board.suppress, execution_id=each, reason=objection))

    def _let_go(self, executions: Sequence[str], plan: Plan) -> None:
        for each in executions:
            step = partial(Board.proceed, execution_id=each, standing=self._known.births.breakers.standing)
            plan.do(each, step)

    async def _run_suppressed(self, lanes: frozenset[int], plan: Plan) -> None:
        """Firings that were suppressed and are run after all: each as a new execution that names the old one."""
        breakers = self._known.births.breakers
        # An order that came before the reset waits for it, and one that the next trip overtook for the next reset.
        found = await self._pressing.to_run(lanes, breakers.open(), PAGE_MAX)
        if not found:
            return
        rows = await self._store.rows(found)
        await self._known.flights.count({row.start.company_id for row in rows})
        for row in rows:
            stands = breakers.standing(*row.runbook)
            if not stands.is_active:
                log.warning("command_without_target", kind="run_suppressed", target=row.id)
                metrics.COMMANDS_UNKNOWN.labels("run_suppressed").inc()
                plan.do(row.id, partial(Board.drop_answer, execution_id=row.id))
            elif not stands.is_open:
                plan.again.append(self._born_again(row, plan))
                plan.do(row.id, partial(Board.answer, execution_id=row.id))

    def _born_again(self, row: Dispatch, plan: Plan) -> Dispatch:
        payload = bytes(row.start.payload)
        origin = Origin(started_by=row.answered_by, instead_of=row.id)
        firing = Firing(
            row.start.company_id, row.start.event, int(plan.now.timestamp() * 1000), plan.now, payload,
            msgspec.json.decode(payload), row.start.traceparent, row.start.chain, (), origin,
        )  # fmt: skip
        known = self._known.runbooks.known(*row.runbook)
        return self._known.births.row(firing, known, plan.now)

    async def _reconcile(self, lanes: frozenset[int], plan: Plan) -> float:
        """Slots of runs that are over: there are none, or something is wrong and is said. Old entries are forgotten.

        In how many seconds to look again: soon where there was more than a page of them.
        """
        leaked = await self._pressing.leaked(lanes, PAGE_MAX)
        if leaked:
            metrics.SLOTS_LEAKED.inc(len(leaked))
            log.error("slots_leaked", count=len(leaked), first=leaked[0])
        for each in leaked:
            plan.do(each, partial(Board.finish, execution_id=each))
        pruned = await self._pressing.prune(plan.now - ENTRIES_KEPT, PRUNED_MAX)
        return RECONCILE_SECONDS if max(pruned / PRUNED_MAX, len(leaked) / PAGE_MAX) < 1 else IDLE_SECONDS


def _lanes(owned: Collection[TopicPartition]) -> frozenset[int]:
    return frozenset(at.partition for at in owned if at.topic == topics.LIFECYCLE)
