"""The executor's loop: claim before you call, answer again, and never pass an offset before its answer is delivered.

An activity goes: polled → (looked up) → claimed in a group commit → called → settled in a group commit → sent →
acknowledged → passed. One turn does a step of all of these for everything in hand, with at most one commit: the
results that have come in, the claims of what may start now, and the offsets that may move. So a lone activity waits
for nothing but two commits, and under load a commit is shared by all.

Why nothing is lost or repeated:

- A call begins only after its claim is committed, and only if this commit made it ours.
- A result is sent only after the compare-and-set on the claim made it the recorded one. If it did not (somebody
  resolved the claim after its deadline), it is counted and dropped, and what is recorded is answered instead.
- An offset moves only past messages whose answers the broker has acknowledged (`Item.is_done`), lazily: with a later
  commit, or once when the loop has been idle for a moment. A crash before it moves brings messages again; they are
  answered from the ledger.
- A commit of unknown outcome, or a fence, forgets every partition and asks for them anew. Calls in flight go on:
  their results are kept until they are settled, with or without the partition. A message that comes again while its
  call is in flight here joins it.

First tries of first attempts are claimed without a look-up: the insert tells by what it did not insert which of them
had been claimed before, and those are looked up. Everything else is looked up first.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from outlast import limits
from outlast.clock import Clock
from outlast.contracts.topics import ENGINE_INBOX, Claim, TopicPartition
from outlast.errors import ContractError, DataRejected, Fenced, TransientError
from outlast.messaging.dead_letter import dead_letter
from outlast.messaging.ports import Outgoing, Received, Sink, Source
from outlast.runtime.logging import get_logger
from outlast_action_executor import inbound, outbound
from outlast_action_executor.calls import Caller
from outlast_action_executor.core.caps import Caps, WaitingRoom
from outlast_action_executor.core.claim import Answer, Call, Defer, Instance, Unknown, decide
from outlast_action_executor.delivery import Delivery
from outlast_action_executor.inbound import Activity, Attempt, Item
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.outbound import Finished
from outlast_action_executor.partitions import Partitions, stored
from outlast_action_executor.ports import Committed, Concurrency, Group, Ledger, NewClaim, Runner

LOOP = "action_executor"
TURN_SECONDS_MAX = 1.0
PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0
SUSPECT_TAKEOVERS = 3
"""A claim that was taken over so often is called beside no other such claim."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside of the loop."""

    ledger: Ledger
    sink: Sink
    runner: Runner
    concurrency: Concurrency
    clock: Clock


@dataclass(slots=True, eq=False)
class _InFlight:
    """An attempt that this process has claimed, or is about to, until its result is settled."""

    activity: Activity
    joined: list[Activity] = field(default_factory=list[Activity])
    """The same attempt, received again meanwhile: answered together."""


