"""The attempts in hand, from being asked for to being settled: looked up, waiting, in flight, suspected, put off.

First tries of first attempts are claimed without a look-up: the insert tells by what it did not insert which of them
had been claimed before, and those are looked up. Everything else is looked up first.
"""

import heapq
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from outlast import limits
from outlast.clock import Clock
from outlast.runtime.logging import get_logger
from outlast_action_executor.calls import Caller
from outlast_action_executor.core.caps import Caps, WaitingRoom
from outlast_action_executor.core.claim import Answer, Call, Defer, Instance, Row, Unknown, decide
from outlast_action_executor.inbound import Activity, Attempt, Run
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.outbound import Finished
from outlast_action_executor.ports import Ledger, NewClaim

SUSPECT_TAKEOVERS = 3
"""A claim that was taken over so often is called beside no other such claim."""

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class _InFlight:
    """An attempt that this process has claimed, or is about to, until its result is settled."""

    activity: Activity
    joined: list[Activity] = field(default_factory=list[Activity])
    """The same attempt, asked for again meanwhile: answered together."""


class Told(NamedTuple):
    """A result for all who asked for that attempt."""

    activities: Sequence[Activity]
    result: Finished


class Attempts:
    """Who asked for what, and how far it is. Claims and results are committed by the loop that owns this."""

    def __init__(
        self, me: Instance, caller: Caller, clock: Clock, metrics: ExecutorMetrics, caps: Caps
    ) -> None:
        self._me = me
        self._caller = caller
        self._clock = clock
        self._metrics = metrics
        self._room: WaitingRoom[Activity] = WaitingRoom(caps)
        self._has_new = False
        self._unexamined: list[Activity] = []
        self._deferred: list[tuple[float, int, Activity]] = []
        self._deferrals = 0
        self._in_flight: dict[Attempt, _InFlight] = {}
        self._suspects: deque[Activity] = deque()
        self._suspect_called: Attempt | None = None
        self.finished: list[Finished] = []
        """Calls that have ended and are not settled yet."""

    @property
    def in_flight(self) -> int:
        """How many are claimed, or about to be, and not settled."""
        return len(self._in_flight)

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs or waits to be settled."""
        return not (self._in_flight or self.finished)

    @property
    def is_urgent(self) -> bool:
        """Whether there is something to do at once."""
        is_suspect_next = bool(self._suspects) and self._suspect_called not in self._in_flight
        return bool(self.finished or self._unexamined or self._has_new or is_suspect_next)

    @property
    def due_at(self) -> float | None:
        """When the next one that was put off is looked up again (monotonic)."""
        return self._deferred[0][0] if self._deferred else None

    def add(self, activity: Activity) -> None:
        """Somebody asks for it."""
        running = self._in_flight.get(activity.key)
        if running is not None:
            running.joined.append(activity)
        elif activity.key.attempt > 1 or activity.was_tried:
            self._unexamined.append(activity)
        else:
            self._has_new = True
            self._room.add(activity)

    def forget_lost(self) -> None:
        """Partitions were lost: what was not begun for them is forgotten."""
        self._room.forget(_is_lost)

    def withdraw(self, run: Run) -> Sequence[Activity]:
        """What the run asked for and nobody has begun, here or in an earlier life: it is not begun any more."""
        withdrawn: list[Activity] = []

        def is_withdrawn(activity: Activity) -> bool:
            if activity.run is not run or activity.over is not None:
                return False
            withdrawn.append(activity)
            return True

        self._room.forget(is_withdrawn)
        return withdrawn

    def recall_deferred(self) -> None:
        """Those whose time has come are looked up again."""
        now = self._clock.monotonic()
        while self._deferred and self._deferred[0][0] <= now:
            self._unexamined.append(heapq.heappop(self._deferred)[2])

    # ---- what the ledger says --------------------------------------------------------------------------------

    async def examine(self, ledger: Ledger) -> Sequence[tuple[Activity, Row]]:
        """Look up those that may have been tried before, and decide. Returns those that are answered from a row."""
        asked = [each for each in self._unexamined if not each.item.partition.is_lost]
        self._unexamined = []
        if not asked:
            return ()
        try:
            found = await ledger.look_up([each.key.of for each in asked])
        except BaseException:
            self._unexamined = asked
            raise
        answered: list[tuple[Activity, Row]] = []
        for activity, rows in zip(asked, found, strict=True):
            if activity.item.partition.is_lost:
                continue
            running = self._in_flight.get(activity.key)
            if running is not None:
                running.joined.append(activity)
                continue
            match decide(activity.question(), rows, self._me):
                case Answer(row):
                    self._metrics.answered()
                    answered.append((activity, row))
                case Defer(seconds):
                    self._defer(activity, seconds)
                case Call(over):
                    activity.over, activity.resolution = over, None
                    self._room.add(activity)
                case Unknown(over, resolution):
                    activity.over, activity.resolution = over, resolution
                    self._queue_unknown(activity)
        return answered

    def _defer(self, activity: Activity, seconds: float) -> None:
        self._metrics.deferred()
        self._deferrals += 1
        entry = (self._clock.monotonic() + seconds + 0.01, self._deferrals, activity)
        heapq.heappush(self._deferred, entry)

    def _queue_unknown(self, activity: Activity) -> None:
        """A claim that was taken over several times may be what kills us: such are called one at a time."""
        if activity.over is not None and activity.over.takeovers >= SUSPECT_TAKEOVERS:
            self._suspects.append(activity)
        else:
            self._room.add(activity)

    # ---- claims and results ----------------------------------------------------------------------------------

    def startable(self) -> list[Activity]:
        """Those that may start now, each attempt once; from here on they are in flight."""
        self._has_new = False
        starting: list[Activity] = []
        for activity in [*self._next_suspect(), *self._room.take()]:
            running = self._in_flight.get(activity.key)
            if running is None:
                self._in_flight[activity.key] = _InFlight(activity)
                starting.append(activity)
            else:
                running.joined.append(activity)
                self._room.release(activity)
        return starting

    def _next_suspect(self) -> list[Activity]:
        while self._suspects and self._suspect_called not in self._in_flight:
            suspect = self._suspects.popleft()
            if not suspect.item.partition.is_lost:
                self._suspect_called = suspect.key
                self._room.start(suspect)
                return [suspect]
        return []

    def not_claimed(self, starting: Sequence[Activity]) -> None:
        """The commit of their claims failed, or nobody knows; whoever asks again finds out."""
        for activity in starting:
            del self._in_flight[activity.key]
            self._room.release(activity)

    def claimed(
        self, activity: Activity, is_ours: bool | None, asked_at: float
    ) -> Coroutine[object, object, None] | Told | None:
        """The call of an attempt that is ours now; or what is told at once; None if somebody else has claimed it."""
        if is_ours:
            return self._call(activity, asked_at)
        self._room.release(activity)
        flight = self._in_flight.pop(activity.key)
        if is_ours is None:
            return Told([activity, *flight.joined], self._caller.refuse(activity))
        self._unexamined += [activity, *flight.joined]
        return None

    def settled(self, each: Finished, is_ours: bool) -> Told | None:
        """Whom to tell of a result that is recorded; None if another one is."""
        flight = self._in_flight.pop(each.activity.key)
        together = [flight.activity, *flight.joined]
        if is_ours:
            return Told(together, each)
        self._metrics.late(each.activity.asked.action)
        self._unexamined += together
        return None

    async def _call(self, activity: Activity, asked_at: float) -> None:
        """Run one claimed attempt, and leave its result to be settled.

        A process that stood still since it asked for the claim may have lost it: it does not call, and asks anew.
        """
        if self._clock.monotonic() - asked_at > limits.CLAIM_BEGIN_SECONDS:
            log.warning(
                "claim_is_old", execution=activity.asked.execution_id, activity=activity.asked.activity_id
            )
            self._room.release(activity)
            self._unexamined += [activity, *self._in_flight.pop(activity.key).joined]
            return
        self.finished.append(await self._caller.call(activity))
        self._room.release(activity)


def _is_lost(activity: Activity) -> bool:
    return activity.item.partition.is_lost


def new_claim(activity: Activity) -> NewClaim:
    """The claim of an attempt, for the time of its call and what settling may take."""
    seconds = (
        min(activity.asked.timeout_seconds, limits.ACTIVITY_TIMEOUT_SECONDS_MAX) + limits.CLAIM_MARGIN_SECONDS
    )
    return NewClaim(activity.key.of, activity.key.attempt, seconds, activity.resolution, activity.over)
