"""The run records, committed with the offsets in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg

from outlast.contracts import codec
from outlast.contracts.messages import Compared
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import load_queries
from outlast_finalizer.core.outcome import DISPATCH_RANK, RunRow
from outlast_finalizer.outbound import WORKFLOW, Ended

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


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit found."""

    bare: Collection[str] = ()
    """Ended runs whose record has no payload yet."""
    new_comparisons: Collection[str] = ()


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


class PostgresFinalizerStore:
    """The finalizer's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_finalizer")

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """The changes in one transaction, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            bare = await self._record(connection, changes.rows) if changes.rows else ()
            new = await self._compare(connection, changes.compared) if changes.compared else ()
        return Committed(bare, new)

    async def _record(self, connection: asyncpg.Connection, rows: Sequence[RunRow]) -> list[str]:
        found = await connection.fetch(self._queries["upsert_runs"], *_columns(rows))
        filling = {str(each["execution_id"]) for each in found if each["is_filling"]}
        if filling:
            filled = [(row.execution_id, row.payload) for row in rows if row.execution_id in filling]
            await connection.execute(self._queries["fill_payloads"], *_transposed(filled))
        return [str(each["execution_id"]) for each in found if each["is_bare"]]

    async def _compare(self, connection: asyncpg.Connection, compared: Mapping[str, Compared]) -> list[str]:
        records = [
            (name, each.company_id, each.runbook.id, each.lane, each.at, each.is_agreed, codec.encode(each))
            for name, each in sorted(compared.items())
        ]
        rows = await connection.fetch(self._queries["insert_comparisons"], *_transposed(records))
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


def _columns(rows: Sequence[RunRow]) -> list[list[object]]:
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
        )
        for row in rows
    ]
    return _transposed(records)


def _transposed(records: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*records, strict=True)]
