"""The run records in memory: the same promises as PostgresFinalizerStore, held to them by the same suite."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outlast.contracts.messages import Finished
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast_finalizer.core.outcome import RunRow
from tests.stores.columns import check_execution_ids, check_text


@dataclass(slots=True)
class RunRecord:
    """One row of the table `runs`, as far as the suite and the simulation look at it."""

    company_id: str
    runbook_id: str
    status: str
    rank: int
    seq: int
    lane: int
    started_at: datetime | None
    finished_at: datetime | None
    payload: bytes | None
    steps: bytes | None
    error: bytes | None


class MemoryFinalizerStore:
    """The schema `records`, shared by every instance of the finalizer."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.runs: dict[str, RunRecord] = {}

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> None:
        """The rows or nothing, offsets first."""
        self._fence.check(moves)
        for row in rows:
            check_execution_ids((row.execution_id,))
            check_text(row.message.company_id, row.message.runbook.id, row.message.runbook.name)
            check_text(row.message.event.source, row.message.event.id, row.message.event.type)
        self._fence.apply(moves)
        for row in rows:
            self._upsert(row)

    def _upsert(self, row: RunRow) -> None:
        message = row.message
        is_finished = isinstance(message, Finished)
        new = RunRecord(
            company_id=message.company_id,
            runbook_id=message.runbook.id,
            status=row.status,
            rank=message.rank,
            seq=message.seq,
            lane=message.lane,
            started_at=message.started_at if isinstance(message, Finished) else message.at,
            finished_at=message.at if is_finished else None,
            payload=row.payload,
            steps=row.steps,
            error=row.error,
        )
        present = self.runs.get(row.execution_id)
        if present is None:
            self.runs[row.execution_id] = new
        elif (present.rank, present.seq) < (new.rank, new.seq):
            new.company_id, new.runbook_id, new.lane = present.company_id, present.runbook_id, present.lane
            new.payload = present.payload or new.payload
            self.runs[row.execution_id] = new

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, int]:
        """Those of these runs that have ended, with their lanes."""
        check_execution_ids(execution_ids)
        found = {each: self.runs[each] for each in execution_ids if each in self.runs}
        return {each: row.lane for each, row in found.items() if row.finished_at is not None}
