"""The run records in memory: the same promises as PostgresFinalizerStore, held to them by the same suite."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Compared, Finished
from outlast.contracts.parts import Origin
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast_finalizer.core.breaker import BreakerState, Key, Outcome, is_news, turned
from outlast_finalizer.core.outcome import DISPATCH_RANK, RunMessage, RunRow, latest_rows
from outlast_finalizer.core.watchdog import WATCHDOG_RANK, WATCHDOG_SEQ, is_given_up, why
from outlast_finalizer.outbound import WORKFLOW, Ended
from outlast_finalizer.silence import Silent
from outlast_finalizer.store import Changes, Committed
from tests.stores.columns import check_execution_ids, check_text


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of the table `runs`, as far as the suite and the simulation look at it."""

    company_id: str
    runbook_id: str
    mode: str
    status: str
    rank: int
    seq: int
    lane: int
    started_at: datetime | None
    finished_at: datetime | None
    payload: bytes | None
    steps: bytes | None
    error: bytes | None
    waits: bytes | None
    reason: str
    detail: str
    ended_by: str
    origin: Origin
    message: RunMessage
    """The latest word."""
    told_at: datetime
    check_at: datetime | None
    asked_at: datetime | None = None


class MemoryFinalizerStore:
    """The schema `records`, shared by every instance of the finalizer."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.runs: dict[str, RunRecord] = {}
        self.comparisons: dict[str, Compared] = {}
        self.breakers: dict[Key, BreakerState] = {}
        self.resets: set[str] = set()
        self.published: list[tuple[Key, BreakerState]] = []
        """What of the breakers goes to the outbox, in order."""

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """The changes or nothing, offsets first."""
        self._fence.check(moves)
        for row in changes.rows:
            check_execution_ids((row.execution_id,))
            check_text(row.message.company_id, row.message.runbook.id, row.message.runbook.name)
            check_text(row.message.event.source, row.message.event.id, row.message.event.type)
            check_text(row.reason, row.detail, row.by)
        check_execution_ids(changes.compared)
        for command in changes.resets:
            check_text(command.command_id, command.company_id, command.runbook_id, command.by, command.reason)
        self._fence.apply(moves)
        outcomes = [each for each in changes.outcomes if self._is_news(changes.rows, each.execution_id)]
        bare = [row.execution_id for row in changes.rows if self._upsert(row)]
        new = [each for each in changes.compared if each not in self.comparisons]
        self.comparisons.update({each: changes.compared[each] for each in new})
        changed = self._count(outcomes, changes.resets)
        failed = [each for each in map(partial(self._hear, changes), changes.asked) if each is not None]
        for execution_id, check_at in changes.checked.items():
            run = self.runs[execution_id]
            self.runs[execution_id] = replace(run, check_at=check_at if run.status == "running" else None)
        return Committed(bare, new, changed, failed)

    def _hear(self, changes: Changes, execution_id: str) -> Finished | None:
        run, heard_at = self.runs.get(execution_id), changes.asked[execution_id]
        if run is None or run.status != "running" or run.mode == WORKFLOW:
            return None
        if not is_given_up(run.told_at, run.asked_at, heard_at, changes.patience):
            self.runs[execution_id] = replace(run, asked_at=run.asked_at or heard_at)
            return None
        finished = _given_up(execution_id, run, heard_at)
        (row,) = latest_rows([finished])
        self._upsert(row)
        return finished

    def _is_news(self, rows: Sequence[RunRow], execution_id: str) -> bool:
        present = self.runs.get(execution_id)
        message = next(row.message for row in rows if row.execution_id == execution_id)
        return present is None or (present.rank, present.seq) < (message.rank, message.seq)

    def _count(self, outcomes: Sequence[Outcome], resets: Sequence[ResetBreaker]) -> dict[Key, BreakerState]:
        fresh = {each.command_id: each for each in resets if each.command_id not in self.resets}
        self.resets |= fresh.keys()
        after = turned(self.breakers, outcomes, fresh.values())
        published = {key: state for key, state in after.items() if is_news(self.breakers.get(key), state)}
        self.breakers |= after
        self.published += published.items()
        return published

    def _upsert(self, row: RunRow) -> bool:
        """Whether its record has ended and lacks its payload; of a durable run the history has it."""
        present, new = self.runs.get(row.execution_id), _record(row)
        if present is not None:
            payload = present.payload or row.payload
            if (present.rank, present.seq) < (new.rank, new.seq):
                new = replace(
                    new,
                    company_id=present.company_id,
                    runbook_id=present.runbook_id,
                    lane=present.lane,
                    started_at=new.started_at or present.started_at,
                    payload=payload,
                )
            else:
                new = replace(present, payload=payload)
        self.runs[row.execution_id] = new
        return new.finished_at is not None and new.payload is None and not _is_durable(row.message)

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        check_execution_ids(execution_ids)
        found = {each: self.runs[each] for each in execution_ids if each in self.runs}
        return {
            each: Ended(
                row.lane,
                row.company_id,
                row.runbook_id,
                row.payload is not None,
                _is_durable(row),
            )
            for each, row in found.items()
            if row.finished_at is not None
        }

    async def compared(self, execution_ids: Collection[str]) -> Collection[str]:
        """Those of these runs whose comparison is kept."""
        return [each for each in execution_ids if each in self.comparisons]

    async def given_up(self, execution_ids: Collection[str]) -> Sequence[Finished]:
        """What is to be said of those of these runs that the watchdog failed."""
        known = [self.runs[each].message for each in execution_ids if each in self.runs]
        return [each for each in known if isinstance(each, Finished) and each.rank == WATCHDOG_RANK]

    async def silent(self, lanes: Sequence[int], until: datetime, page_max: int) -> Sequence[Silent]:
        """Runs of these lanes that are to be asked about by then, a page of them."""
        due = [
            (run.lane, run.check_at, name, run)
            for name, run in self.runs.items()
            if run.lane in lanes and run.check_at is not None and run.check_at <= until
        ]
        return [
            Silent(name, lane, run.company_id, run.runbook_id, run.mode, run.status == "running", run.told_at)
            for lane, _, name, run in sorted(due, key=lambda each: each[:3])[:page_max]
        ]


def _given_up(execution_id: str, run: RunRecord, heard_at: datetime) -> Finished:
    word = run.message
    return Finished(
        execution_id=execution_id,
        company_id=run.company_id,
        runbook=word.runbook,
        event=word.event,
        mode=run.mode,
        lane=run.lane,
        rank=WATCHDOG_RANK,
        seq=WATCHDOG_SEQ,
        at=heard_at,
        started_at=run.started_at or heard_at,
        status="failed",
        steps=(),
        chain=word.chain,
        origin=run.origin,
        error=why(run.told_at),
    )


def _is_durable(said: RunMessage | RunRecord) -> bool:
    return said.mode == WORKFLOW and said.rank > DISPATCH_RANK


def _record(row: RunRow) -> RunRecord:
    message = row.message
    return RunRecord(
        company_id=message.company_id,
        runbook_id=message.runbook.id,
        mode=message.mode,
        status=row.status,
        rank=message.rank,
        seq=message.seq,
        lane=message.lane,
        started_at=row.started_at,
        finished_at=row.finished_at,
        payload=row.payload,
        steps=row.steps,
        error=row.error,
        waits=row.waits,
        reason=row.reason,
        detail=row.detail,
        ended_by=row.by,
        origin=message.origin,
        message=message,
        told_at=message.at,
        check_at=row.check_at,
    )
