"""What is due without a message, asked of Postgres: every question stands on an index of its own."""

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg

from outlast.db.pool import classified
from outlast.db.queries import load_queries


class PostgresPressing:
    """Reads the schema `dispatch`; implements Pressing."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_trigger_matcher", "pressing.sql")

    async def has_any(self, lanes: Collection[int]) -> bool:
        """Whether anything at all stands in these lanes that is not sent, resumes, or is to be run again."""
        async with classified():
            return bool(await self._pool.fetchval(self._queries["has_any"], list(lanes)))

    async def unanswered(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """`requested` or resuming since before this instant."""
        return await self._ids("unanswered", list(lanes), before, most)

    async def unserved(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """The head of each queue that has a free slot, not asked again since before this instant."""
        return await self._ids("unserved", list(lanes), before, most)

    async def expired(self, lanes: Collection[int], now: datetime, most: int) -> Sequence[str]:
        """Queued for too long."""
        return await self._ids("expired", list(lanes), now, most)

    async def held(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Held for the engine."""
        return await self._ids("held", list(lanes), most)

    async def deferred(
        self, lanes: Collection[int], limit: int, most: int, *, with_held: bool
    ) -> Sequence[str]:
        """Deferred, or held, by companies that have room now: in turn, each company's in order."""
        return await self._ids("deferred", list(lanes), limit, most, with_held)

    async def runbooks(self, lanes: Collection[int]) -> Sequence[tuple[int, str, str]]:
        """The runbooks (lane, company, id) that have something unsent."""
        async with classified():
            rows = await self._pool.fetch(self._queries["runbooks"], list(lanes))
        return [(row["lane"], row["company_id"], row["runbook_id"]) for row in rows]

    async def unsent(self, runbook: tuple[int, str, str], most: int) -> Sequence[str]:
        """What this runbook has unsent."""
        return await self._ids("unsent", *runbook, most)

    async def leaked(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Closed, and still holding a slot."""
        return await self._ids("leaked", list(lanes), most)

    async def to_run(
        self, lanes: Collection[int], without: Collection[tuple[str, str]], most: int
    ) -> Sequence[str]:
        """Suppressed firings that somebody ordered to run, but none of these runbooks (company, id)."""
        companies, runbooks = [each[0] for each in without], [each[1] for each in without]
        return await self._ids("to_run", list(lanes), most, companies, runbooks)

    async def prune(self, before: datetime, most: int) -> int:
        """Forget window entries that were over before this instant; returns how many."""
        async with classified():
            return int(await self._pool.fetchval(self._queries["prune"], before, most))

    async def _ids(self, query: str, *arguments: object) -> list[str]:
        async with classified():
            rows = await self._pool.fetch(self._queries[query], *arguments)
        return [str(row["execution_id"]) for row in rows]
