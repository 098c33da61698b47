"""The engine's work: fold each run, decide over its messages, say what the stored events call for."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import assert_never

from msgspec import Raw

from outlast import ids
from outlast.contracts.messages import (
    ActivityResult,
    Cancel,
    DeliverSignal,
    InlineOutcome,
    Probe,
    Recorded,
    SlotGranted,
    Start,
    TimerDue,
)
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.execution.decide import Rejection, RunMessage, decide
from outlast.execution.evolve import fold
from outlast.execution.outstanding import end_status, outstanding
from outlast.execution.state import Execution, StepStatus
from outlast.execution.waits import verdict
from outlast.history.events import End, ShadowCompared
from outlast.messaging.ports import Outgoing, Received
from outlast.runbooks.definition import Runbook
from outlast.runbooks.pinned import load_pinned
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import trace_id
from outlast.runtime.work import Turn
from outlast_engine import inbound, metrics
from outlast_engine.doubles import Doubles, is_double
from outlast_engine.inbound import Input
from outlast_engine.outbound import refused_signal, to_outgoing, unknown
from outlast_engine.store import Changes, EngineStore, Opened

STATES_MAX = 100_000
"""Runs kept in memory; the oldest are folded again from their history when a message comes for them."""
PAYLOADS_BYTES_MAX = 256 * 1024 * 1024
"""Payloads and signals of the runs kept in memory, together; what was decoded of them takes a few times as much."""
DEFINITIONS_MAX = 10_000

log = get_logger(__name__)


class EngineWork:
    """What the loop drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: EngineStore) -> None:
        self._store = store
        self._states: dict[str, Execution] = {}
        self._sizes: dict[str, int] = {}
        """Bytes of the payload and the signals of each run in `_states` that is stored."""
        self._bytes = 0
        self._runbooks: dict[str, Runbook | None] = {}
        self._stored_definitions: set[str] = set()
        self._doubles = Doubles()

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Load what the messages touch and decide over them in order."""
        self._forget_doubles()
        changes = Changes()
        turn = Turn(changes)
        inputs = self._read(messages, turn)
        await self._load_states(_named(inputs))
        await self._load_runbooks(inputs)
        before = {name: state.sequence for name, state in self._touched(inputs).items()}
        answered: dict[str, int] = {}
        for each in inputs:
            self._decide_one(each, changes, turn, before, answered)
        self._say(changes, turn, before, answered)
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the batch, then forget the runs that are recorded."""
        changes = turn.changes
        assert isinstance(changes, Changes)
        await self._store.commit(changes, moves)
        self._stored_definitions.update(changes.definitions)
        for each in changes.opened:
            self._weigh(each.execution_id)
        for execution_id in changes.closed:
            self._drop(execution_id)
        _count(changes, self._states)
        self._forget_doubles()
        metrics.STATES_CACHED.set(len(self._states))

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop the states of these partitions."""
        numbers = {at.partition for at in partitions}
        gone = [each for each in self._states if ids.engine_partition(each) in numbers]
        for execution_id in gone:
            self._drop(execution_id)

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """Everything that these runs still have to say."""
        await self._load_states(pending)
        outgoing: list[Outgoing] = []
        for execution_id in pending:
            outgoing += self._outstanding(self._states[execution_id], 0)
        return outgoing

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Open runs of the partition, in order."""
        return await self._store.open_page(at.partition, after, page_max)

    # ---- reading and loading ---------------------------------------------------------------------------------

    def _read(self, messages: Sequence[Received], turn: Turn) -> list[Input]:
        inputs: list[Input] = []
        for received in messages:
            try:
                inputs.append(inbound.read(received))
            except ContractError as fault:
                turn.dead.append((received, fault))
        return inputs

    async def _load_states(self, execution_ids: Iterable[str]) -> None:
        """Fold every run that is not in memory; one without a history gets the empty state."""
        wanted = set(execution_ids)
        missing = wanted - self._states.keys()
        self._make_room(len(missing), wanted)
        if not missing:
            return
        histories = await self._store.load(missing)
        for execution_id in missing:
            history = histories.get(execution_id, ())
            self._states[execution_id] = fold(execution_id, history)
            self._doubles.keep(self._states[execution_id], history)
            self._weigh(execution_id)
        metrics.REPLAYED.inc(len(histories))

    def _make_room(self, count: int, wanted: Collection[str]) -> None:
        """Drop the oldest runs until there is room, but none that the batch is about."""
        oldest = (each for each in self._states if each not in wanted)
        for execution_id in list(islice(oldest, max(0, len(self._states) + count - STATES_MAX))):
            self._drop(execution_id)
        if self._bytes > PAYLOADS_BYTES_MAX:
            for execution_id in [each for each in self._sizes if each not in wanted]:
                self._drop(execution_id)
                if self._bytes <= PAYLOADS_BYTES_MAX // 2:
                    return

    def _weigh(self, execution_id: str) -> None:
        state = self._states.get(execution_id)
        if state is not None and state.started is not None and execution_id not in self._sizes:
            self._sizes[execution_id] = size = len(memoryview(state.started.payload)) + state.signals_bytes
            self._bytes += size

    def _weigh_signal(self, message: DeliverSignal) -> None:
        """A run that is weighed already has taken in one more signal."""
        size = self._sizes.get(message.execution_id)
        if size is not None:
            more = len(memoryview(message.payload))
            self._sizes[message.execution_id] = size + more
            self._bytes += more

    def _drop(self, execution_id: str) -> None:
        self._states.pop(execution_id, None)
        self._bytes -= self._sizes.pop(execution_id, 0)

    def _forget_doubles(self) -> None:
        """Of a shadow run nothing is kept from one message to the next."""
        for execution_id in self._doubles.forget():
            self._drop(execution_id)

    async def _load_runbooks(self, inputs: Iterable[Input]) -> None:
        """Have the pinned definition of every run at hand: from the start message, or from the store."""
        wanted: dict[str, Raw | None] = {}
        for each in inputs:
            if isinstance(each.message, Start):
                wanted[each.message.runbook.sha256] = each.message.definition
            elif isinstance(
                each.message, ActivityResult | TimerDue | DeliverSignal | SlotGranted | InlineOutcome
            ):
                wanted.setdefault(_pinned(self._states[each.message.execution_id]))
        missing = wanted.keys() - self._runbooks.keys()
        if len(self._runbooks) + len(missing) > DEFINITIONS_MAX:
            # a definition that is away when it is decided over would fail its run: the batch's own stay
            self._runbooks = {each: self._runbooks[each] for each in wanted if each in self._runbooks}
        needed = [digest for digest in missing if wanted[digest] is None and digest]
        bodies = dict(await self._store.definitions(needed)) if needed else {}
        for digest in missing:
            sent = wanted[digest]
            if sent is not None or digest in bodies:
                self._keep_runbook(digest, bodies[digest] if sent is None else bytes(sent))

    def _keep_runbook(self, digest: str, body: bytes) -> None:
        try:
            self._runbooks[digest] = load_pinned(body)
        except Exception as fault:  # noqa: BLE001 whatever is wrong with a stored document fails its runs, not the loop
            log.error("definition_unreadable", sha256=digest, error=f"{type(fault).__name__}: {fault}")
            self._runbooks[digest] = None

    def _touched(self, inputs: Iterable[Input]) -> dict[str, Execution]:
        return {
            each.message.execution_id: self._states[each.message.execution_id]
            for each in inputs
            if not isinstance(each.message, Recorded)
        }

    # ---- deciding --------------------------------------------------------------------------------------------

    def _decide_one(
        self, each: Input, changes: Changes, turn: Turn, before: dict[str, int], answered: dict[str, int]
    ) -> None:
        message = each.message
        match message:
            case (
                Start()
                | ActivityResult()
                | TimerDue()
                | DeliverSignal()
                | Cancel()
                | SlotGranted()
                | InlineOutcome()
            ):
                state = self._states[message.execution_id]
                digest = message.runbook.sha256 if isinstance(message, Start) else _pinned(state)
                runbook = self._runbooks.get(digest)
                decision = decide(state, runbook, message, each.at)
                if isinstance(decision, Rejection):
                    metrics.REJECTED.labels(decision.reason).inc()
                    self._answer_again(each, message, state, turn, answered)
                    return
                if is_double(state):
                    state, more = self._doubles.take_on(state.id, decision, runbook, each.at)
                    self._states[state.id] = state
                    decision = [*decision, *more]
                    if state.compared is not None:
                        changes.compared.append(state.id)
                changes.events += [(message.execution_id, recorded) for recorded in decision]
                if isinstance(message, Start):
                    self._open(message, each.at, changes)
                elif isinstance(message, DeliverSignal):
                    self._weigh_signal(message)
                turn.pending.setdefault(each.received.at, []).append(message.execution_id)
            case Recorded():
                changes.closed += message.executions
            case Probe():
                if self._states[message.execution_id].started is None:
                    turn.answers.append(unknown(message))
                else:
                    answered[message.execution_id] = 0
                    turn.pending.setdefault(each.received.at, []).append(message.execution_id)
            case _:
                assert_never(message)

    def _answer_again(
        self, each: Input, message: RunMessage, state: Execution, turn: Turn, answered: dict[str, int]
    ) -> None:
        """Who sends until answered is answered, never met with silence. Nobody waits for the others' answers."""
        match message:
            case Start():
                answered[message.execution_id] = 0
                turn.pending.setdefault(each.received.at, []).append(message.execution_id)
            case DeliverSignal() if message.signal_id in state.signals and _is_own(state, message):
                turn.outgoing.append(refused_signal(message, verdict(state, message.signal_id)))
                turn.pending.setdefault(each.received.at, []).append(message.execution_id)
            case DeliverSignal():  # nothing stored implies this answer
                told = verdict(state, message.signal_id) if _is_own(state, message) else "unknown"
                turn.answers.append(refused_signal(message, told))
            case ActivityResult() | TimerDue() | Cancel() | SlotGranted() | InlineOutcome():
                pass

    def _open(self, start: Start, at: datetime, changes: Changes) -> None:
        if start.runbook.sha256 not in self._stored_definitions:
            changes.definitions[start.runbook.sha256] = bytes(start.definition)
        opened = Opened(
            start.execution_id, start.company_id, start.runbook.id, start.runbook.name, at, start.mode
        )
        changes.opened.append(opened)

    def _say(self, changes: Changes, turn: Turn, before: dict[str, int], answered: dict[str, int]) -> None:
        """What the new events call for, and the whole answer where somebody asked again."""
        changed = dict.fromkeys(execution_id for execution_id, _ in changes.events)
        for execution_id in changed:
            after = answered.pop(execution_id, before[execution_id])
            turn.outgoing += self._outstanding(self._states[execution_id], after)
        for execution_id in answered:
            turn.outgoing += self._outstanding(self._states[execution_id], 0)

    def _outstanding(self, state: Execution, after_sequence: int) -> list[Outgoing]:
        if state.started is None:
            return []
        traceparent = state.started.traceparent
        return [to_outgoing(command, traceparent) for command in outstanding(state, after_sequence)]


