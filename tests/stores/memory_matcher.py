"""The matcher's rows in memory: the same promises as PostgresMatcherStore, held to them by the same suite."""

from bisect import bisect_right, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from outlast.contracts.messages import Start
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast_trigger_matcher.store import EventRow, Intake
from tests.stores.columns import check_execution_ids, check_text


@dataclass(slots=True)
class Dispatch:
    """One row of the table `dispatches`."""

    start: Start
    closed_at: datetime | None = None


class MemoryMatcherStore:
    """The schema `dispatch`, shared by every instance of the matcher; implements IntakeStore and LanesStore."""

    def __init__(self, intake: LocalFence, lanes: LocalFence) -> None:
        self._intake = intake
        self._lanes = lanes
        self.events: dict[tuple[str, str, str], EventRow] = {}
        self.dispatches: dict[str, Dispatch] = {}
        self._firings: set[tuple[str, str, str, str]] = set()
        self._unclosed: dict[int, list[str]] = {}

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[tuple[str, str, str]]:
        """All or nothing, offsets first. Returns the keys of the events that are new."""
        self._intake.check(moves)
        for event in intake.events:
            check_text(*event.key, event.event.type, event.event.subject, event.traceparent, *event.chain)
        fresh = frozenset(event.key for event in intake.events if self.is_new(event.key))
        starts = [s for s in intake.starts if (s.company_id, s.event.source, s.event.id) in fresh]
        for start in starts:
            check_execution_ids((start.execution_id,))
            firing = (start.company_id, start.event.source, start.event.id, start.runbook.id)
            if start.execution_id in self.dispatches or firing in self._firings:
                raise TransientError(f"expected no dispatch {start.execution_id} of {firing}")
        self._intake.apply(moves)
        for event in intake.events:
            if event.key in fresh:
                self.events.setdefault(event.key, event)
        for start in starts:
            self.dispatches[start.execution_id] = Dispatch(start)
            self._firings.add((start.company_id, start.event.source, start.event.id, start.runbook.id))
            insort(self._unclosed.setdefault(start.lane, []), start.execution_id)
        return fresh

    def is_new(self, key: tuple[str, str, str]) -> bool:
        """Whether no event with this key was taken in before."""
        return key not in self.events

    async def commit_lanes(self, closed: Collection[str], at: datetime, moves: Sequence[Move]) -> None:
        """Close the dispatches of these recorded executions, offsets first."""
        self._lanes.check(moves)
        check_execution_ids(closed)
        self._lanes.apply(moves)
        for execution_id in closed:
            row = self.dispatches.get(execution_id)
            if row is not None and row.closed_at is None:
                row.closed_at = at
                self._unclosed[row.start.lane].remove(execution_id)

    async def starts(self, execution_ids: Collection[str]) -> Sequence[Start]:
        """The starts of these executions, those that are sent and not closed, by id."""
        check_execution_ids(execution_ids)
        rows = (self.dispatches.get(each) for each in sorted(set(execution_ids)))
        return [row.start for row in rows if row is not None and row.closed_at is None]

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Accepted and not recorded executions of a lane after `after` ("" for the first page), in order."""
        rows = self._unclosed.get(lane, [])
        first = bisect_right(rows, after)
        return rows[first : first + page_max]
