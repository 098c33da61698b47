"""The run records in memory: the same promises as PostgresFinalizerStore, held to them by the same suite."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outlast.contracts.messages import Finished
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast_finalizer.core.outcome import RunRow
from outlast_finalizer.store import Ended
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

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> Collection[str]:
        """The rows or nothing, offsets first. Returns the ended runs whose record has no payload yet."""
        self._fence.check(moves)
        for row in rows:
            check_execution_ids((row.execution_id,))
            check_text(row.message.company_id, row.message.runbook.id, row.message.runbook.name)
            check_text(row.message.event.source, row.message.event.id, row.message.event.type)
        self._fence.apply(moves)
        return [row.execution_id for row in rows if self._upsert(row)]

    def _upsert(self, row: RunRow) -> bool:
        """Whether it wrote a record that has ended and has no payload."""
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
        if present is not None:
            fills_in = (present.rank, present.seq) == (new.rank, new.seq) and present.payload is None
            if not fills_in and (present.rank, present.seq) >= (new.rank, new.seq):
                return False
            new.company_id, new.runbook_id, new.lane = present.company_id, present.runbook_id, present.lane
            new.payload = present.payload or new.payload
        self.runs[row.execution_id] = new
        return new.finished_at is not None and new.payload is None

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        check_execution_ids(execution_ids)
        found = {each: self.runs[each] for each in execution_ids if each in self.runs}
        return {
            each: Ended(row.lane, row.company_id, row.runbook_id, row.payload is not None)
            for each, row in found.items()
            if row.finished_at is not None
        }
