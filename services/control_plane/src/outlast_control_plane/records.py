"""Runs, read from the finalizer's and the engine's versioned views. Nothing is written there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from outlast import ids
from outlast.db.pool import classified
from outlast.db.queries import load_queries
from outlast.errors import TransientError
from outlast.http.problems import Problem, unavailable

QUERIES = load_queries("outlast_control_plane", "read_models.sql")
ACQUIRE_SECONDS = 5.0
MISSING = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)
"""The view's owner has not brought its schema to where this release reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list shows; None leaves a filter out."""

    company_id: str | None
    runbook_id: str | None = None
    status: str | None = None
    reason: str | None = None
    event_id: str | None = None
    mode: str | None = None
    is_degraded: bool | None = None
    started_by: str | None = None
    instead_of: str | None = None
    since: datetime | None = None
    before: str | None = None
    """Execution id of the last run of the page before."""


class Records:
    """The read models. A view that is not there yet is answered as `unavailable`, never as "no runs"."""

    def __init__(self, records: asyncpg.Pool, engine: asyncpg.Pool) -> None:
        self._records = records
        self._engine = engine

    async def page(self, wanted: RunFilter, limit: int) -> Sequence[asyncpg.Record]:
        """Runs newest first, at most `limit`."""
        since = None if wanted.since is None else ids.lower_bound(int(wanted.since.timestamp() * 1000))
        return await _fetch(
            self._records, "runs_page", "run records",
            wanted.company_id, wanted.before, since, wanted.runbook_id, wanted.status,
            wanted.reason, wanted.event_id,
            wanted.mode, wanted.is_degraded, wanted.started_by, wanted.instead_of, limit,
        )  # fmt: skip

    async def run(self, execution_id: str, company_id: str | None) -> asyncpg.Record | None:
        """One run's record, None if there is none or it is another company's."""
        rows = await _fetch(self._records, "run", "run records", execution_id, company_id)
        return rows[0] if rows else None

    async def run_state(self, execution_id: str, company_id: str | None) -> asyncpg.Record | None:
        """Company, runbook, status and end of one run, None if there is none or it is another company's."""
        rows = await _fetch(self._records, "run_state", "run records", execution_id, company_id)
        return rows[0] if rows else None

    async def suppressed(self, company_id: str, runbook_id: str, executions: Sequence[str]) -> set[str]:
        """Which of these are firings of the runbook that its breaker held back."""
        rows = await _fetch(
            self._records, "suppressed_runs", "run records", company_id, runbook_id, executions
        )
        return {str(row["execution_id"]) for row in rows}

    async def open_run(self, execution_id: str, company_id: str | None) -> asyncpg.Record | None:
        """A run that the engine has open, None if it has not."""
        rows = await _fetch(self._engine, "open_run", "the engine's view", execution_id, company_id)
        return rows[0] if rows else None

    async def history(self, execution_id: str, after: int, limit: int) -> Sequence[asyncpg.Record]:
        """History events after a sequence number. The caller has checked whose run it is."""
        return await _fetch(self._engine, "history_page", "run histories", execution_id, after, limit)


async def _fetch(pool: asyncpg.Pool, query: str, what: str, *arguments: object) -> Sequence[asyncpg.Record]:
    try:
        async with classified(), pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            return await connection.fetch(QUERIES[query], *arguments)
    except TransientError as fault:
        if isinstance(fault.__cause__, MISSING):
            raise _missing(what) from fault
        raise


def _missing(what: str) -> Problem:
    return unavailable(f"{what} are not available yet.".capitalize(), 2.0)