def _named(inputs: Iterable[Input]) -> set[str]:
    return {each.message.execution_id for each in inputs if not isinstance(each.message, Recorded)}


def _is_own(state: Execution, message: DeliverSignal) -> bool:
    """Whether the run is one of the sender's company: any other is answered as one that does not exist."""
    return state.started is not None and state.started.company_id == message.company_id


def _pinned(state: Execution) -> str:
    return "" if state.started is None else state.started.runbook.sha256


def _count(changes: Changes, states: dict[str, Execution]) -> None:
    metrics.HISTORY_EVENTS.inc(len(changes.events))
    for execution_id, recorded in changes.events:
        ended = recorded.event
        if isinstance(ended, ShadowCompared):
            _count_compared(execution_id, ended)
        if not isinstance(ended, End):
            continue
        state = states.get(execution_id)
        if state is None or state.is_shadow or state.ended is not ended:
            continue
        status = end_status(ended)
        if status in ("failed", "partial"):
            _log_end(state, status)
        metrics.EXECUTIONS_ENDED.labels(status).inc()
        if state.started_at is not None and state.ended_at is not None:
            metrics.LIVE_SECONDS.observe((state.ended_at - state.started_at).total_seconds())
    for mode, opened in Counter(each.mode for each in changes.opened).items():
        metrics.EXECUTIONS_STARTED.labels(mode).inc(opened)


def _count_compared(execution_id: str, compared: ShadowCompared) -> None:
    metrics.SHADOW_COMPARED.labels("agreed" if compared.is_agreed else "differs").inc()
    for each in compared.differences:
        metrics.SHADOW_DIFFERENCES.labels(each.what, str(each.after_wait).lower()).inc()
    if not compared.is_agreed:
        log.warning("shadow_differs", execution_id=execution_id,
                    differences=[f"{each.activity_id}: {each.what}" for each in compared.differences[:5]])  # fmt: skip


def _log_end(state: Execution, status: str) -> None:
    """A run that ended badly is an event for people; one that ended well is a count, and a record."""
    started = state.started
    assert started is not None
    failed = [step.id for step in state.steps.values() if step.status is StepStatus.FAILED]
    log.info("execution_ended", execution_id=state.id, trace_id=trace_id(started.traceparent), status=status,
             company_id=started.company_id, runbook=started.runbook.name, version=started.runbook.version,
             failed_steps=failed)  # fmt: skip
