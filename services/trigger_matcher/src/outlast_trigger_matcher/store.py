"""The matcher's rows in Postgres: events seen, dispatches, windows, committed with the offsets in one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import asyncpg

from outlast.contracts.domain_events import TIMER_SCHEDULER
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import columns, load_queries
from outlast_trigger_matcher import records
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.core.crowds import Crowds, GivenOut, SlotUse
from outlast_trigger_matcher.core.rows import Dispatch, SlotKey, WindowKey
from outlast_trigger_matcher.ports import EventKey, Intake, Outcome, Plan, RuleKey

INTAKE = "trigger_matcher.intake"
LANES = "trigger_matcher.lanes"
NO_ID = "00000000-0000-0000-0000-000000000000"


class PostgresMatcherStore:
    """The matcher's schema; implements IntakeStore and LanesStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_trigger_matcher")
        self._stored_definitions: set[str] = set()

    # ---- events in -------------------------------------------------------------------------------------------

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[EventKey]:
        """All in one transaction, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, INTAKE, moves)
            fresh = await self._add(connection, intake)
        self._remember(intake.dispatches)
        return fresh

    async def _add(self, connection: asyncpg.Connection, intake: Intake) -> frozenset[EventKey]:
        if not intake.events:
            return frozenset()
        await self._add_definitions(connection, intake.dispatches)
        rows = await connection.fetch(self._queries["add_events"], *records.event_columns(intake.events))
        fresh = frozenset((row["company_id"], row["source"], row["event_id"]) for row in rows)
        await self._add_dispatches(connection, intake.fresh(fresh))
        return fresh

    async def _add_definitions(self, connection: asyncpg.Connection, rows: Iterable[Dispatch]) -> None:
        bodies = {
            row.start.runbook.sha256: bytes(row.start.definition)
            for row in rows
            if row.start.runbook.sha256 not in self._stored_definitions
        }
        if bodies:
            names = sorted(bodies)  # two instances that add the same ones wait for each other in one order
            query = self._queries["add_definitions"]
            await connection.execute(query, names, [bodies[name] for name in names])

    def _remember(self, rows: Iterable[Dispatch]) -> None:
        """Their definitions are stored: the transaction has ended well."""
        self._stored_definitions.update(row.start.runbook.sha256 for row in rows)

    async def _add_dispatches(self, connection: asyncpg.Connection, rows: Sequence[Dispatch]) -> None:
        plain, others = records.by_kind(rows)
        if plain:
            await connection.execute(self._queries["add_dispatches"], *records.plain_columns(plain))
        if others:
            query = self._queries["add_guarded_dispatches"]
            await connection.execute(query, *records.guarded_columns(others))

    # ---- executions followed ---------------------------------------------------------------------------------

    async def commit_lanes(self, plan: Plan, moves: Sequence[Move]) -> Outcome:
        """All in one transaction, offsets first, then rows by id, then what their runbooks have given out."""
        outcome = Outcome()
        async with transaction(self._pool) as connection:
            await fence.move(connection, LANES, moves)
            if plan.steps:
                outcome.board = await self._decide(connection, plan)
            if plan.closed:
                rows = await connection.fetch(
                    self._queries["close_dispatches"], sorted(set(plan.closed)), plan.closed_at
                )
                outcome.leaked = [str(row["execution_id"]) for row in rows]
            if plan.waiting:
                names = sorted(plan.waiting)
                flags = [plan.waiting[name] for name in names]
                await connection.execute(self._queries["store_waiting"], names, flags)
            if plan.compared:
                await connection.execute(self._queries["store_compared"], sorted(set(plan.compared)))
            outcome.fresh = await self._add(connection, plan.intake)
            if plan.again:
                await self._add_definitions(connection, plan.again)
                await self._add_dispatches(connection, plan.again)
            for each in plan.answers:
                await connection.execute(
                    self._queries["answer_suppressed"],
                    each.company_id, each.runbook_id, each.answer, each.by, list(each.executions),
                )  # fmt: skip
        self._remember((*plan.intake.dispatches, *plan.again))
        return outcome

    async def _decide(self, connection: asyncpg.Connection, plan: Plan) -> Board:
        touched = sorted({*plan.wanted, *plan.closed, *plan.waiting, *plan.compared})
        found = await connection.fetch(self._queries["lock_rows"], touched)
        rows = [records.to_dispatch(each) for each in found if str(each["execution_id"]) in plan.wanted]
        asking = [row for row in rows if row.may_take_slot]
        runbooks = sorted({row.runbook for row in asking})
        if runbooks:
            await connection.execute(self._queries["add_guarded"], *columns(runbooks))
            await connection.execute(self._queries["lock_guarded"], *columns(runbooks))
        held = await self._held(connection, asking)
        entries = await self._entries(connection, asking)
        board = Board(rows, held, entries, plan.now)
        for step in plan.steps:
            step(board)
        if board.changed:
            changed = [board.rows[each] for each in board.changed]
            await connection.execute(self._queries["store_rows"], *records.changed_columns(changed))
        if board.admissions:
            query = self._queries["add_admissions"]
            await connection.execute(query, *records.admission_columns(board.admissions))
        return board

    async def _held(self, connection: asyncpg.Connection, asking: Iterable[Dispatch]) -> dict[SlotKey, int]:
        keys = sorted({row.slot_key for row in asking if row.slot_key is not None})
        if not keys:
            return {}
        rows = await connection.fetch(self._queries["held_slots"], *columns(keys))
        return {(row["company_id"], row["runbook_id"], row["key"]): row["held"] for row in rows}

    async def _entries(
        self, connection: asyncpg.Connection, asking: Iterable[Dispatch]
    ) -> dict[WindowKey, list[datetime]]:
        limits: dict[WindowKey, int] = {}
        for row in asking:
            if row.guard is not None and row.status == "requested":
                for window in row.guard.windows:
                    key = (*row.runbook, window.key)
                    limits[key] = max(limits.get(key, 0), window.limit)
        return await self._entries_of(connection, limits)

    async def _entries_of(
        self, connection: asyncpg.Connection | asyncpg.Pool, limits: Mapping[WindowKey, int]
    ) -> dict[WindowKey, list[datetime]]:
        """The latest entries of these windows, as many as each limit, in order."""
        entries: dict[WindowKey, list[datetime]] = {key: [] for key in limits}
        if limits:
            asked = [(*key, limit) for key, limit in limits.items()]
            for row in await connection.fetch(self._queries["window_entries"], *columns(asked)):
                entries[row["company_id"], row["runbook_id"], row["key"]].append(row["at"])
        return {key: sorted(times) for key, times in entries.items()}

    # ---- reading ---------------------------------------------------------------------------------------------

    async def rows(self, execution_ids: Collection[str]) -> Sequence[Dispatch]:
        """These executions' rows with payload and definition, by id."""
        async with classified():
            rows = await self._pool.fetch(self._queries["load_rows"], list(execution_ids))
        return [records.to_dispatch(row) for row in rows]

    async def runbooks_of(self, execution_ids: Collection[str]) -> Mapping[str, str]:
        """Which runbook each of these executions is of; those that are not known are left out."""
        async with classified():
            rows = await self._pool.fetch(self._queries["runbooks_of"], list(execution_ids))
        return {str(row["execution_id"]): row["runbook_id"] for row in rows}

    async def unended(self, rules: Collection[RuleKey]) -> Collection[RuleKey]:
        """Those of these schedules' rules that have a run, or one that is still to be, which has not ended."""
        async with classified():
            rows = await self._pool.fetch(self._queries["unended"], TIMER_SCHEDULER, *columns(list(rules)))
        return [(row["company_id"], row["runbook_id"], row["subject"]) for row in rows]

    async def given_out(self, crowds: Crowds) -> GivenOut:
        """What these windows and slots have given out."""
        async with classified():
            entries = await self._entries_of(self._pool, crowds.windows)
            if not crowds.slots:
                return GivenOut(entries)
            asked = [(*key, *more) for key, more in crowds.slots.items()]
            rows = await self._pool.fetch(self._queries["slot_use"], *columns(asked))
        slots = {
            (row["company_id"], row["runbook_id"], row["key"]): SlotUse(
                row["held"], row["queued"], row["asking"]
            )
            for row in rows
        }
        return GivenOut(entries, slots)

    async def seen(self, keys: Collection[EventKey]) -> frozenset[EventKey]:
        """Those of these events that were taken in before."""
        async with classified():
            rows = await self._pool.fetch(self._queries["seen_events"], *columns(sorted(keys), 3))
        return frozenset((row["company_id"], row["source"], row["event_id"]) for row in rows)

    async def in_flight(self, companies: Collection[str], limit: int) -> Mapping[str, int]:
        """How many runs of each company are under way; `limit` for one whose firings are deferred already."""
        async with classified():
            rows = await self._pool.fetch(self._queries["in_flight"], list(companies), limit)
        return {row["company_id"]: limit if row["has_deferred"] else row["running"] for row in rows}

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Executions of a lane after `after`, in order: not recorded, or with a double that is not compared."""
        async with classified():
            rows = await self._pool.fetch(self._queries["unclosed_page"], lane, after or NO_ID, page_max)
        return [str(row["execution_id"]) for row in rows]
