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

An inline run is a message, too: it is passed when its end is delivered. What its interpreter asks for goes the way of
all activities (`inline.py`); only the result goes to the run, in this process, and not to the engine.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

from outlast import limits
from outlast.contracts.topics import ENGINE_INBOX, LIFECYCLE, Claim, TopicPartition
from outlast.errors import ContractError, DataRejected, Fenced, TransientError
from outlast.messaging.dead_letter import dead_letter
from outlast.messaging.ports import Outgoing, Received, Source
from outlast.runtime.logging import get_logger
from outlast_action_executor import inbound, outbound
from outlast_action_executor.attempts import Attempts, Told, new_claim
from outlast_action_executor.calls import Caller
from outlast_action_executor.core.caps import Caps
from outlast_action_executor.core.claim import Instance, Row
from outlast_action_executor.delivery import Delivery
from outlast_action_executor.inbound import Activity, Item
from outlast_action_executor.inline import InlineRuns
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.partitions import Partitions, stored
from outlast_action_executor.ports import Committed, Group, Ports

LOOP = "action_executor"
TURN_SECONDS_MAX = 1.0
PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0

log = get_logger(__name__)


class ExecutorLoop:
    """Drives one executor. It is the source's owner (outlast.messaging.ports.Owner)."""

    def __init__(self, me: Instance, ports: Ports, metrics: ExecutorMetrics, caps: Caps = Caps()) -> None:  # noqa: B008 a frozen tuple
        self._ledger, self._sink, self._runner = ports.ledger, ports.sink, ports.runner
        self._concurrency, self._clock = ports.concurrency, ports.clock
        self._metrics = metrics
        self._source: Source | None = None
        self._inbox_partitions = self._lanes = 0
        self._partitions = Partitions(ports.clock)
        self._delivery = Delivery(ports.sink, ports.concurrency)
        caller = Caller(ports.runner, ports.clock, metrics)
        self._attempts = Attempts(me, caller, ports.clock, metrics, caps)
        self._runs = InlineRuns(ports, self._attempts, self._delivery, metrics.inline, LOOP)
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
        return self._delivery.is_empty and self._attempts.is_empty and not self._runs.ends

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
            self._attempts.forget_lost()
            self._runs.forget_lost()

    # ---- turning ---------------------------------------------------------------------------------------------

    async def run(self, is_stopping: Callable[[], bool], grace_seconds: float) -> None:
        """Turn until told to stop (wake the concurrency then); let what is called finish; close."""
        wait_seconds = 0.0
        while not is_stopping():
            due = await self.turn(wait_seconds)
            wait_seconds = TURN_SECONDS_MAX if due is None else due
        self._is_draining = True
        ends = self._clock.monotonic() + grace_seconds
        log.info("draining", in_flight=self._attempts.in_flight)
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
                self._lanes = await self._sink.partition_count(LIFECYCLE)
                self._inbox_partitions = await self._sink.partition_count(ENGINE_INBOX)
            self._take_in(await self._concurrency.arrivals(self._poll, wait_seconds))
            self._attempts.recall_deferred()
            self._runs.resume()
            await self._runs.begin(is_draining=self._is_draining)
            self._answer(await self._attempts.examine(self._ledger))
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
        move_at = self._partitions.move_at()  # noticed now, however much else there is to do
        if self._attempts.is_urgent or self._runs.is_urgent or self._delivery.is_waiting:
            return self._pause_seconds
        now = self._clock.monotonic()
        found = (self._attempts.due_at, self._runs.due_at, move_at)
        times = [at for at in found if at is not None]
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
                if partition.is_inline:
                    asked = inbound.read_inline(message, self._inbox_partitions, self._lanes)
                    self._runs.take(item, asked, message)
                    continue
                asked, traceparent = inbound.read(message, self._inbox_partitions)
            except ContractError as fault:
                self._bury(item, message, fault)
                continue
            self._attempts.add(inbound.activity(item, asked, self._runner.plan(asked), traceparent))

    def _bury(self, item: Item, message: Received, fault: ContractError) -> None:
        self._metrics.buried()
        log.error("dead_lettered", topic=message.topic, partition=message.partition, offset=message.offset,
                  error=str(fault))  # fmt: skip
        self._delivery.send([([item], dead_letter(LOOP, message, fault))])

    # ---- what is told ----------------------------------------------------------------------------------------

    def _answer(self, answered: Sequence[tuple[Activity, Row]]) -> None:
        """A recorded result again: to the engine, or to the run in hand."""
        said: list[tuple[Sequence[Item], Outgoing]] = []
        for activity, row in answered:
            if activity.run is None:
                said.append(([activity.item], outbound.answer(activity, row)))
            else:
                self._runs.settle(activity.run, outbound.recorded(activity, row))
        self._delivery.send(said)

    def _tell(self, told: Sequence[Told]) -> None:
        """Results that are recorded, to all who asked for them."""
        said: list[tuple[Sequence[Item], Outgoing]] = []
        for activities, finished in told:
            items: list[Item] = []
            for activity in activities:
                if activity.run is None:
                    items.append(activity.item)
                else:
                    self._runs.settle(activity.run, finished.result)
            if items:
                said.append((items, outbound.result(finished.activity, finished.settlement.result)))
        self._delivery.send(said)

    # ---- the commit ------------------------------------------------------------------------------------------

    async def _commit(self, is_last: bool = False) -> None:
        """Results, claims, ends and offsets in one commit; then tell what was settled and call what was claimed."""
        moves = self._partitions.moves(is_last=is_last)
        finished, ended = list(self._attempts.finished), list(self._runs.ends)
        starting = [] if self._is_draining else self._attempts.startable()
        group = Group(
            [move for _, move in moves],
            [each.settlement for each in finished],
            [new_claim(each) for each in starting],
            [each.end for each in ended],
        )
        if not group:
            return
        asked_at = self._clock.monotonic()
        try:
            committed = await self._store(group)
        except BaseException:
            self._attempts.not_claimed(starting)
            raise
        self._pause_seconds = 0.0
        stored(moves)
        if moves:
            self.source.position({move.at: move.next_offset for _, move in moves})
        del self._attempts.finished[: len(finished)]
        settled = [self._attempts.settled(*each) for each in zip(finished, committed.settled, strict=True)]
        self._tell([each for each in settled if each is not None])
        self._runs.finish(ended, committed.ended)
        calls: list[Coroutine[object, object, None]] = []
        for activity, is_ours in zip(starting, committed.claimed, strict=True):
            follows = self._attempts.claimed(activity, is_ours, asked_at)
            if isinstance(follows, Told):
                self._tell([follows])
            elif follows is not None:
                calls.append(follows)
        self._metrics.claimed(sum(is_ours is True for is_ours in committed.claimed))
        await self._concurrency.begin(calls)

    async def _store(self, group: Group) -> Committed:
        """Commit; a row that the database will not take is found by committing the claims one by one."""
        try:
            return await self._ledger.commit(group)
        except DataRejected as fault:
            log.error("claims_rejected", error=str(fault))
        committed = await self._ledger.commit(Group(group.moves, group.settlements, [], group.ends))
        claimed: list[bool | None] = []
        for claim in group.claims:
            try:
                claimed += (await self._ledger.commit(Group(claims=[claim]))).claimed
            except DataRejected as fault:
                log.error("claim_rejected", execution=claim.of.execution_id, error=str(fault))
                claimed.append(None)
        return Committed(committed.settled, claimed, committed.ended)

    async def _store_last_offsets(self) -> None:
        try:
            await self._commit(is_last=True)
        except (Fenced, TransientError) as fault:
            log.warning("stopped_with_unstored", error=str(fault))


def _ignore(_: bool) -> None:
    """Nobody wants to know."""
