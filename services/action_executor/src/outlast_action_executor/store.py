"""The ledger in Postgres. A group of results, claims and ends is one statement: one round trip and one fsync.

Offsets and take-overs, which are rare, come before it in the same transaction. What the statement did not settle or
did not insert shows in its counts, and only then is it asked which.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from outlast.contracts.topics import Claim as PartitionClaim
from outlast.db import fence
from outlast.db.fence import Owned
from outlast.db.pool import classified, connect_pool, transaction
from outlast.db.queries import columns, load_queries
from outlast.errors import Fenced
from outlast_action_executor.core.claim import Instance, Row
from outlast_action_executor.ports import Committed, Group, KnownRun, NewClaim, Operation, RunEnd, Settlement

SCHEMA = "executor"
CLAIMS_STORAGE = "fillfactor = 20"
"""Room for results of some 300 bytes beside their claims: what is stored there leaves the index alone."""
PLANNER = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Every statement here finds its few rows by the primary key. Plans are made while the table is empty and kept while
it grows by thousands a second, so the planner must not choose by the table's size."""


async def connect_ledger(dsn: str) -> asyncpg.Pool:
    """A pool for this ledger. Sessions are left as they were found, so they need no reset, which is a round trip."""
    return await connect_pool(dsn, SCHEMA, settings=PLANNER, is_reset=False)


