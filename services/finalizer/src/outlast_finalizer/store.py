"""The run records and what breakers count of them, committed with the offsets in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import asyncpg

from outlast.contracts import codec
from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Compared, Finished
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import columns, load_queries
from outlast_finalizer import breakers, silence
from outlast_finalizer.core.breaker import BreakerState, Key, Outcome
from outlast_finalizer.core.outcome import DISPATCH_RANK, RunRow
from outlast_finalizer.core.watchdog import PATIENCE, Patience
from outlast_finalizer.outbound import WORKFLOW, Ended
from outlast_finalizer.silence import Silent

LOOP = "finalizer.lifecycle"


@dataclass(slots=True)
class Changes:
    """What one batch says."""

    rows: Sequence[RunRow] = ()
    """The latest word on each run, in the order of ids."""
    compared: Mapping[str, Compared] = field(default_factory=dict[str, Compared])
    """By execution."""
    ended: dict[str, Ended] = field(default_factory=dict[str, Ended])
    """Runs that are said to have ended: each is answered."""
    outcomes: Sequence[Outcome] = ()
    """What the ends among `rows` say about their runbooks, in the order they came in."""
    resets: list[ResetBreaker] = field(default_factory=list[ResetBreaker])
    """In the order they came in."""
    asked: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """Runs about which a question was read, and when the broker took it."""
    checked: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """Runs that are asked about by this, and when to ask again."""
    patience: Patience = PATIENCE


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit found."""

    bare: Collection[str] = ()
    """Ended runs whose record lacks its payload yet."""
    new_comparisons: Collection[str] = ()
    breakers: Mapping[Key, BreakerState] = field(default_factory=dict[Key, BreakerState])
    """Those that opened, or were reset."""
    given_up: Sequence[Finished] = ()
    """Runs that have failed because nothing was heard of them: to be said."""


class FinalizerStore(Protocol):
    """What the finalizer's loop needs of its database."""

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """The changes in one transaction, offsets first.

        Fenced, DataRejected, TransientError (outcome unknown).
        """
        ...

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        ...

    async def compared(self, execution_ids: Collection[str]) -> Collection[str]:
        """Those of these runs whose comparison is kept."""
        ...

    async def given_up(self, execution_ids: Collection[str]) -> Sequence[Finished]:
        """What is to be said of those of these runs that the watchdog failed."""
        ...

    async def silent(self, lanes: Sequence[int], until: datetime, page_max: int) -> Sequence[Silent]:
        """Runs of these lanes that are to be asked about by then, a page of them."""
        ...


class PostgresFinalizerStore:
    """The finalizer's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_finalizer")

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """The changes in one transaction, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            bare, outcomes = await self._record(connection, changes) if changes.rows else ([], [])
            new = await self._compare(connection, changes.compared) if changes.compared else ()
            is_counting = outcomes or changes.resets
            changed = await breakers.count(connection, outcomes, changes.resets) if is_counting else {}
            is_asked = bool(changes.asked)
            failed = await silence.hear(connection, changes.asked, changes.patience) if is_asked else ()
            if changes.checked:
                await silence.check(connection, changes.checked)
        return Committed(bare, new, changed, failed)

    async def _record(
        self, connection: asyncpg.Connection, changes: Changes
    ) -> tuple[list[str], list[Outcome]]:
        """The ended runs whose record lacks its payload, and the outcomes that count."""
        rows = changes.rows
        found = await connection.fetch(self._queries["upsert_runs"], *_columns(rows, changes.outcomes))
        filling = {str(each["execution_id"]) for each in found if each["is_filling"]}
        if filling:
            filled = [(row.execution_id, row.payload) for row in rows if row.execution_id in filling]
            await connection.execute(self._queries["fill_payloads"], *columns(filled))
        bare = [str(each["execution_id"]) for each in found if each["is_bare"]]
        counted = {str(each["execution_id"]) for each in found if each["is_counted"]}
        return bare, [each for each in changes.outcomes if each.execution_id in counted]

    async def _compare(self, connection: asyncpg.Connection, compared: Mapping[str, Compared]) -> list[str]:
        records = [
            (name, each.company_id, each.runbook.id, each.lane, each.at, each.is_agreed, codec.encode(each))
            for name, each in sorted(compared.items())
        ]
        rows = await connection.fetch(self._queries["insert_comparisons"], *columns(records))
        return [str(row["execution_id"]) for row in rows]

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        async with classified():
            rows = await self._pool.fetch(self._queries["finished_runs"], list(execution_ids))
        return {
            str(row["execution_id"]): Ended(
                row["lane"],
                row["company_id"],
                row["runbook_id"],
                row["has_payload"],
                row["mode"] == WORKFLOW and row["rank"] > DISPATCH_RANK,
            )
            for row in rows
        }

    async def compared(self, execution_ids: Collection[str]) -> Collection[str]:
        """Those of these runs whose comparison is kept."""
        async with classified():
            rows = await self._pool.fetch(self._queries["compared_runs"], list(execution_ids))
        return [str(row["execution_id"]) for row in rows]

    async def given_up(self, execution_ids: Collection[str]) -> Sequence[Finished]:
        """What is to be said of those of these runs that the watchdog failed."""
        async with classified():
            rows = await self._pool.fetch(self._queries["given_up_runs"], list(execution_ids))
        return [silence.given_up(row) for row in rows]

    async def silent(self, lanes: Sequence[int], until: datetime, page_max: int) -> Sequence[Silent]:
        """Runs of these lanes that are to be asked about by then, a page of them."""
        async with classified():
            rows = await self._pool.fetch(self._queries["silent_runs"], lanes, until, page_max)
        return [Silent(str(row["execution_id"]), *tuple(row.values())[1:]) for row in rows]


def _columns(rows: Sequence[RunRow], outcomes: Sequence[Outcome]) -> list[list[object]]:
    failing = {each.key for each in outcomes if each.is_failure}
    counting = {each.execution_id: 2 if each.key in failing else 1 for each in outcomes}
    records = [
        (
            row.execution_id,
            row.message.company_id,
            row.message.runbook.id,
            row.message.runbook.name,
            row.message.runbook.version,
            row.message.runbook.sha256,
            row.message.mode,
            row.status,
            row.message.rank,
            row.message.seq,
            row.message.event.source,
            row.message.event.id,
            row.message.event.type,
            row.message.event.time,
            row.message.lane,
            row.started_at,
            row.finished_at,
            row.payload,
            row.steps,
            row.error,
            " ".join(row.message.chain),
            row.waits,
            row.reason,
            row.detail,
            row.by,
            row.message.origin.is_degraded,
            row.message.origin.generation,
            row.message.origin.started_by,
            row.message.origin.instead_of,
            counting.get(row.execution_id, 0),
            row.message.at,
            row.check_at,
            row.message.origin.is_slotted,
        )
        for row in rows
    ]
    return columns(records)
