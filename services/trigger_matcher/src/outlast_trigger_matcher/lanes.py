"""Following executions: what the gate advises, what runs come to and what people order becomes a change of rows.

A batch is read into a plan: which rows it is about, and what to decide over each. The decision itself is made inside
the transaction (core/board.py), and what the rows say afterwards follows from them (outbound.py).
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec

from outlast.clock import Clock, from_milliseconds
from outlast.contracts import codec, topics
from outlast.contracts.guarding import GateDecision
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.core.board import Board, Standing
from outlast_trigger_matcher.core.rows import Dispatch
from outlast_trigger_matcher.outbound import asides, first_words, gate_requests, starts_again, words_again
from outlast_trigger_matcher.ports import LanesStore, Outcome, Plan

StandingOf = Callable[[str, str], Standing]
FOLLOWED = (topics.LIFECYCLE, topics.RECORDED, topics.GATE_DECISIONS, topics.CONTROL_COMMANDS)


class _Origin(msgspec.Struct):
    is_slotted: bool = False
    releases_slot: bool = False


class _Word(msgspec.Struct):
    """As much of a lifecycle message as is read of all: most are the finalizer's, and many bring a payload."""

    type: str
    execution_id: str = ""
    seq: int = 0
    origin: _Origin | None = None


_word: codec.Decoder[_Word] = codec.Decoder(_Word)


class LanesWork:
    """What the loop over the co-partitioned topics drives (outlast.runtime.loop.Work)."""

    def __init__(
        self,
        store: LanesStore,
        standing: StandingOf,
        commands: Commands,
        clock: Clock,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called when runs have ended."""
        self._store = store
        self._standing = standing
        self._commands = commands
        self._clock = clock
        self._ended = ended

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """What the batch is about, and which starts to send again."""
        plan = Plan(now=self._clock.now())
        turn = Turn(plan)
        unknown: list[str] = []
        for received in messages:
            try:
                await self._read(received, plan, turn, unknown)
            except ContractError as fault:
                turn.dead.append((received, fault))
        if unknown:
            again = [out for row in await self._store.rows(unknown) for out in starts_again(row)]
            metrics.STARTS_REPEATED.inc(len(again))
            turn.outgoing += again
        turn.is_nothing = plan.is_empty and not (unknown or turn.dead)
        return turn

    async def _read(self, received: Received, plan: Plan, turn: Turn, unknown: list[str]) -> None:
        match received.topic:
            case topics.RECORDED:
                plan.closed += codec.recorded.decode(received.value).executions
                plan.closed_at = max(plan.closed_at, from_milliseconds(received.timestamp_ms))
            case topics.GATE_DECISIONS:
                self._take_advice(received, plan, turn)
            case topics.CONTROL_COMMANDS:
                await self._commands.take(received, plan, turn)
            case _:
                self._follow(received, plan, turn, unknown)

    def _take_advice(self, received: Received, plan: Plan, turn: Turn) -> None:
        decision = codec.gate.decode(received.value)
        if not isinstance(decision, GateDecision):
            raise ContractError("expected a decision of the gate", "type")
        for verdict in decision.verdicts:
            plan.do(verdict.id, partial(Board.advise, verdict=verdict, standing=self._standing))
            turn.pending.setdefault(received.at, []).append(verdict.id)

    def _follow(self, received: Received, plan: Plan, turn: Turn, unknown: list[str]) -> None:
        """Most of what runs come to is of no concern here: only slots, whether a run is under way, and that
        its double is compared."""
        word = _word.decode(received.value)
        execution_id, origin = word.execution_id, word.origin
        step: Callable[[Board], None] | None = None
        match word.type:
            case "unknown.v1":
                unknown.append(execution_id)
                turn.pending.setdefault(received.at, []).append(execution_id)
            case "waiting.v1":
                plan.waiting[execution_id] = True
                if origin is not None and origin.releases_slot:
                    step = partial(Board.wait, execution_id=execution_id, seq=word.seq)
            case "resuming.v1":
                plan.waiting[execution_id] = False
                step = partial(Board.resume, execution_id=execution_id, seq=word.seq)
            case "resumed.v1":
                plan.waiting[execution_id] = False
            case "compared.v1":
                plan.compared.append(execution_id)
            case "finished.v1" if origin is not None and origin.is_slotted:
                step = partial(Board.finish, execution_id=execution_id)
            case _:
                return
        if step is not None:
            plan.do(execution_id, step)
            turn.pending.setdefault(received.at, []).append(execution_id)

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Decide and store; then what the rows have to say is known."""
        plan = turn.changes
        assert isinstance(plan, Plan)
        outcome = await self._store.commit_lanes(plan, moves)
        metrics.DISPATCHES_CLOSED.inc(len(plan.closed))
        if plan.closed:
            self._ended()
        turn.outgoing += await self._words(plan, outcome)

    async def _words(self, plan: Plan, outcome: Outcome) -> list[Outgoing]:
        born = [*plan.intake.fresh(outcome.fresh), *plan.again]
        metrics.count_born(born)
        out = first_words(born)
        if outcome.leaked:
            metrics.SLOTS_LEAKED.inc(len(outcome.leaked))
            out += gate_requests((), await self._store.rows(outcome.leaked))
        board = outcome.board
        if board is not None:
            # A start needs its payload; what only gives a slot back does not.
            moved = await self._in_order(board.moved)
            metrics.count_moved(moved)
            rows = [board.rows[each] for each in board.changed if each not in board.moved]
            leaving = [board.rows[each] for each in board.released if board.rows[each].has_left]
            out += [*gate_requests((), leaving), *asides(rows), *first_words(moved)]
        return out

    async def _in_order(self, executions: Collection[str]) -> list[Dispatch]:
        """Their whole rows, in the order in which they were decided."""
        rows = {row.id: row for row in await self._store.rows(executions)} if executions else {}
        return [rows[each] for each in executions]

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """What each has to say: whom it is sent to answers again, or says that it is unknown."""
        return words_again(await self._store.rows(pending))

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Executions of the lane of which not everything is on record; one of the topics walks for all."""
        if at.topic != topics.LIFECYCLE:
            return ()
        return await self._store.unclosed_page(at.partition, after, page_max)
