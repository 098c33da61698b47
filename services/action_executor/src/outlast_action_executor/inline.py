"""Inline runs: whole runs in one process, by the shared interpreter and the ledger of all activities.

A start comes → looked up (a run that has ended is answered as it ended) → its course begins → each activity that it
asks for is claimed, called and settled like any other → its result goes back to the course → the end is recorded →
said → acknowledged → the start's offset passes. So a run that was cut off comes again with its message, its course is
fed from the ledger as far as that goes, and the call that was in flight is resolved there as unknown.

Only the end is a row of its own: who asks again after it is told the same, whatever a release or a late cancellation
would make of the run today. Pauses between attempts are in memory; one that stood before an attempt which the ledger
has is not waited for again.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, assert_never

import msgspec

from outlast import limits
from outlast.clock import from_milliseconds
from outlast.contracts import codec
from outlast.contracts.messages import (
    ActionError,
    ActivityResult,
    Cancel,
    Finished,
    InlineMessage,
    RunActivity,
    Start,
    Started,
    StartTimer,
)
from outlast.errors import ContractError
from outlast.messaging.dead_letter import dead_letter
from outlast.messaging.ports import Outgoing, Received
from outlast.runbooks.definition import Runbook
from outlast.runbooks.pinned import load_pinned
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import trace_id
from outlast_action_executor import inbound, outbound
from outlast_action_executor.attempts import Attempts
from outlast_action_executor.core.course import SHADOW, Course, Next
from outlast_action_executor.delivery import Delivery
from outlast_action_executor.inbound import Item, Run
from outlast_action_executor.metrics import InlineMetrics
from outlast_action_executor.ports import Ports, RunEnd

log = get_logger(__name__)


class Ended(NamedTuple):
    """A run whose end is not recorded yet."""

    run: Run
    end: RunEnd


class InlineRuns:
    """The inline runs in hand. What they want of activities goes to `attempts`, what they say to `delivery`."""

    def __init__(
        self, ports: Ports, attempts: Attempts, delivery: Delivery, metrics: InlineMetrics, service: str
    ) -> None:
        self._ledger, self._runner, self._clock = ports.ledger, ports.runner, ports.clock
        self._attempts = attempts
        self._delivery = delivery
        self._metrics = metrics
        self._service = service
        self._in_hand: dict[str, Run] = {}
        self._arrived: list[Run] = []
        self._pauses: list[tuple[float, int, Run, str]] = []
        self._pauses_made = 0
        self._runbooks = Runbooks()
        self.ends: list[Ended] = []
        """Ends that the next commit is to record."""

    @property
    def is_urgent(self) -> bool:
        """Whether there is something to do at once."""
        return bool(self._arrived or self.ends)

    @property
    def due_at(self) -> float | None:
        """When the next pause is over (monotonic)."""
        return self._pauses[0][0] if self._pauses else None

    # ---- what arrives ----------------------------------------------------------------------------------------

    def take(self, item: Item, asked: InlineMessage, received: Received) -> None:
        """A start or a cancellation: of a run in hand, or of one that is not."""
        run = self._in_hand.get(asked.execution_id)
        match asked:
            case Start() if run is None:
                run = Run(item, asked, len(received.value or b""), received)
                self._in_hand[asked.execution_id] = run
                item.partition.runs += 1
                item.partition.run_bytes += run.bytes
                self._arrived.append(run)
                self._metrics.in_hand(len(self._in_hand))
            case Start():
                assert run is not None
                run.joined.append(item)
            case Cancel() if run is None or run.start.company_id != asked.company_id:
                self._metrics.cancel_ignored()
                item.is_done = True
            case Cancel():
                assert run is not None
                run.joined.append(item)
                run.cancels.append((asked, from_milliseconds(received.timestamp_ms)))
                self._cancel(run)
            case _:
                assert_never(asked)

    def forget_lost(self) -> None:
        """Partitions were lost: their runs go on elsewhere, or here when they come again."""
        for run in [each for each in self._in_hand.values() if each.is_lost]:
            self._drop(run)
        self._arrived = [run for run in self._arrived if not run.is_lost]
        self._pauses = [pause for pause in self._pauses if not pause[2].is_lost]
        heapq.heapify(self._pauses)
        self.ends = [ended for ended in self.ends if not ended.run.is_lost]

    async def begin(self, *, is_draining: bool) -> None:
        """Begin those that have come, a bounded number a turn; answer those that have ended before."""
        if not self._arrived or is_draining:
            return
        arrived = self._arrived[: limits.INLINE_BEGUN_MAX]
        known = await self._ledger.look_up_runs([run.start.execution_id for run in arrived])
        del self._arrived[: len(arrived)]
        for run in arrived:
            if run.is_lost:
                continue
            row = known.get(run.start.execution_id)
            if row is not None and row.end is not None:
                self._metrics.answered()
                self._say_end(run, row.end)
                continue
            run.tried = () if row is None else row.tried
            self._begin(run)

    def _begin(self, run: Run) -> None:
        start, received = run.start, run.received
        assert received is not None, "kept until it begins"
        course = Course(start, self._runbooks.get(start))
        try:
            wanted = course.begin(from_milliseconds(received.timestamp_ms))
        except Exception as fault:  # noqa: BLE001 whatever is wrong with this start, the others go on
            self._bury(run, received, fault)
            return
        run.course, run.received = course, None
        self._metrics.started(is_again=bool(run.tried))
        self._follow(run, wanted)
        self._cancel(run)

    def _bury(self, run: Run, received: Received, fault: Exception) -> None:
        self._metrics.buried()
        log.error(
            "start_undecidable", execution=run.start.execution_id, error=f"{type(fault).__name__}: {fault}"
        )
        self._drop(run)
        error = ContractError(f"expected a start that can be decided over: {type(fault).__name__}: {fault}")
        self._delivery.send([([run.item, *run.joined], dead_letter(self._service, received, error))])

    # ---- what happens to them --------------------------------------------------------------------------------

    def settle(self, run: Run, result: ActivityResult) -> None:
        """An activity that the run asked for has this result."""
        course = run.course
        if course is not None and not run.is_lost:
            self._step(run, lambda: course.settle(result))

    def resume(self) -> None:
        """Go on with those whose pause is over."""
        now = self._clock.monotonic()
        while self._pauses and self._pauses[0][0] <= now:
            _, _, run, timer_id = heapq.heappop(self._pauses)
            self._go_on(run, timer_id)

    def _go_on(self, run: Run, timer_id: str) -> None:
        course = run.course
        if course is not None and not run.is_lost:
            self._step(run, lambda: course.go_on(timer_id))

    def _step(self, run: Run, step: Callable[[], Sequence[Next]]) -> None:
        """Let the run decide; one that cannot be decided over any more has failed."""
        try:
            wanted = step()
        except Exception as fault:
            log.error("run_undecidable", execution=run.start.execution_id, exc_info=fault)
            assert run.course is not None
            message = f"the run cannot go on: {type(fault).__name__}"
            wanted = run.course.give_up(ActionError(code="internal_error", message=message))
        self._follow(run, wanted)
        self._cancel(run)

    def _cancel(self, run: Run) -> None:
        """Carry out what was ordered. A run that was cut off is first brought to where it was: what it has done, and
        what was in flight, is part of what it came to.
        """
        course = run.course
        if course is None or not course.has_come_to(run.tried):
            return
        cancels, run.cancels = run.cancels, []
        for cancel, at in cancels:
            self._step(run, partial(course.cancel, cancel, at))
            if course.state.cancel is None or course.state.is_ended:
                continue
            for activity in self._attempts.withdraw(run):
                self._step(run, partial(course.settle, outbound.withdrawn(activity, at)))

    def _follow(self, run: Run, wanted: Sequence[Next]) -> None:
        for each in wanted:
            match each:
                case RunActivity():
                    self._ask(run, each)
                case StartTimer():
                    self._pause(run, each)
                case Started():
                    run.has_said_started = Item(run.item.partition, run.item.offset, 0)
                    said = outbound.lifecycle(each, run.start.traceparent)
                    self._delivery.send([([run.has_said_started], said)])
                case Finished():
                    self._end(run, each)
                case _:
                    assert_never(each)

    def _ask(self, run: Run, asked: RunActivity) -> None:
        """The way of all activities; its item is never done, only the run's is."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        item = Item(run.item.partition, run.item.offset, now_ms)
        activity = inbound.activity(item, asked, self._runner.plan(asked), run.start.traceparent)
        activity.run = run
        activity.was_tried = (asked.activity_id, asked.attempt) in run.tried
        self._attempts.add(activity)

    def _pause(self, run: Run, timer: StartTimer) -> None:
        assert run.course is not None
        if run.course.paused_attempt(timer.timer_id) in run.tried:
            self._go_on(run, timer.timer_id)
            return
        seconds = max(0.0, (timer.fire_at - self._clock.now()).total_seconds())
        self._pauses_made += 1
        heapq.heappush(
            self._pauses, (self._clock.monotonic() + seconds, self._pauses_made, run, timer.timer_id)
        )

    # ---- how they end ----------------------------------------------------------------------------------------

    def _end(self, run: Run, finished: Finished) -> None:
        assert run.course is not None
        value = codec.encode(msgspec.structs.replace(finished, payload=msgspec.UNSET))
        outcome = codec.encode(run.course.outcome()) if run.start.mode == SHADOW else None
        self.ends.append(Ended(run, RunEnd(run.start.execution_id, value, outcome)))

    def finish(self, ended: Sequence[Ended], recorded: Sequence[RunEnd]) -> None:
        """These ends are recorded, as they are or as another process had recorded them before: say them."""
        if not ended:
            return
        by_id = {end.execution_id: end for end in recorded}
        for each in ended:
            if not each.run.is_lost:
                self._count(each.run, self._say_end(each.run, by_id[each.run.start.execution_id]))
        self.ends = [each for each in self.ends if each not in ended]

    def _count(self, run: Run, told: Finished) -> None:
        """A run that ended badly is an event for people; one that ended well is a count, and a record."""
        self._metrics.finished(told.status, (told.at - told.started_at).total_seconds())
        if told.status in ("failed", "partial"):
            failed = [step.id for step in told.steps if step.status == "failed"]
            log.info("execution_ended", execution_id=told.execution_id, trace_id=trace_id(run.start.traceparent),
                     status=told.status, mode=told.mode, company_id=told.company_id, runbook=told.runbook.name,
                     version=told.runbook.version, failed_steps=failed)  # fmt: skip

    def _say_end(self, run: Run, end: RunEnd) -> Finished:
        """With the payload, unless `started` is known to have brought it. When it is delivered the run is done."""
        self._drop(run)
        start, told = run.start, _finished.decode(end.finished)
        if run.has_said_started is None or not run.has_said_started.is_done:
            told = msgspec.structs.replace(told, payload=start.payload)
        said: list[tuple[Sequence[Item], Outgoing]] = []
        if end.outcome is not None:
            said.append(((), outbound.outcome(start.execution_id, end.outcome, start.traceparent)))
        said.append(([run.item, *run.joined], outbound.lifecycle(told, start.traceparent)))
        self._delivery.send(said)
        return told

    def _drop(self, run: Run) -> None:
        if self._in_hand.get(run.start.execution_id) is run:
            del self._in_hand[run.start.execution_id]
            run.item.partition.runs -= 1
            run.item.partition.run_bytes -= run.bytes
            self._metrics.in_hand(len(self._in_hand))


class Runbooks:
    """Compiled definitions by digest; the one that was used longest ago makes room."""

    def __init__(self, count_max: int = limits.INLINE_DEFINITIONS_MAX) -> None:
        self._count_max = count_max
        self._found: OrderedDict[str, Runbook | None] = OrderedDict()

    def get(self, start: Start) -> Runbook | None:
        """The start's definition; None if this release cannot read it."""
        digest = start.runbook.sha256
        if digest in self._found:
            self._found.move_to_end(digest)
            return self._found[digest]
        try:
            runbook = load_pinned(bytes(start.definition))
        except Exception as fault:  # noqa: BLE001 whatever is wrong with a document fails its runs, not the loop
            log.error("definition_unreadable", sha256=digest, error=f"{type(fault).__name__}: {fault}")
            return None
        self._found[digest] = runbook
        if len(self._found) > self._count_max:
            self._found.popitem(last=False)
        return runbook


_finished = msgspec.json.Decoder(Finished)
