"""The loop: poll, load, decide, commit, emit. The same in every service; a service brings its `Work`.

One turn takes what is there, decides over it, commits the result together with the consumers' offsets in one
transaction under the partitions' fences, and sends what the committed result calls for. What goes wrong:

- a message that cannot be read or decided goes to the dead-letter topic, which is flushed before the offset moves;
- a row that the database will not take: the batch is halved until the one message is found, which is dead-lettered;
- a message that kills the process: after a few acquisitions at one offset the partition is read one message at a
  time, each attempt counted before it begins, and the message is dead-lettered when the attempts are used up;
- the database or a look-up is away before anything was committed: the same messages are tried again, later;
- a fence, or a COMMIT of unknown outcome: everything touched is forgotten and the partitions are asked for anew.

- a message that the broker will never take, a run whose history cannot be read: said in the log and the metrics,
  left out, and the others are not kept waiting.

What the last batch had to say is flushed before the next one commits (`pending`, see outlast.db.fence).
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from outlast import limits
from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Fence, Owned
from outlast.errors import DataRejected, Fenced, LimitExceeded, OutlastError, PermanentError, TransientError
from outlast.messaging.dead_letter import dead_letter
from outlast.messaging.ports import Outgoing, Received, Sink, Source
from outlast.runtime.logging import get_logger
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.partition import Partition, is_ahead, moves
from outlast.runtime.work import Agenda, Turn, Work

POLL_SECONDS = 1.0
PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0

log = get_logger(__name__)


class FencedLoop:
    """Drives one `Work` over one source. It is the source's owner (outlast.messaging.ports.Owner)."""

    def __init__(
        self,
        *,
        service: str,
        name: str,
        fence: Fence,
        work: Work,
        sink: Sink,
        metrics: LoopMetrics,
        monotonic: Callable[[], float],
        agenda: Agenda | None = None,
        batch_max: int = limits.BATCH_MAX,
    ) -> None:
        self._service = service
        self._name = name
        self._fence = fence
        self._work = work
        self._agenda = agenda
        self._sink = sink
        self._metrics = metrics
        self._monotonic = monotonic
        self._batch_max = batch_max
        self.turned_at = monotonic()
        """When the last turn ended, for liveness: a loop that only finds things away still turns."""
        self.polled_at = -math.inf
        """When a poll last brought messages."""
        self._owned: dict[TopicPartition, Partition] = {}
        self._inherited: list[Owned] = []
        self._held: Sequence[Received] = ()
        self._unflushed: list[Outgoing] = []
        self._must_repeat = False
        """Some of `_unflushed` may not even be queued: all of it goes again before the next flush."""
        self._has_pending: set[TopicPartition] = set()
        self._outlived: dict[TopicPartition, tuple[int, int]] = {}
        """Offset of a suspect message, and how many attempts at it this process began and did not die of."""
        self._pause_seconds = 0.0
        self._must_rejoin = False
        self._source: Source | None = None

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
        return self._owned.keys()

    # ---- the source asks -------------------------------------------------------------------------------------

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Become the owner of these partitions and say where to start each."""
        self._work.forget([claim.at for claim in claims])
        acquired = await self._fence.acquire(claims)
        for each in acquired:
            is_suspect = each.acquisitions > limits.POISON_ACQUISITIONS_MAX
            suspect_left = self._batch_max if is_suspect else 0
            self._owned[each.at] = Partition.acquired(each, suspect_left)
            self._metrics.acquired()
            log.info("partition_acquired", loop=self._name, topic=each.at.topic, partition=each.at.partition,
                     epoch=each.epoch, offset=each.next_offset, pending=len(each.pending),
                     is_suspect=is_suspect)  # fmt: skip
        self._inherited += acquired
        return {each.at: each.next_offset for each in acquired}

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """These belong to somebody else, or to nobody."""
        gone = set(partitions)
        self._work.forget(gone)
        for at in gone:
            self._owned.pop(at, None)
        self._has_pending -= gone
        self._inherited = [each for each in self._inherited if each.at not in gone]
        self._held = [message for message in self._held if message.at not in gone]

    # ---- turning ---------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Say what is left to say, and leave the group."""
        await self._take_back_attempts()
        try:
            await self._settle()
            if (
                not self._must_rejoin
            ):  # after a COMMIT of unknown outcome `pending` may name what was never sent
                await self._go_idle()
        except OutlastError as fault:
            log.warning("stopped_with_unsent", loop=self._name, error=str(fault))
        await self.source.close()

    async def turn(self, timeout_seconds: float = 0.0) -> float:
        """One turn. Returns how long to pause before the next: 0 unless something is away."""
        pause_seconds = await self._turn(timeout_seconds)
        self.turned_at = self._monotonic()
        return pause_seconds

    async def _turn(self, timeout_seconds: float) -> float:
        try:
            if self._must_rejoin:
                await self._rejoin()
            if not self._held:
                self._held = await self.source.poll(self._batch_max, self._until_due(timeout_seconds))
                if self._held:
                    self.polled_at = self._monotonic()
            await self._derive_inherited()
            self._held = self._next_or_later(self._held)
            if self._held:
                for group in self._groups(self._held):
                    await self._process(group)
                self._held = ()
            else:
                await self._settle()
                await self._go_idle()
            await self._act()
            await self._rederive_page()
        except Fenced as fault:
            self._metrics.fenced()
            log.warning("fenced", loop=self._name, error=str(fault))
            self._must_rejoin = True
            await self._take_back_attempts()
        except TransientError as fault:
            self._metrics.paused()
            log.warning("paused", loop=self._name, error=str(fault))
            await self._take_back_attempts()
            self._work.forget(list(self._owned))
            return self._back_off()
        self._pause_seconds = 0.0
        return 0.0

    def _until_due(self, timeout_seconds: float) -> float:
        due = None if self._agenda is None else self._agenda.due_seconds(self._owned.keys())
        return timeout_seconds if due is None else max(0.0, min(timeout_seconds, due))

    async def _act(self) -> None:
        """What is due without a message. Its answers are delivered before it is stored."""
        turn = None if self._agenda is None else await self._agenda.act(self._owned.keys())
        if turn is None:
            return
        try:
            await self._store((), turn)
        except DataRejected as fault:
            raise TransientError(f"what was due could not be stored: {fault}") from fault
        self._emit(turn)

    def _groups(self, messages: Sequence[Received]) -> Iterator[Sequence[Received]]:
        """All messages of calm partitions at once, those of suspect ones one at a time."""
        if not any(each.suspect_left for each in self._owned.values()):
            yield messages
            return
        calm = [message for message in messages if not self._owned[message.at].suspect_left]
        if calm:
            yield calm
        if len(calm) < len(messages):
            of_calm = {message.at for message in calm}
            yield from ([message] for message in messages if message.at not in of_calm)

    def _next_or_later(self, messages: Sequence[Received]) -> Sequence[Received]:
        read = {at: each.read_offset for at, each in self._owned.items()}
        return [each for each in messages if (upto := read.get(each.at)) is not None and each.offset >= upto]

    def _back_off(self) -> float:
        doubled = min(max(self._pause_seconds * 2, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
        self._pause_seconds = doubled
        return doubled

    async def _rejoin(self) -> None:
        partitions = list(self._owned)
        await self.release(partitions)
        self._held = ()
        await self.source.rejoin()
        self._must_rejoin = False

    # ---- one batch -------------------------------------------------------------------------------------------

    async def _process(self, messages: Sequence[Received]) -> None:
        """Decide, commit and emit; halve the batch around a message that the database or the decider refuses."""
        if await self._is_poison(messages):
            return
        with self._metrics.deciding():
            try:
                turn = await self._work.decide(messages)
            except (TransientError, Fenced):
                raise
            except Exception as fault:  # noqa: BLE001 neither bad data nor a bug in a decider may stop the partition
                await self._split(messages, fault)
                return
        if turn.is_nothing and not any(self._owned[message.at].suspect_left for message in messages):
            self._pass(messages)
            return
        try:
            await self._store(messages, turn)
        except DataRejected as fault:
            await self._split(messages, fault)
            return
        self._emit(turn)

    def _pass(self, messages: Sequence[Received]) -> None:
        """Nothing to store: the offsets move with the next commit, or when the loop is idle. Read twice, it is nothing
        twice."""
        for message in messages:
            owned = self._owned[message.at]
            owned.read_offset = max(owned.read_offset, message.offset + 1)
        self._metrics.consumed(len(messages))

    async def _store(self, messages: Sequence[Received], turn: Turn) -> None:
        await self._settle()
        if turn.dead or turn.answers:
            await self._say_first(turn)
        moved = moves(self._owned, messages, turn)
        with self._metrics.committing():
            try:
                await self._work.commit(turn, moved)
            except TransientError:
                self._must_rejoin = True  # the outcome of the COMMIT is unknown: acquire again and reload
                raise
        for move in moved:
            self._owned[move.at].stored(move)
            self._outlived.pop(move.at, None)
            if move.pending:
                self._has_pending.add(move.at)
            elif move.pending is not None:
                self._has_pending.discard(move.at)
        self._metrics.consumed(len(messages))

    def _emit(self, turn: Turn) -> None:
        if turn.outgoing:
            self._metrics.emitted(len(turn.outgoing))
            self._say(turn.outgoing)

    def _say(self, outgoing: Sequence[Outgoing]) -> None:
        """Send now, and again until it is delivered (`_settle`)."""
        self._unflushed = [*self._unflushed, *outgoing]
        if not self._must_repeat:
            self._queue(outgoing)

    def _queue(self, outgoing: Sequence[Outgoing]) -> None:
        self._must_repeat = True  # a queue that is full may take some and refuse the rest
        self._send(outgoing)
        self._must_repeat = False

    async def _settle(self) -> None:
        """All that the last batch said is delivered, or will be sent again."""
        if not self._unflushed:
            return
        with self._metrics.flushing():
            if self._must_repeat:
                self._queue(self._unflushed)
            try:
                await self._flush()
            except TransientError:
                self._must_repeat = True
                raise
        self._unflushed = []

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Queue all but what no broker of ours takes: held on to, it would end every life of this process."""
        try:
            self._sink.send(outgoing)
        except LimitExceeded as fault:
            if len(outgoing) > 1:
                for each in outgoing:
                    self._send([each])
                return
            self._metrics.left_out()
            log.error("unsendable", loop=self._name, topic=outgoing[0].topic,
                      key=(outgoing[0].key or b"").decode("utf-8", "replace"), error=str(fault))  # fmt: skip

    async def _flush(self) -> None:
        try:
            await self._sink.flush()
        except PermanentError as fault:  # the broker's settings forbid it: an operator's to mend, and we wait
            raise TransientError(str(fault)) from fault

    async def _go_idle(self) -> None:
        if any(is_ahead(each) for each in self._owned.values()):
            await self._store((), await self._work.decide(()))
        if self._has_pending:
            await self._fence.clear_pending({at: self._owned[at].epoch for at in self._has_pending})
            self._has_pending.clear()
        self.source.position({at: each.next_offset for at, each in self._owned.items()})

    # ---- what goes wrong with messages -----------------------------------------------------------------------

    async def _split(self, messages: Sequence[Received], fault: Exception) -> None:
        self._work.forget(list(self._owned))
        if len(messages) == 1:
            log.error("dead_lettered", loop=self._name, topic=messages[0].topic, partition=messages[0].partition,
                      offset=messages[0].offset, error=f"{type(fault).__name__}: {fault}")  # fmt: skip
            empty = await self._work.decide(())
            empty.dead.append((messages[0], fault))
            await self._store(messages, empty)
            return
        self._metrics.bisected()
        middle = len(messages) // 2
        await self._process(messages[:middle])
        await self._process(messages[middle:])

    async def _say_first(self, turn: Turn) -> None:
        """What would be lost if we died after the commit: dead letters, and answers that nothing stored implies."""
        for message, fault in turn.dead:
            self._metrics.buried(type(fault).__name__)
            self._send([dead_letter(self._service, message, fault)])
        self._send(turn.answers)
        await self._flush()

    async def _is_poison(self, messages: Sequence[Received]) -> bool:
        """True when the message was dead-lettered because every attempt at it killed the process."""
        first = messages[0]
        owned = self._owned.get(first.at)
        if owned is None or not owned.suspect_left or len(messages) > 1:
            return False
        attempt = await self._fence.count_attempt(first.at, owned.epoch)
        offset, outlived = self._outlived.get(first.at, (first.offset, 0))
        outlived = outlived if offset == first.offset else 0
        deaths = attempt - 1 - outlived
        if deaths < limits.POISON_ACQUISITIONS_MAX:
            self._outlived[first.at] = (first.offset, outlived + 1)
            return False
        await self._split(messages, Poison(f"{deaths} attempts ended with the death of the process"))
        return True

    async def _take_back_attempts(self) -> None:
        """What this process began and outlived is no death, whoever reads on. If that cannot be said, it is kept."""
        for at, (offset, count) in list(self._outlived.items()):
            try:
                await self._fence.take_back_attempts(at, offset, count)
            except OutlastError as fault:
                log.warning("attempts_not_taken_back", loop=self._name, error=str(fault))
                return
            del self._outlived[at]

    # ---- saying again ----------------------------------------------------------------------------------------

    async def _derive_inherited(self) -> None:
        """What the previous owner's last batch may not have said."""
        while self._inherited:
            each = self._inherited[-1]
            if each.pending:
                self._say_again(await self._derive(each.at, each.pending))
                await self._settle()
                self._has_pending.add(each.at)
            self._inherited.pop()

    async def _rederive_page(self) -> None:
        """One page of the walk over everything outstanding, after the broker's data was lost."""
        for at, owned in self._owned.items():
            if owned.rederive_after is None:
                continue
            page = await self._work.outstanding_page(at, owned.rederive_after, limits.OPEN_PAGE_MAX)
            await self._settle()
            if page:
                self._say_again(await self._derive(at, page))
                await self._settle()
            after = page[-1] if page else None
            await self._fence.store_rederived(at, owned.epoch, after)
            owned.rederive_after = after
            return

    async def _derive(self, at: TopicPartition, names: Sequence[str]) -> list[Outgoing]:
        """What these have to say; one that cannot be derived (a history that nobody reads) silences no other."""
        try:
            return await self._work.derive(at, names)
        except (TransientError, Fenced):
            raise
        except Exception as fault:  # noqa: BLE001 neither bad data nor a bug may end every life of this process
            self._work.forget([at])
            if len(names) == 1:
                self._metrics.left_out()
                log.error("underivable", loop=self._name, topic=at.topic, partition=at.partition, id=names[0],
                          error=f"{type(fault).__name__}: {fault}")  # fmt: skip
                return []
        middle = len(names) // 2
        return [*await self._derive(at, names[:middle]), *await self._derive(at, names[middle:])]

    def _say_again(self, outgoing: list[Outgoing]) -> None:
        self._metrics.derived(len(outgoing))
        if outgoing:
            self._say(outgoing)


class Poison(Exception):
    """A message whose every attempt ended with the death of the process."""
