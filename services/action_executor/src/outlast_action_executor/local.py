"""The ledger in memory, for the simulation; passes the same suite as the one in Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outlast.clock import Clock
from outlast.contracts.topics import Claim as PartitionClaim
from outlast.db.fence import Owned
from outlast.db.local import LocalFence
from outlast.errors import Fenced
from outlast_action_executor.core.claim import Instance, Resolution, Row
from outlast_action_executor.ports import (
    Committed,
    Group,
    KnownRun,
    NewClaim,
    Operation,
    RunEnd,
    Settlement,
)


@dataclass(slots=True)
class Recorded:
    """One row of the table `claims`."""

    claimant: Instance
    deadline: datetime
    takeovers: int = 0
    resolution: Resolution | None = None
    result: bytes | None = None
    is_success: bool = False


class LocalTables:
    """What outlives processes: the tables of the schema `executor`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.fence = LocalFence()
        self.incarnations: dict[str, int] = {}
        self.claims: dict[Operation, dict[int, Recorded]] = {}
        self.ends: dict[str, RunEnd] = {}


class LocalLedger:
    """One process's connection to the tables."""

    def __init__(self, tables: LocalTables) -> None:
        self._tables = tables
        self._me = Instance("", 0)

    async def incarnate(self, ordinal: str) -> Instance:
        """Begin a life of this ordinal."""
        incarnation = self._tables.incarnations.get(ordinal, 0) + 1
        self._tables.incarnations[ordinal] = incarnation
        self._me = Instance(ordinal, incarnation)
        return self._me

    async def acquire(self, claims: Sequence[PartitionClaim]) -> Sequence[Owned]:
        """Own these partitions (epoch + 1)."""
        return await self._tables.fence.acquire(claims)

    async def look_up(self, operations: Sequence[Operation]) -> Sequence[Sequence[Row]]:
        """The attempts recorded of each operation, in the order asked."""
        return [
            [
                self._row(attempt, each)
                for attempt, each in sorted(self._tables.claims.get(operation, {}).items())
            ]
            for operation in operations
        ]

    async def look_up_runs(self, execution_ids: Sequence[str]) -> Mapping[str, KnownRun]:
        """What is recorded of these inline runs."""
        tried: dict[str, set[tuple[str, int]]] = {}
        for operation, attempts in self._tables.claims.items():
            if operation.execution_id in execution_ids:
                found = tried.setdefault(operation.execution_id, set())
                found.update((operation.activity_id, attempt) for attempt in attempts)
        ends = self._tables.ends
        return {
            each: KnownRun(ends.get(each), tried.get(each, ()))
            for each in execution_ids
            if each in tried or each in ends
        }

    def _row(self, attempt: int, each: Recorded) -> Row:
        remaining = (each.deadline - self._tables.clock.now()).total_seconds()
        is_dead = (
            remaining <= 0 or each.claimant.incarnation < self._tables.incarnations[each.claimant.ordinal]
        )
        return Row(attempt, each.claimant, each.takeovers, is_dead, remaining, each.result, each.is_success)

    async def commit(self, group: Group) -> Committed:
        """All of it, or Fenced and nothing."""
        self._tables.fence.check(group.moves)
        is_current = self._tables.incarnations.get(self._me.ordinal) == self._me.incarnation
        if not is_current and any(not self._is_settleable(each) for each in group.settlements):
            raise Fenced(f"expected {self._me} to be the present life")
        if not is_current and group.claims:
            raise Fenced(f"expected {self._me} to be the present life")
        self._tables.fence.apply(group.moves)
        settled = [self._settle(each) for each in group.settlements]
        claimed = [self._claim(each) for each in group.claims]
        ended = tuple(self._tables.ends.setdefault(each.execution_id, each) for each in group.ends)
        return Committed(settled, claimed, ended)

    def _is_settleable(self, settlement: Settlement) -> bool:
        row = self._tables.claims.get(settlement.of, {}).get(settlement.attempt)
        return row is not None and row.claimant == self._me and row.result is None

    def _settle(self, settlement: Settlement) -> bool:
        if not self._is_settleable(settlement):
            return False
        row = self._tables.claims[settlement.of][settlement.attempt]
        row.result, row.is_success = settlement.result, settlement.is_success
        return True

    def _claim(self, claim: NewClaim) -> bool:
        attempts = self._tables.claims.setdefault(claim.of, {})
        row = attempts.get(claim.attempt)
        deadline = self._tables.clock.now() + timedelta(seconds=claim.seconds)
        if claim.over is None:
            if row is None:
                attempts[claim.attempt] = Recorded(self._me, deadline, resolution=claim.resolution)
            return row is None
        seen = (claim.over.claimant, claim.over.takeovers)
        if row is None or row.result is not None or (row.claimant, row.takeovers) != seen:
            return False
        row.claimant, row.deadline, row.takeovers = self._me, deadline, row.takeovers + 1
        row.resolution = claim.resolution or row.resolution
        return True
