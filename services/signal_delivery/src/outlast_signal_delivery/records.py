"""Which runs have a record and are not over: read from the finalizer's versioned view. Nothing is written there."""

from collections.abc import Collection
from typing import Protocol

import asyncpg

from outlast.db.pool import classified
from outlast.db.queries import load_queries


class Runs(Protocol):
    """What is known of runs besides what the engine says."""

    async def known(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Those of these (company, execution) pairs that have a record and are not over: the engine may only be late
        to hear of them. What is over and unknown to it will never answer. TransientError: nobody can say.
        """
        ...


class RecordedRuns:
    """The view `records_read.runs_v1`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._query = load_queries("outlast_signal_delivery")["known_runs"]

    async def known(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Those of these (company, execution) pairs that have a record and are not over."""
        pairs = list(asked)
        async with classified():
            rows = await self._pool.fetch(
                self._query, [company for company, _ in pairs], [execution for _, execution in pairs]
            )
        return {(row["company_id"], str(row["execution_id"])) for row in rows}
