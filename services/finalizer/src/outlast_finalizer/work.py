"""The finalizer's work: record runs, and answer each ended one with `recorded`.

The answer goes to the matcher (the dispatch closes) and, for a durable run, to the engine (the run leaves its open
rows), one message a batch and partition with the ids in it. A run that is said to have ended twice is answered twice,
never with silence. A shadowed run is two: the inline one ends by `finished`, which the matcher is told; its durable
double by `compared`, which the engine is told.

Of a durable run the history has the payload. Of any other the record has it, and `finished` leaves it out when
`started` was delivered; if the broker lost `started` before we read it, the record has none. Such a run is not answered
but asked about: who has it then says everything again, payload and all.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from outlast.clock import from_milliseconds
from outlast.contracts import codec, topics
from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Compared, Finished, LifecycleMessage, Unknown, Withheld
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.logging import get_logger
from outlast.runtime.work import Turn
from outlast_finalizer import metrics
from outlast_finalizer.core.outcome import latest_rows, outcomes
from outlast_finalizer.core.watchdog import PATIENCE, Patience
from outlast_finalizer.outbound import WORKFLOW, Ended, answers, given_up
from outlast_finalizer.store import Changes, Committed, FinalizerStore

log = get_logger(__name__)

RESET = "reset_breaker.v1"


class _Kind(msgspec.Struct):
    """As much of a command as is read of those that are not ours."""

    type: str


_kind: codec.Decoder[_Kind] = codec.Decoder(_Kind)


class FinalizerWork:
    """What the loop drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: FinalizerStore, patience: Patience = PATIENCE) -> None:
        self._store = store
        self._patience = patience

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """The latest word on each run, and which have ended."""
        read: list[LifecycleMessage] = []
        compared: dict[str, Compared] = {}
        changes = Changes(compared=compared, patience=self._patience)
        turn = Turn(changes)
        for received in messages:
            try:
                if received.topic == topics.CONTROL_COMMANDS:
                    changes.resets += _resets(received)
                    continue
                message = codec.lifecycle.decode(received.value)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            if isinstance(message, Compared):
                compared[message.execution_id] = message
            elif isinstance(message, Finished | Withheld):
                changes.ended[message.execution_id] = _ended(message)
            elif isinstance(message, Unknown):
                changes.asked[message.execution_id] = from_milliseconds(received.timestamp_ms)
            if isinstance(message, Compared | Finished | Withheld | Unknown):
                turn.pending.setdefault(received.at, []).append(message.execution_id)
            read.append(message)
        changes.rows = latest_rows(read, self._patience.silent_after)
        changes.outcomes = outcomes(read, changes.rows)
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the changes; then answer what is whole, and ask about what is not."""
        changes = turn.changes
        assert isinstance(changes, Changes)
        committed = await self._store.commit(changes, moves)
        for execution_id in committed.bare:
            known = changes.ended.get(execution_id)
            if known is not None:
                changes.ended[execution_id] = known._replace(has_payload=False)
        turn.outgoing += [*given_up(committed.given_up), *_answers(changes.ended, changes.compared)]
        _count(changes, committed)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """The answers for those of these runs that have ended, and for comparisons; first, whom the watchdog failed."""
        failed = given_up(await self._store.given_up(pending))
        return failed + _answers(await self._store.finished(pending), await self._store.compared(pending))

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: who waits for our answer says again what is not recorded, and is answered."""
        return ()


def _resets(received: Received) -> list[ResetBreaker]:
    """The command, if it is for us; the others are the matcher's, and so is what is wrong with them."""
    if _kind.decode(received.value).type != RESET:
        return []
    command = codec.commands.decode(received.value)
    return [command] if isinstance(command, ResetBreaker) else []


def _ended(message: Finished | Withheld) -> Ended:
    is_engines = isinstance(message, Finished) and message.mode == WORKFLOW
    return Ended(message.lane, message.company_id, message.runbook.id, True, is_engines)


def _answers(ended: Mapping[str, Ended], compared: Collection[str]) -> list[Outgoing]:
    metrics.PAYLOADS_ASKED.inc(sum(not each.is_whole for each in ended.values()))
    return answers(ended, compared)


def _count(changes: Changes, committed: Committed) -> None:
    for row in changes.rows:
        if isinstance(row.message, Finished):
            metrics.FINISHED.labels(row.status, row.message.mode).inc()
            seconds = (row.message.at - row.message.event.time).total_seconds()
            metrics.END_TO_END_SECONDS.observe(max(0.0, seconds))
        elif isinstance(row.message, Withheld):
            metrics.WITHHELD.labels(metrics.known(row.reason, metrics.WITHHELD_REASONS)).inc()
    for execution_id in committed.new_comparisons:
        comparison = changes.compared[execution_id]
        metrics.COMPARISONS.labels("agreed" if comparison.is_agreed else "diverged").inc()
        for difference in comparison.differences:
            metrics.DIVERGENCES.labels(metrics.known(difference.what, metrics.DIFFERENCES)).inc()
    metrics.GIVEN_UP.inc(len(committed.given_up))
    for key, state in committed.breakers.items():
        metrics.BREAKERS.labels("tripped" if state.is_open else "reset").inc()
        log.warning("breaker_tripped" if state.is_open else "breaker_reset", company_id=key.company_id,
                    runbook=key.runbook_id, failures=state.failures, generation=state.generation)  # fmt: skip
