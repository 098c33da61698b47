"""The run records, committed with the offsets in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import asyncpg

from outlast.contracts.messages import Finished
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import load_queries
from outlast_finalizer.core.outcome import RunRow

LOOP = "finalizer.lifecycle"


class FinalizerStore(Protocol):
    """What the finalizer's loop needs of its database."""

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> None:
        """The rows in one transaction, offsets first. Fenced, DataRejected, TransientError (outcome unknown)."""
        ...

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, int]:
        """Those of these runs that have ended, with their lanes."""
        ...


class PostgresFinalizerStore:
    """The finalizer's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_finalizer")

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> None:
        """The rows in one transaction, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            if rows:
                await connection.execute(self._queries["upsert_runs"], *_columns(rows))

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, int]:
        """Those of these runs that have ended, with their lanes."""
        async with classified():
            rows = await self._pool.fetch(self._queries["finished_runs"], list(execution_ids))
        return {str(row["execution_id"]): row["lane"] for row in rows}


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
            row.message.started_at if isinstance(row.message, Finished) else row.message.at,
            row.message.at if isinstance(row.message, Finished) else None,
            row.payload,
            row.steps,
            row.error,
            " ".join(row.message.chain),
        )
        for row in rows
    ]
    return [list(column) for column in zip(*records, strict=True)]