class ExecutorLoop:
    """Drives one executor. It is the source's owner (outlast.messaging.ports.Owner)."""

    def __init__(self, me: Instance, ports: Ports, metrics: ExecutorMetrics, caps: Caps = Caps()) -> None:  # noqa: B008 a frozen tuple
        self._me = me
        self._ledger, self._sink, self._runner = ports.ledger, ports.sink, ports.runner
        self._caller = Caller(ports.runner, ports.clock, metrics)
        self._concurrency, self._clock = ports.concurrency, ports.clock
        self._metrics = metrics
        self._source: Source | None = None
        self._inbox_partitions = 0
        self._partitions = Partitions(ports.clock)
        self._delivery = Delivery(ports.sink, ports.concurrency)
        self._room: WaitingRoom[Activity] = WaitingRoom(caps)
        self._unexamined: list[Activity] = []
        self._deferred: list[tuple[float, int, Activity]] = []
        self._deferrals = 0
        self._in_flight: dict[Attempt, _InFlight] = {}
        self._finished: list[Finished] = []
        self._suspects: deque[Activity] = deque()
        self._suspect_called: Attempt | None = None
        self._must_rejoin = False
        self._pause_seconds = 0.0
        self._is_draining = False
        self.turned_at = self._clock.monotonic()
        """When the last turn ended (monotonic)."""
        self.on_turn: Callable[[bool], None] = _ignore
        """Told after each turn whether nothing was found away."""

    def attach(self, source: Source) -> None:
        """The source whose owner this loop is; once, before the first turn."""
        self._source = source

    @property
    def source(self) -> Source:
        """The attached source."""
        assert self._source is not None, "attach() a source first"
        return self._source

    @property
    def owned(self) -> Collection[TopicPartition]:
        """The partitions owned now."""
        return self._partitions.owned

    @property
    def is_drained(self) -> bool:
        """Whether nothing runs, waits to be settled or waits to be acknowledged."""
        return self._delivery.is_empty and not (self._in_flight or self._finished)

    # ---- the source asks -------------------------------------------------------------------------------------

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Become the owner of these partitions and say where to start each."""
        self._lose([claim.at for claim in claims])
        acquired = await self._ledger.acquire(claims)
        for each in acquired:
            self._partitions.gain(each)
            self._metrics.acquired()
            log.info("partition_acquired", topic=each.at.topic, partition=each.at.partition, epoch=each.epoch,
                     offset=each.next_offset)  # fmt: skip
        return {each.at: each.next_offset for each in acquired}

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """These belong to somebody else, or to nobody. What is being called goes on, and is settled without them."""
        self._lose(partitions)

    def _lose(self, places: Collection[TopicPartition]) -> None:
        if self._partitions.lose(places):
            self._room.forget(_is_lost)

    # ---- turning ---------------------------------------------------------------------------------------------

    async def run(self, is_stopping: Callable[[], bool], grace_seconds: float) -> None:
        """Turn until told to stop (wake the concurrency then); let what is called finish; close."""
        wait_seconds = 0.0
        while not is_stopping():
            due = await self.turn(wait_seconds)
            wait_seconds = TURN_SECONDS_MAX if due is None else due
        self._is_draining = True
        ends = self._clock.monotonic() + grace_seconds
        log.info("draining", in_flight=len(self._in_flight))
        while not self.is_drained and self._clock.monotonic() < ends:
            await self.turn(min(0.1, max(0.0, ends - self._clock.monotonic())))
        await self._store_last_offsets()
        await self._concurrency.close()
        await self.source.close()

    async def turn(self, wait_seconds: float = 0.0) -> float | None:
        """One step of everything in hand; waits that long for something to arrive or to end.

        Returns in how many seconds it has something to do of its own; None if only the outside can give it work.
        """
        try:
            if self._inbox_partitions == 0:
                self._inbox_partitions = await self._sink.partition_count(ENGINE_INBOX)
            self._take_in(await self._concurrency.arrivals(self._poll, wait_seconds))
            self._recall_deferred()
            await self._examine()
            await self._commit()
            await self._delivery.flush()
            await self._partitions.apply_pressure(self.source)
            self.on_turn(not self._must_rejoin)
        except Fenced as fault:
            self._metrics.fenced()
            log.warning("fenced", error=str(fault))
            self._back_off()
        except TransientError as fault:
            self._metrics.paused()
            log.warning("paused", error=str(fault))
            self._back_off()
        self.turned_at = self._clock.monotonic()
        return self._due()

    def _back_off(self) -> None:
        """Forget what is not being called; after a pause the next poll asks for partitions anew."""
        self.on_turn(False)
        self._pause_seconds = min(max(self._pause_seconds * 2, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
        self._lose(list(self._partitions.owned))
        self._must_rejoin = True

    async def _poll(self, timeout_seconds: float) -> Sequence[Received]:
        if self._must_rejoin:
            await self._concurrency.pause(self._pause_seconds)
            await self.source.rejoin()
            self._must_rejoin = False
        return await self.source.poll(limits.BATCH_MAX, timeout_seconds)

    def _due(self) -> float | None:
        is_suspect_next = bool(self._suspects) and self._suspect_called not in self._in_flight
        if self._finished or self._unexamined or self._delivery.is_waiting or is_suspect_next:
            return self._pause_seconds
        now = self._clock.monotonic()
        times = [self._deferred[0][0]] if self._deferred else []
        move_at = self._partitions.move_at()
        if move_at is not None:
            times.append(move_at)
        if self._must_rejoin:
            times.append(now + self._pause_seconds)
        return max(0.0, min(times) - now) if times else None

    # ---- what arrives ----------------------------------------------------------------------------------------

    def _take_in(self, messages: Sequence[Received]) -> None:
        if self._is_draining:
            return
        for message in messages:
            partition = self._partitions.get(message.at)
            if partition is None:
                continue
            item = Item(partition, message.offset, message.timestamp_ms)
            if not partition.offsets.take(item):
                continue
            try:
                asked, traceparent = inbound.read(message, self._inbox_partitions)
            except ContractError as fault:
                self._bury(item, message, fault)
                continue
            self._sort(inbound.activity(item, asked, self._runner.plan(asked), traceparent))

    def _sort(self, activity: Activity) -> None:
        """Where an activity goes whose attempt is new to us."""
        running = self._in_flight.get(activity.key)
        if running is not None:
            running.joined.append(activity)
        elif activity.key.attempt > 1:
            self._unexamined.append(activity)
        else:
            self._room.add(activity)

    def _bury(self, item: Item, message: Received, fault: ContractError) -> None:
        self._metrics.buried()
        log.error("dead_lettered", topic=message.topic, partition=message.partition, offset=message.offset,
                  error=str(fault))  # fmt: skip
        self._delivery.send([([item], dead_letter(LOOP, message, fault))])

    def _recall_deferred(self) -> None:
        now = self._clock.monotonic()
        while self._deferred and self._deferred[0][0] <= now:
            self._unexamined.append(heapq.heappop(self._deferred)[2])

    # ---- what the ledger says --------------------------------------------------------------------------------

    async def _examine(self) -> None:
        """Look up those that may have been tried before, and decide."""
        asked = [each for each in self._unexamined if not each.item.partition.is_lost]
        self._unexamined = []
        if not asked:
            return
        try:
            found = await self._ledger.look_up([each.key.of for each in asked])
        except BaseException:
            self._unexamined = asked
            raise
        said: list[tuple[Sequence[Item], Outgoing]] = []
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
                    said.append(([activity.item], outbound.answer(activity, row)))
                case Defer(seconds):
                    self._defer(activity, seconds)
                case Call(over):
                    activity.over, activity.resolution = over, None
                    self._room.add(activity)
                case Unknown(over, resolution):
                    activity.over, activity.resolution = over, resolution
                    self._queue_unknown(activity)
        self._delivery.send(said)

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

    # ---- the commit ------------------------------------------------------------------------------------------

    async def _commit(self, is_last: bool = False) -> None:
        """Results, claims and offsets in one commit; then send what was settled and call what was claimed."""
        moves = self._partitions.moves(is_last=is_last)
        finished = list(self._finished)
        starting = self._startable()
        claims = [_claim(each) for each in starting]
        group = Group([move for _, move in moves], [each.settlement for each in finished], claims)
        if not group:
            return
        asked_at = self._clock.monotonic()
        try:
            committed = await self._store(group)
        except BaseException:
            for activity in starting:
                del self._in_flight[activity.key]
                self._room.release(activity)
            raise
        self._pause_seconds = 0.0
        stored(moves)
        if moves:
            self.source.position({move.at: move.next_offset for _, move in moves})
        del self._finished[: len(finished)]
        settled = [self._settled(*each) for each in zip(finished, committed.settled, strict=True)]
        self._delivery.send([each for each in settled if each is not None])
        calls = [
            self._claimed(each, is_ours, asked_at)
            for each, is_ours in zip(starting, committed.claimed, strict=True)
        ]
        self._metrics.claimed(sum(is_ours is True for is_ours in committed.claimed))
        await self._concurrency.begin([call for call in calls if call is not None])

    async def _store(self, group: Group) -> Committed:
        """Commit; a row that the database will not take is found by committing the claims one by one."""
        try:
            return await self._ledger.commit(group)
        except DataRejected as fault:
            log.error("claims_rejected", error=str(fault))
        committed = await self._ledger.commit(Group(group.moves, group.settlements, []))
        claimed: list[bool | None] = []
        for claim in group.claims:
            try:
                claimed += (await self._ledger.commit(Group(claims=[claim]))).claimed
            except DataRejected as fault:
                log.error("claim_rejected", execution=claim.of.execution_id, error=str(fault))
                claimed.append(None)
        return Committed(committed.settled, claimed)

    def _startable(self) -> list[Activity]:
        """Those that may start now, each attempt once; from here on they are in flight."""
        if self._is_draining:
            return []
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

    def _settled(self, each: Finished, is_ours: bool) -> tuple[Sequence[Item], Outgoing] | None:
        """What to say of a result that is recorded; None if another one is."""
        flight = self._in_flight.pop(each.activity.key)
        together = [flight.activity, *flight.joined]
        if is_ours:
            items = [activity.item for activity in together]
            return items, outbound.result(each.activity, each.settlement.result)
        self._metrics.late(each.activity.asked.action)
        self._unexamined += together
        return None

    def _claimed(
        self, activity: Activity, is_ours: bool | None, asked_at: float
    ) -> Coroutine[object, object, None] | None:
        if is_ours:
            return self._call(activity, asked_at)
        self._room.release(activity)
        if is_ours is None:
            del self._in_flight[activity.key]
            refused = self._caller.refuse(activity).settlement
            self._delivery.send([([activity.item], outbound.result(activity, refused.result))])
            return None
        self._unexamined += [activity, *self._in_flight.pop(activity.key).joined]
        return None

    async def _store_last_offsets(self) -> None:
        try:
            await self._commit(is_last=True)
        except (Fenced, TransientError) as fault:
            log.warning("stopped_with_unstored", error=str(fault))

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
        self._finished.append(await self._caller.call(activity))
        self._room.release(activity)


def _ignore(_: bool) -> None:
    """Nobody wants to know."""


def _is_lost(activity: Activity) -> bool:
    return activity.item.partition.is_lost


def _claim(activity: Activity) -> NewClaim:
    seconds = (
        min(activity.asked.timeout_seconds, limits.ACTIVITY_TIMEOUT_SECONDS_MAX) + limits.CLAIM_MARGIN_SECONDS
    )
    return NewClaim(activity.key.of, activity.key.attempt, seconds, activity.resolution, activity.over)
