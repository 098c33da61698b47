"""One suite for the ledger, in memory and in Postgres: claims, results, take-overs, fences."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from outlast import ids
from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Move
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions
from outlast.errors import DataRejected, Fenced
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.local import LocalLedger, LocalTables
from outlast_action_executor.ports import (
    Committed,
    Group,
    KnownRun,
    Ledger,
    NewClaim,
    Operation,
    RunEnd,
    Settlement,
)
from outlast_action_executor.store import CLAIMS_STORAGE, PostgresLedger, connect_ledger

AT = TopicPartition("activities.notify", 0)


def operation(number: int) -> Operation:
    birth = int(datetime.now(UTC).timestamp() * 1000)
    return Operation(ids.execution_id(birth, 4, "acme", "test", str(number), "rb"), "tell")


A, B = operation(1), operation(2)


class StillClock:
    """In Postgres time is the database's; here it stands."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Ledgers:
    connect: Callable[[], Ledger]

    async def living(self, ordinal: str = "0") -> Ledger:
        ledger = self.connect()
        await ledger.incarnate(ordinal)
        return ledger


async def ledger_pool(dsn: str) -> asyncpg.Pool:
    pool = await connect_ledger(dsn)
    await migrate(pool, "executor", migration_files("outlast_action_executor"))
    await ensure_weekly_partitions(pool, "executor", "runs", datetime.now(UTC))
    await ensure_weekly_partitions(pool, "executor", "claims", datetime.now(UTC), storage=CLAIMS_STORAGE)
    return pool


@pytest.fixture(params=["local", "postgres"])
async def ledgers(request: pytest.FixtureRequest) -> AsyncIterator[Ledgers]:
    if request.param == "local":
        tables = LocalTables(StillClock())
        yield Ledgers(lambda: LocalLedger(tables))
        return
    pool = await ledger_pool(request.getfixturevalue("postgres"))
    made: list[PostgresLedger] = []

    def connect() -> PostgresLedger:
        made.append(PostgresLedger(pool, "action_executor"))
        return made[-1]

    yield Ledgers(connect)
    for ledger in made:
        await ledger.close()
    await pool.close()


def claim(of: Operation = A, attempt: int = 1, seconds: float = 60.0) -> Group:
    return Group(claims=[NewClaim(of, attempt, seconds)])


def settle(of: Operation = A, attempt: int = 1, result: bytes = b"r") -> Group:
    return Group(settlements=[Settlement(of, attempt, result, True)])


async def test_an_attempt_is_claimed_once(ledgers: Ledgers) -> None:
    first, second = await ledgers.living("0"), await ledgers.living("1")
    assert await first.commit(claim()) == Committed([], [True])
    assert await second.commit(claim()) == Committed([], [False])
    group = Group(claims=[NewClaim(B, 1, 60.0), NewClaim(A, 1, 60.0), NewClaim(A, 2, 60.0)])
    assert (await second.commit(group)).claimed == [True, False, True]


async def test_a_result_is_recorded_once_and_by_the_claimant_only(ledgers: Ledgers) -> None:
    first, second = await ledgers.living("0"), await ledgers.living("1")
    await first.commit(claim())
    assert (await second.commit(settle())).settled == [False]
    assert (await first.commit(settle())).settled == [True]
    assert (await first.commit(settle(result=b"other"))).settled == [False]
    ((row,),) = await first.look_up([A])
    assert (row.result, row.is_success, row.attempt) == (b"r", True, 1)


