"""The matcher's rows in memory: the same promises as PostgresMatcherStore, held to them by the same suite."""

from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from outlast.contracts.domain_events import TIMER_SCHEDULER
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.core.crowds import Crowds, GivenOut, SlotUse
from outlast_trigger_matcher.core.rows import UNSENT, WITHHELD, Admission, Dispatch, SlotKey, WindowKey
from outlast_trigger_matcher.ports import (
    Answer,
    EventKey,
    EventRow,
    Intake,
    Outcome,
    Plan,
    RuleKey,
    event_key,
)
from tests.stores.columns import check_execution_ids, check_text

ALWAYS = datetime.min.replace(tzinfo=UTC)


class MemoryMatcherStore:
    """The schema `dispatch`, shared by every instance of the matcher; implements IntakeStore and LanesStore."""

    def __init__(self, intake: LocalFence, lanes: LocalFence) -> None:
        self._intake = intake
        self._lanes = lanes
        self.events: dict[EventKey, EventRow] = {}
        self.dispatches: dict[str, Dispatch] = {}
        self.admissions: dict[tuple[WindowKey, datetime, str], Admission] = {}
        self._firings: set[tuple[str, str, str, str, str]] = set()
        self._unclosed: dict[int, list[str]] = {}

    # ---- events in -------------------------------------------------------------------------------------------

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[EventKey]:
        """All or nothing, offsets first. Returns the keys of the events that are new."""
        self._intake.check(moves)
        fresh = self._check(intake, ())
        self._intake.apply(moves)
        self._add(intake, fresh, ())
        return fresh

    def is_new(self, key: EventKey) -> bool:
        """Whether no event with this key was taken in before."""
        return key not in self.events

    def _check(self, intake: Intake, again: Sequence[Dispatch]) -> frozenset[EventKey]:
        """Refuse what Postgres would refuse; changes nothing."""
        for event in intake.events:
            check_text(*event.key, event.event.type, event.event.subject, event.traceparent, *event.chain)
        fresh = frozenset(event.key for event in intake.events if self.is_new(event.key))
        firings = set[tuple[str, str, str, str, str]]()
        for row in (*intake.fresh(fresh), *again):
            check_execution_ids((row.id,))
            if row.id in self.dispatches or _firing(row) in self._firings or _firing(row) in firings:
                raise TransientError(f"expected no dispatch {row.id} of {_firing(row)}")
            firings.add(_firing(row))
        return fresh

    def _add(self, intake: Intake, fresh: frozenset[EventKey], again: Sequence[Dispatch]) -> None:
        for event in intake.events:
            if event.key in fresh:
                self.events.setdefault(event.key, event)
        for row in (*intake.fresh(fresh), *again):
            self.dispatches[row.id] = row
            self._firings.add(_firing(row))
            insort(self._unclosed.setdefault(row.start.lane, []), row.id)

    # ---- executions followed ---------------------------------------------------------------------------------

    async def commit_lanes(self, plan: Plan, moves: Sequence[Move]) -> Outcome:
        """All or nothing, offsets first, then rows by id."""
        self._lanes.check(moves)
        check_execution_ids((*plan.wanted, *plan.closed, *plan.waiting, *plan.compared))
        fresh = self._check(plan.intake, plan.again)
        outcome = Outcome(fresh=fresh)
        if plan.steps:
            outcome.board = self._board(plan)
            for step in plan.steps:
                step(outcome.board)
        self._lanes.apply(moves)
        if outcome.board is not None:
            for each in outcome.board.changed:
                kept = self.dispatches[each].start
                row = outcome.board.rows[each]
                start = replace(row.start, payload=kept.payload, definition=kept.definition)
                self.dispatches[each] = replace(row, start=start)
            for entry in outcome.board.admissions:
                self.admissions.setdefault((entry.key, entry.at, entry.execution_id), entry)
        self._add(plan.intake, fresh, plan.again)
        outcome.leaked = [each for each in sorted(set(plan.closed)) if self._close(each, plan.closed_at)]
        for each, is_waiting in plan.waiting.items():
            if each in self.dispatches and self.dispatches[each].closed_at is None:
                self._put(each, is_waiting=is_waiting)
        for each in plan.compared:
            if each in self.dispatches:
                self._put(each, is_compared=True)
        for answer in plan.answers:
            self._answer(answer)
        return outcome

    def _board(self, plan: Plan) -> Board:
        rows = [self.dispatches[each] for each in sorted(plan.wanted) if each in self.dispatches]
        held: dict[SlotKey, int] = {}
        for row in self.dispatches.values():
            if row.has_slot and row.slot_key is not None:
                held[row.slot_key] = held.get(row.slot_key, 0) + 1
        entries: dict[WindowKey, list[datetime]] = {}
        for key, at, _ in sorted(self.admissions):
            entries.setdefault(key, []).append(at)
        return Board(rows, held, entries, plan.now)

    def _close(self, execution_id: str, at: datetime) -> bool:
        """Whether it still held a slot."""
        row = self.dispatches.get(execution_id)
        if row is None or row.closed_at is not None or row.status in UNSENT:
            return False
        self._unclosed[row.start.lane].remove(execution_id)
        self._put(
            execution_id,
            status=row.status if row.status in WITHHELD else "settled",
            version=row.version + 1,
            settled_at=row.settled_at or at,
            closed_at=at,
            resuming_seq=0,
            slot_freed_at=at if row.has_slot else row.slot_freed_at,
        )
        return row.has_slot

    def _answer(self, answer: Answer) -> None:
        for row in list(self.dispatches.values()):
            if row.runbook != (answer.company_id, answer.runbook_id) or row.status != "suppressed":
                continue
            is_meant = row.id in answer.executions if answer.executions else row.reason == "breaker_open"
            is_open = row.answer is None or (bool(answer.executions) and row.answer == "let_go")
            if is_meant and is_open:
                is_answered = answer.answer == "let_go"
                self._put(row.id, answer=answer.answer, answered_by=answer.by, is_answered=is_answered)

    def _put(self, execution_id: str, **fields: object) -> None:
        self.dispatches[execution_id] = replace(self.dispatches[execution_id], **fields)

    # ---- reading ---------------------------------------------------------------------------------------------

    async def rows(self, execution_ids: Collection[str]) -> Sequence[Dispatch]:
        """These executions' rows, by id."""
        check_execution_ids(execution_ids)
        rows = (self.dispatches.get(each) for each in sorted(set(execution_ids)))
        return [row for row in rows if row is not None]

    async def runbooks_of(self, execution_ids: Collection[str]) -> Mapping[str, str]:
        """Which runbook each of these executions is of."""
        return {row.id: row.start.runbook.id for row in await self.rows(execution_ids)}

    async def unended(self, rules: Collection[RuleKey]) -> Collection[RuleKey]:
        """Those of these schedules' rules that have a run, or one that is still to be, which has not ended."""
        unended = {
            (*row.runbook, self.events[event_key(row)].event.subject)
            for row in self.dispatches.values()
            if row.start.event.source == TIMER_SCHEDULER and row.settled_at is None and row.closed_at is None
        }
        return [rule for rule in rules if rule in unended]

    async def given_out(self, crowds: Crowds) -> GivenOut:
        """What these windows and slots have given out now."""
        entries: dict[WindowKey, list[datetime]] = {key: [] for key in crowds.windows}
        for key, at, _ in sorted(self.admissions):
            if key in entries:
                entries[key].append(at)
        slots = {key: SlotUse() for key in crowds.slots}
        for row in self.dispatches.values():
            if row.slot_key is not None and row.slot_key in slots:
                held, queued, asking = slots[row.slot_key]
                asking += row.status == "requested" and row.guard is not None and not row.guard.windows
                slots[row.slot_key] = SlotUse(held + row.has_slot, queued + (row.status == "queued"), asking)
        return GivenOut({key: times[-crowds.windows[key] :] for key, times in entries.items()}, slots)

    async def seen(self, keys: Collection[EventKey]) -> frozenset[EventKey]:
        """Those of these events that were taken in before."""
        return frozenset(key for key in keys if not self.is_new(key))

    async def in_flight(self, companies: Collection[str], limit: int) -> Mapping[str, int]:
        """How many runs of each company are under way; `limit` for one whose firings are deferred already."""
        return {company: self._in_flight(company, limit) for company in companies}

    def _in_flight(self, company: str, limit: int) -> int:
        own = [row for row in self._all_unclosed() if row.start.company_id == company]
        if any(row.status == "deferred" for row in own):
            return limit
        return min(limit, sum(1 for row in own if row.status == "sent" and not row.is_waiting))

    def _all_unclosed(self) -> Iterator[Dispatch]:
        return (self.dispatches[each] for lane in self._unclosed.values() for each in lane)

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Executions of a lane after `after`, in order: not recorded, or with a double that is not compared."""
        doubles = [row.id for row in self.dispatches.values() if row.start.lane == lane and row.left_double]
        rows = sorted((*self._unclosed.get(lane, []), *doubles))
        first = bisect_right(rows, after)
        return rows[first : first + page_max]


def _firing(row: Dispatch) -> tuple[str, str, str, str, str]:
    return (*event_key(row), row.start.runbook.id, row.start.origin.instead_of)


class MemoryPressing:
    """What is due without a message, asked of the rows in memory; implements Pressing."""

    def __init__(self, store: MemoryMatcherStore) -> None:
        self._store = store

    def _rows(self, lanes: Collection[int], is_meant: Callable[[Dispatch], bool]) -> list[Dispatch]:
        rows = self._store.dispatches.values()
        return sorted((r for r in rows if r.start.lane in lanes and is_meant(r)), key=lambda r: r.id)

    async def has_any(self, lanes: Collection[int]) -> bool:
        """Whether anything at all stands in these lanes that is not sent, resumes, or is to be run again."""
        return bool(self._rows(lanes, lambda r: r.status in UNSENT or r.resuming_seq > 0 or _is_to_run(r)))

    async def unanswered(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """`requested` or resuming since before this instant."""
        found = self._rows(
            lanes,
            lambda r: (r.status == "requested" or r.resuming_seq > 0) and (r.asked_at or ALWAYS) <= before,
        )
        return _page(sorted(found, key=lambda r: r.asked_at or ALWAYS), most)

    async def unserved(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """The head of each queue that has a free slot, not asked again since before this instant."""
        heads: dict[SlotKey, Dispatch] = {}
        for row in sorted(
            self._rows(lanes, lambda r: r.status == "queued"), key=lambda r: (r.received_at, r.id)
        ):
            if row.slot_key is not None:
                heads.setdefault(row.slot_key, row)
        held: dict[SlotKey, int] = {}
        for row in self._store.dispatches.values():
            if row.has_slot and row.slot_key is not None:
                held[row.slot_key] = held.get(row.slot_key, 0) + 1
        found = [
            row
            for key, row in heads.items()
            if (row.asked_at or ALWAYS) <= before
            and row.guard is not None
            and row.guard.slot is not None
            and held.get(key, 0) < row.guard.slot.limit
        ]
        return _page(sorted(found, key=lambda r: r.asked_at or ALWAYS), most)

    async def expired(self, lanes: Collection[int], now: datetime, most: int) -> Sequence[str]:
        """Queued for too long."""
        found = self._rows(
            lanes, lambda r: r.status == "queued" and r.expires_at is not None and r.expires_at <= now
        )
        return _page(sorted(found, key=lambda r: r.expires_at or ALWAYS), most)

    async def held(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Held for the engine."""
        return _page(self._rows(lanes, lambda r: r.status == "held"), most)

    async def deferred(
        self, lanes: Collection[int], limit: int, most: int, *, with_held: bool
    ) -> Sequence[str]:
        """Deferred, or held, by companies that have room now: in turn, each company's in order."""
        turns: list[tuple[int, str, str]] = []
        rows = self._rows(lanes, lambda r: r.status == "deferred" or (with_held and r.status == "held"))
        for company in {row.start.company_id for row in rows}:
            running = sum(
                1
                for r in self._store.dispatches.values()
                if r.start.company_id == company
                and r.status == "sent"
                and r.closed_at is None
                and not r.is_waiting
            )
            own = [row.id for row in rows if row.start.company_id == company]
            turns += [(turn, company, each) for turn, each in enumerate(own[: max(0, limit - running)])]
        return [each for _, _, each in sorted(turns)[:most]]

    async def runbooks(self, lanes: Collection[int]) -> Sequence[tuple[int, str, str]]:
        """The runbooks (lane, company, id) that have something unsent."""
        return sorted({(r.start.lane, *r.runbook) for r in self._rows(lanes, lambda r: r.status in UNSENT)})

    async def unsent(self, runbook: tuple[int, str, str], most: int) -> Sequence[str]:
        """What this runbook (lane, company, id) has unsent."""
        lane, *own = runbook
        return _page(self._rows((lane,), lambda r: r.status in UNSENT and r.runbook == tuple(own)), most)

    async def leaked(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Closed, and still holding a slot."""
        return _page(self._rows(lanes, lambda r: r.has_slot and r.closed_at is not None), most)

    async def to_run(
        self, lanes: Collection[int], without: Collection[tuple[str, str]], most: int
    ) -> Sequence[str]:
        """Suppressed firings that somebody ordered to run, but none of these runbooks (company, id)."""
        return _page(self._rows(lanes, lambda r: _is_to_run(r) and r.runbook not in without), most)

    async def prune(self, before: datetime, most: int) -> int:
        """Forget window entries that were over before this instant; returns how many."""
        over = sorted(
            (each for each in self._store.admissions.items() if each[1].until < before),
            key=lambda each: each[1].until,
        )[:most]
        for key, _ in over:
            del self._store.admissions[key]
        return len(over)


def _is_to_run(row: Dispatch) -> bool:
    return row.answer == "run" and not row.is_answered


def _page(rows: Iterable[Dispatch], most: int) -> list[str]:
    return [row.id for row in rows][:most]
