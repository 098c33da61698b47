"""The run records, committed with the offsets in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import asyncpg

from outlast.contracts.messages import Finished, Started
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import load_queries
from outlast_finalizer.core.outcome import RunRow

LOOP = "finalizer.lifecycle"


class Ended(NamedTuple):
    """A run that has ended, as its record has it."""

    lane: int
    company_id: str
    runbook_id: str
    has_payload: bool


class FinalizerStore(Protocol):
    """What the finalizer's loop needs of its database."""

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> Collection[str]:
        """The rows in one transaction, offsets first. Returns those ended runs whose record has no payload yet.

        Fenced, DataRejected, TransientError (outcome unknown).
        """
        ...

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        ...


class PostgresFinalizerStore:
    """The finalizer's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_finalizer")

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> Collection[str]:
        """The rows in one transaction, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            if not rows:
                return ()
            bare = await connection.fetch(self._queries["upsert_runs"], *_columns(rows))
        return [str(row["execution_id"]) for row in bare]

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        """Those of these runs that have ended."""
        async with classified():
            rows = await self._pool.fetch(self._queries["finished_runs"], list(execution_ids))
        return {
            str(row["execution_id"]): Ended(
                row["lane"], row["company_id"], row["runbook_id"], row["has_payload"]
            )
            for row in rows
        }


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
            row.message.at if isinstance(row.message, Started) else row.message.started_at,
            row.message.at if isinstance(row.message, Finished) else None,
            row.payload,
            row.steps,
            row.error,
            " ".join(row.message.chain),
            row.waits,
        )
        for row in rows
    ]
    return [list(column) for column in zip(*records, strict=True)]