async def test_results_and_claims_of_one_group_are_told_apart(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    await ledger.commit(claim(A))
    group = Group(
        settlements=[Settlement(B, 1, b"b", True), Settlement(A, 1, b"a", False)],
        claims=[NewClaim(A, 2, 60.0)],
    )
    assert await ledger.commit(group) == Committed([False, True], [True])
    ((first, second),) = await ledger.look_up([A])
    assert (first.result, first.is_success, second.result) == (b"a", False, None)


async def test_a_look_up_answers_in_the_order_asked(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    await ledger.commit(claim(B, 2))
    await ledger.commit(claim(B, 1))
    found = await ledger.look_up([A, B, A])
    assert [[row.attempt for row in rows] for rows in found] == [[], [1, 2], []]


async def test_a_claim_lives_until_its_deadline(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    await ledger.commit(claim(A, seconds=60.0))
    await ledger.commit(claim(B, seconds=-1.0))
    ((live,), (dead,)) = await ledger.look_up([A, B])
    assert not live.is_dead
    assert 50 < live.remaining_seconds <= 60
    assert dead.is_dead


async def test_a_new_life_makes_the_claims_of_the_earlier_one_dead(ledgers: Ledgers) -> None:
    first = await ledgers.living("0")
    await first.commit(claim())
    reborn = await ledgers.living("0")
    ((row,),) = await reborn.look_up([A])
    assert row.is_dead
    taking = Group(claims=[NewClaim(A, 1, 60.0, Resolution.RETRY, row)])
    assert (await reborn.commit(taking)).claimed == [True]
    assert (await reborn.commit(taking)).claimed == [False]
    ((row,),) = await reborn.look_up([A])
    assert (row.is_dead, row.takeovers, row.claimant.incarnation) == (False, 1, 2)


async def test_the_earlier_life_can_neither_settle_nor_claim(ledgers: Ledgers) -> None:
    zombie = await ledgers.living("0")
    await zombie.commit(claim(A))
    reborn = await ledgers.living("0")
    ((row,),) = await reborn.look_up([A])
    await reborn.commit(Group(claims=[NewClaim(A, 1, 60.0, Resolution.RETRY, row)]))
    with pytest.raises(Fenced):
        await zombie.commit(settle(A))
    with pytest.raises(Fenced):
        await zombie.commit(claim(B))
    assert (await reborn.commit(settle(A))).settled == [True]
    assert (await reborn.commit(claim(B))).claimed == [True]


async def test_an_earlier_life_may_still_settle_what_nobody_took_over(ledgers: Ledgers) -> None:
    zombie = await ledgers.living("0")
    await zombie.commit(claim(A))
    await ledgers.living("0")
    assert (await zombie.commit(settle(A))).settled == [True]


async def test_of_two_that_take_over_one_wins(ledgers: Ledgers) -> None:
    first = await ledgers.living("0")
    await first.commit(claim(seconds=-1.0))
    others = [await ledgers.living(ordinal) for ordinal in ("1", "2")]
    rows = [(await each.look_up([A]))[0][0] for each in others]
    taken = [
        (await each.commit(Group(claims=[NewClaim(A, 1, 60.0, Resolution.RETRY, row)]))).claimed[0]
        for each, row in zip(others, rows, strict=True)
    ]
    assert taken == [True, False]
    assert (await first.commit(settle())).settled == [False]


async def test_a_settled_claim_cannot_be_taken_over(ledgers: Ledgers) -> None:
    first, second = await ledgers.living("0"), await ledgers.living("1")
    await first.commit(claim(seconds=-1.0))
    ((row,),) = await second.look_up([A])
    await first.commit(settle())
    assert (await second.commit(Group(claims=[NewClaim(A, 1, 60.0, Resolution.RETRY, row)]))).claimed == [
        False
    ]


async def test_a_fence_takes_results_and_claims_back_with_the_offset(ledgers: Ledgers) -> None:
    first, second = await ledgers.living("0"), await ledgers.living("1")
    (owned,) = await first.acquire([Claim(AT, "t1")])
    await first.commit(claim(A))
    move = Move(AT, owned.epoch, 0, 5, None)
    await second.acquire([Claim(AT, "t1")])
    group = Group([move], [Settlement(A, 1, b"r", True)], [NewClaim(B, 1, 60.0)])
    with pytest.raises(Fenced):
        await first.commit(group)
    ((row,), rows) = await first.look_up([A, B])
    assert row.result is None
    assert rows == []


async def test_an_offset_moves_with_its_group(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    (owned,) = await ledger.acquire([Claim(AT, "t1")])
    group = Group([Move(AT, owned.epoch, 0, 5, None)], [], [NewClaim(A, 1, 60.0)])
    assert (await ledger.commit(group)).claimed == [True]
    (again,) = await ledger.acquire([Claim(AT, "t1")])
    assert (again.next_offset, again.epoch) == (5, 2)


@pytest.mark.parametrize("ledgers", ["postgres"], indirect=True)
async def test_a_row_that_the_database_refuses_is_told_from_one_that_is_away(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    with pytest.raises(DataRejected):
        await ledger.commit(claim(Operation(A.execution_id, "nul\x00")))


@pytest.mark.parametrize("ledgers", ["postgres"], indirect=True)
async def test_an_old_execution_falls_into_the_default_table(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    birth = int((datetime.now(UTC) - timedelta(days=400)).timestamp() * 1000)
    old = Operation(ids.execution_id(birth, 4, "acme", "test", "old", "rb"), "tell")
    assert (await ledger.commit(claim(old))).claimed == [True]
    assert (await ledger.commit(settle(old))).settled == [True]


async def test_of_the_ends_of_a_run_the_first_stands_and_is_told(ledgers: Ledgers) -> None:
    first, second = await ledgers.living("0"), await ledgers.living("1")
    mine, other = RunEnd(A.execution_id, b"mine"), RunEnd(A.execution_id, b"other", b"outcome")
    another = RunEnd(B.execution_id, b"b", b"outcome")
    assert list((await first.commit(Group(ends=[mine]))).ended) == [mine]
    ended = (await second.commit(Group(ends=[another, other]))).ended
    assert sorted(ended) == sorted([another, mine])
    assert list((await first.commit(Group(ends=[another]))).ended) == [another]


async def test_a_run_is_known_by_its_claims_until_it_has_an_end(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    assert await ledger.look_up_runs([A.execution_id, B.execution_id]) == {}
    await ledger.commit(Group(claims=[NewClaim(A, 1, 60.0), NewClaim(A, 2, 60.0)]))
    (known,) = (await ledger.look_up_runs([A.execution_id, B.execution_id])).values()
    assert (known.end, sorted(known.tried)) == (None, [("tell", 1), ("tell", 2)])
    end = RunEnd(B.execution_id, b"b", b"outcome")
    await ledger.commit(Group(ends=[end]))
    found = await ledger.look_up_runs([B.execution_id, A.execution_id])
    assert set(found) == {A.execution_id, B.execution_id}
    assert found[B.execution_id] == KnownRun(end, ())


async def test_an_end_is_recorded_with_the_results_and_claims_of_its_group(ledgers: Ledgers) -> None:
    ledger = await ledgers.living()
    await ledger.commit(claim(A))
    end = RunEnd(A.execution_id, b"end")
    group = Group(settlements=[Settlement(A, 1, b"r", True)], claims=[NewClaim(B, 1, 60.0)], ends=[end])
    assert await ledger.commit(group) == Committed([True], [True], (end,))


async def test_a_result_is_stored_beside_its_claim(postgres: str) -> None:
    """Put on another page it would be in the index once more."""
    pool = await ledger_pool(postgres)
    ledger = PostgresLedger(pool, "action_executor")
    await ledger.incarnate("beside")
    all_of_them = [operation(number) for number in range(1_000, 1_500)]
    pages = "select (ctid::text::point)[0] from claims where ordinal = 'beside' order by execution_id"
    await ledger.commit(Group(claims=[NewClaim(each, 1, 60.0) for each in all_of_them]))
    before = await pool.fetch(pages)
    await ledger.commit(Group(settlements=[Settlement(each, 1, b"r" * 280, True) for each in all_of_them]))
    assert len(before) == 500
    assert await pool.fetch(pages) == before
    await ledger.close()
    await pool.close()