class PostgresLedger:
    """Claims and results in the schema `executor`, for one instance."""

    def __init__(self, pool: asyncpg.Pool, loop: str) -> None:
        self._pool = pool
        self._loop = loop
        self._queries = load_queries("outlast_action_executor")
        self._me = Instance("", 0)
        self._session: Any = None

    async def close(self) -> None:
        """Give the session back, so that the pool can be closed."""
        if self._session is not None:
            session, self._session = self._session, None
            await self._pool.release(session)

    async def incarnate(self, ordinal: str) -> Instance:
        """Begin a life of this ordinal."""
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(self._queries["incarnate"], ordinal)
            assert row is not None, "the statement returns a row"
            self._me = Instance(ordinal, row["incarnation"])
        return self._me

    async def acquire(self, claims: Sequence[PartitionClaim]) -> Sequence[Owned]:
        """Own these partitions (epoch + 1)."""
        async with transaction(self._pool) as connection:
            return await fence.acquire(connection, self._loop, claims)

    async def look_up(self, operations: Sequence[Operation]) -> Sequence[Sequence[Row]]:
        """The attempts recorded of each operation, in the order asked."""
        found: list[list[Row]] = [[] for _ in operations]
        async with self._own_session() as connection:
            rows = await connection.fetch(self._queries["look_up"], *columns(operations, 3))
        for n, attempt, ordinal, incarnation, takeovers, result, succeeded, is_dead, remaining in rows:
            claimant = Instance(ordinal, incarnation)
            found[n - 1].append(Row(attempt, claimant, takeovers, is_dead, remaining, result, succeeded))
        return found

    async def look_up_runs(self, execution_ids: Sequence[str]) -> Mapping[str, KnownRun]:
        """What is recorded of these inline runs; those that were never begun are absent."""
        ends: dict[str, RunEnd] = {}
        tried: dict[str, list[tuple[str, int]]] = {}
        async with self._own_session() as connection:
            rows = await connection.fetch(self._queries["look_up_runs"], execution_ids)
        for execution_id, finished, outcome, activity_id, attempt in rows:
            if finished is not None:
                ends[str(execution_id)] = RunEnd(str(execution_id), finished, outcome)
            else:
                tried.setdefault(str(execution_id), []).append((activity_id, attempt))
        return {each: KnownRun(ends.get(each), tried.get(each, ())) for each in {*ends, *tried}}

    async def commit(self, group: Group) -> Committed:
        """One synchronous commit. Fenced: nothing of it happened. TransientError: nobody knows. DataRejected."""
        overs = [claim for claim in group.claims if claim.over is not None]
        if not (group.moves or overs):
            async with self._own_session() as connection:
                return await self._settle_and_claim(connection, group, frozenset())
        async with transaction(self._pool) as connection:
            if group.moves:
                await fence.move(connection, self._loop, group.moves)
            taken = await self._take_over(connection, overs) if overs else frozenset[NewClaim]()
            return await self._settle_and_claim(connection, group, taken)

    @asynccontextmanager
    async def _own_session(self) -> AsyncIterator[Any]:
        """The loop's session, kept from statement to statement: leasing one each time costs as much as a statement.

        After any failure it is ended, and the next statement gets another.
        """
        async with classified():
            if not _is_open(self._session):
                await self.close()
                self._session = await self._pool.acquire()
            try:
                yield self._session
            except BaseException:
                if _is_open(self._session):
                    self._session.terminate()
                await self.close()
                raise

    async def _settle_and_claim(self, connection: Any, group: Group, taken: frozenset[NewClaim]) -> Committed:
        """The one statement; and, where it did less than asked, which of it."""
        new = [claim for claim in group.claims if claim.over is None]
        settlements = [(*each.of, each.attempt, each.result, each.is_success) for each in group.settlements]
        claims = [(*each.of, each.attempt, each.seconds, each.resolution) for each in new]
        ended: Sequence[RunEnd] = tuple(group.ends)
        if settlements or claims or ended:
            count = await connection.fetchrow(
                self._queries["commit_group"],
                *self._me,
                *columns(settlements, 6),
                *columns(claims, 6),
                *columns(ended, 3),
            )
            settled = await self._which(
                connection, "settled_at", group.settlements, count["settled"], count["at"]
            )
            claimed = iter(await self._which(connection, "claimed_at", new, count["claimed"], count["at"]))
            if count["ended"] != len(ended):
                ended = await self._recorded_ends(connection, ended)
        else:
            settled, claimed = [], iter([])
        of_claims = [next(claimed) if each.over is None else each in taken for each in group.claims]
        return Committed(settled, of_claims, ended)

    async def _recorded_ends(self, connection: Any, ends: Sequence[RunEnd]) -> Sequence[RunEnd]:
        """Some of these runs had ended before, as another process saw them."""
        rows = await connection.fetch(self._queries["look_up_runs"], [each.execution_id for each in ends])
        return tuple(
            RunEnd(str(execution_id), finished, outcome) for execution_id, finished, outcome, *_ in rows
        )

    async def _which(
        self,
        connection: Any,
        query: str,
        asked: Sequence[NewClaim] | Sequence[Settlement],
        count: int,
        at: object,
    ) -> list[bool]:
        if count == len(asked):
            return [True] * count
        await self._check_life(connection)
        keys = columns([(*each.of, each.attempt) for each in asked], 4)
        rows = await connection.fetch(self._queries[query], *keys, *self._me, at)
        ours = {row["n"] for row in rows}
        return [n in ours for n in range(1, len(asked) + 1)]

    async def _take_over(self, connection: Any, claims: Sequence[NewClaim]) -> frozenset[NewClaim]:
        rows = [
            (*each.of, each.attempt, each.seconds, each.resolution, *each.over.claimant, each.over.takeovers)
            for each in claims
            if each.over is not None
        ]
        taken = await connection.fetch(self._queries["take_over"], *self._me, *columns(rows, 9))
        if len(taken) != len(claims):
            await self._check_life(connection)
        return frozenset(claims[row["n"] - 1] for row in taken)

    async def _check_life(self, connection: Any) -> None:
        """A later life of our ordinal has begun: we are the zombie, and may claim nothing."""
        present = await connection.fetchval(self._queries["incarnation"], self._me.ordinal)
        if present != self._me.incarnation:
            raise Fenced(
                f"expected incarnation {self._me.incarnation} of {self._me.ordinal}, but it is {present}"
            )


def _is_open(session: Any) -> bool:
    """Whether a statement may be sent on it; the pool takes a session back when the server ends it."""
    try:
        return session is not None and not session.is_closed()
    except asyncpg.InterfaceError:
        return False
