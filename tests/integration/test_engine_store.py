"""One suite for the engine's rows, in memory and in Postgres: histories, definitions, what is open, who leaves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from msgspec import Raw
from tests.stores.memory_engine import MemoryEngineStore

from outlast import ids
from outlast.contracts.lifecycle import Difference
from outlast.contracts.messages import EventReference, OutcomeStep, RunbookReference
from outlast.contracts.topics import ENGINE_INBOX, Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence, acquire
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions
from outlast.db.pool import connect_pool
from outlast.errors import Fenced
from outlast.history.events import (
    CancelRequested,
    Event,
    InlineRecorded,
    Recorded,
    ShadowCompared,
    SlotAsked,
    SlotTaken,
    WorkflowCancelled,
    WorkflowStarted,
)
from outlast_engine.store import (
    HISTORY_STORAGE,
    LOOP,
    SMALL_EVENTS_MAX,
    Changes,
    EngineStore,
    Opened,
    PostgresEngineStore,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class Rows:
    """A store under test, and how far its partitions are."""

    store: EngineStore
    fence: Fence
    offsets: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    async def own(self, *partitions: int) -> None:
        claims = [Claim(TopicPartition(ENGINE_INBOX, number), "id") for number in partitions]
        for owned in await self.fence.acquire(claims):
            self.epochs[owned.at.partition] = owned.epoch
            self.offsets[owned.at.partition] = owned.next_offset

    async def commit(self, changes: Changes, partition: int = 0) -> None:
        offset = self.offsets[partition]
        move = Move(TopicPartition(ENGINE_INBOX, partition), self.epochs[partition], offset, offset + 1)
        await self.store.commit(changes, [move])
        self.offsets[partition] = offset + 1

    async def open(self, partition: int = 0) -> list[str]:
        return list(await self.store.open_page(partition, "", 100))


@asynccontextmanager
async def in_postgres(dsn: str, *partitions: int) -> AsyncIterator[tuple[asyncpg.Pool, Rows]]:
    """The rows of an engine that owns these partitions, and the pool that they are reached by."""
    pool = await connect_pool(dsn, "engine", 3, is_reset=False)
    await migrate(pool, "engine", migration_files("outlast_engine"))
    await ensure_weekly_partitions(pool, "engine", "history", NOW, storage=HISTORY_STORAGE)
    made = Rows(PostgresEngineStore(pool), PostgresFence(pool, LOOP))
    await made.own(*partitions)
    yield pool, made
    await pool.close()


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        fence = LocalFence()
        made = Rows(MemoryEngineStore(fence), fence)
        await made.own(0, 1)
        yield made
        return
    async with in_postgres(request.getfixturevalue("postgres"), 0, 1) as (_, made):
        yield made


def execution(number: int, partition: int = 0) -> str:
    """The ids sort by their numbers."""
    name = ids.execution_id(int(NOW.timestamp() * 1000) + number, 1, "acme", "s", str(number), "r")
    return f"{name[:15]}{partition:03x}{name[18:]}"


def opened(name: str, mode: str = "workflow") -> Opened:
    return Opened(name, "acme", "r-1", "page the owner", NOW, mode)


def begun(mode: str) -> WorkflowStarted:
    return WorkflowStarted(
        company_id="acme",
        runbook=RunbookReference(id="r-1", name="page the owner", version=1, sha256="d"),
        event=EventReference(source="s", id="1", type="finding_created", time=NOW),
        mode=mode,
        lane=2,
        payload=Raw(b'{"finding": null}'),
        engine_version="2",
    )


def history(*events: Event, first: int = 1) -> list[Recorded]:
    return [Recorded(first + n, NOW + timedelta(seconds=n), event) for n, event in enumerate(events)]


def of(name: str, recorded: list[Recorded]) -> list[tuple[str, Recorded]]:
    return [(name, each) for each in recorded]


OUTCOME = InlineRecorded(
    status="success",
    at=NOW,
    steps=(
        OutcomeStep(
            activity_id="a", action="x", action_class="notify", status="success", input=Raw(b'{"t":1}')
        ),
    ),
)
COMPARED = ShadowCompared(
    is_agreed=False,
    steps_compared=1,
    differences=(Difference(activity_id="a", what="input", inline="1", shadow="2", after_wait=True),),
    expected=("nap",),
)


async def test_what_was_appended_is_read_back_in_its_order_and_as_it_was(rows: Rows) -> None:
    name, other = execution(1), execution(2)
    first = history(begun("workflow"), CancelRequested(by="ana", at=NOW, reason="a drill"))
    more = history(WorkflowCancelled(), first=3)
    slots = history(begun("workflow"), SlotAsked(activity_id="nap"), SlotTaken())
    await rows.commit(Changes(events=of(name, first)))
    await rows.commit(Changes(events=[*of(other, slots), *of(name, more)]))
    assert await rows.store.load([name, other, execution(3)]) == {name: [*first, *more], other: slots}


async def test_an_outcome_before_its_start_and_a_comparison_are_read_back_as_they_were(rows: Rows) -> None:
    name = execution(1)
    stored = history(OUTCOME, begun("shadow"), WorkflowCancelled(), COMPARED)
    await rows.commit(Changes(events=of(name, stored)))
    assert (await rows.store.load([name]))[name] == stored


async def test_a_sequence_is_written_once(rows: Rows) -> None:
    name = execution(1)
    await rows.commit(Changes(events=of(name, history(begun("workflow")))))
    with pytest.raises(Fenced):
        await rows.commit(Changes(events=of(name, history(WorkflowCancelled()))))
    assert len((await rows.store.load([name]))[name]) == 1


async def test_a_run_is_open_until_it_is_recorded_and_pages_are_in_order(rows: Rows) -> None:
    names = [execution(number) for number in range(3)]
    await rows.commit(Changes(opened=[opened(each) for each in reversed(names)]))
    await rows.commit(Changes(opened=[opened(names[0])]))
    assert list(await rows.store.open_page(0, "", 2)) == names[:2]
    assert list(await rows.store.open_page(0, names[1], 2)) == names[2:]
    assert await rows.open(1) == []
    await rows.commit(Changes(closed=[names[1], execution(9)]))
    assert await rows.open() == [names[0], names[2]]


async def test_a_shadow_run_is_recorded_only_when_it_has_its_comparison(rows: Rows) -> None:
    name, other = execution(1), execution(2)
    await rows.commit(Changes(opened=[opened(name, "shadow"), opened(other, "shadow")]))
    await rows.commit(Changes(closed=[name, other]))
    assert await rows.open() == [name, other]
    await rows.commit(Changes(compared=[name]))
    await rows.commit(Changes(closed=[name, other]))
    assert await rows.open() == [other]
    await rows.commit(Changes(compared=[other], closed=[other]))
    assert await rows.open() == []


async def test_a_comparison_of_a_run_that_began_in_the_same_batch_is_known(rows: Rows) -> None:
    name = execution(1)
    await rows.commit(Changes(opened=[opened(name, "shadow")], compared=[name]))
    await rows.commit(Changes(closed=[name]))
    assert await rows.open() == []


async def test_a_run_that_begins_and_is_recorded_in_one_batch_is_not_open(rows: Rows) -> None:
    name, other = execution(1), execution(2)
    await rows.commit(Changes(opened=[opened(other)]))
    await rows.commit(Changes(opened=[opened(name)], closed=[name, other]))
    assert await rows.open() == []


@pytest.mark.parametrize("events", [1, SMALL_EVENTS_MAX, SMALL_EVENTS_MAX + 1])
async def test_a_turn_of_many_events_is_stored_and_refused_as_one_of_few(rows: Rows, events: int) -> None:
    stays, ends, fresh = execution(1), execution(2), execution(3)
    await rows.commit(Changes(opened=[opened(stays), opened(ends)]))
    wanted = history(begun("workflow"), *(CancelRequested(by="ana", at=NOW) for _ in range(events - 1)))
    changes = Changes(events=of(fresh, wanted), opened=[opened(fresh)], closed=[ends])

    epochs = dict(rows.epochs)
    await rows.own(0)
    rows.epochs, current = epochs, rows.epochs
    with pytest.raises(Fenced):
        await rows.commit(changes)
    assert await rows.open() == [stays, ends]
    rows.epochs = current
    await rows.commit(changes)
    assert await rows.open() == [stays, fresh]
    assert await rows.store.load([fresh]) == {fresh: wanted}
    with pytest.raises(Fenced):
        await rows.commit(Changes(events=of(fresh, wanted), closed=[stays]))
    assert await rows.open() == [stays, fresh]


@pytest.mark.parametrize("events", [1, SMALL_EVENTS_MAX + 1])
async def test_of_two_offsets_neither_moves_when_one_is_not_where_it_was(rows: Rows, events: int) -> None:
    name = execution(1)
    wanted = history(begun("workflow"), *(CancelRequested(by="ana", at=NOW) for _ in range(events - 1)))
    at = [TopicPartition(ENGINE_INBOX, number) for number in (0, 1)]

    def moves(*expected: int) -> list[Move]:
        return [
            Move(each, rows.epochs[each.partition], offset, 9)
            for each, offset in zip(at, expected, strict=True)
        ]

    with pytest.raises(Fenced):
        await rows.store.commit(Changes(events=of(name, wanted)), moves(0, 7))
    assert await rows.store.load([name]) == {}
    await rows.store.commit(Changes(events=of(name, wanted)), moves(0, 0))
    assert await rows.store.load([name]) == {name: wanted}


async def test_an_owner_that_is_replaced_while_its_commit_waits_for_the_row_stores_nothing(
    postgres: str,
) -> None:
    async with in_postgres(postgres, 0) as (pool, rows):
        name = execution(1)
        async with pool.acquire() as newer:
            taking = newer.transaction()
            await taking.start()
            await acquire(newer, LOOP, [Claim(TopicPartition(ENGINE_INBOX, 0), "id")])
            commit = asyncio.create_task(
                rows.commit(Changes(events=of(name, history(begun("workflow"))), opened=[opened(name)]))
            )
            waits = "select count(*) from pg_locks where not granted"
            async with asyncio.timeout(30):
                while not await newer.fetchval(waits):  # noqa: ASYNC110 - the server sets no event of ours
                    await asyncio.sleep(0.01)
            await taking.commit()
        with pytest.raises(Fenced):
            await commit
        assert await rows.store.load([name]) == {}
        assert await rows.open() == []


async def test_a_definition_is_kept_once(rows: Rows) -> None:
    await rows.commit(Changes(definitions={"d": b"{}"}))
    await rows.commit(Changes(definitions={"d": b"{}", "e": b"[]"}))
    assert await rows.store.definitions(["d", "e", "f"]) == {"d": b"{}", "e": b"[]"}


async def test_nothing_is_stored_by_an_owner_that_is_none_any_more(rows: Rows) -> None:
    name = execution(1)
    epochs = dict(rows.epochs)
    await rows.own(0)
    rows.epochs = epochs
    with pytest.raises(Fenced):
        await rows.commit(Changes(events=of(name, history(begun("workflow"))), opened=[opened(name)]))
    assert await rows.open() == []
    assert await rows.store.load([name]) == {}


async def test_a_payload_of_some_kilobytes_is_kept_in_its_row(postgres: str) -> None:
    """Elsewhere it would be a row for every two kilobytes, and an index entry for each of these."""
    async with in_postgres(postgres, 0) as (pool, rows):
        name = execution(7_000)
        payload = Raw(b'{"finding": "' + b"x" * 5_000 + b'"}')
        first = msgspec.structs.replace(begun("workflow"), payload=payload)
        await rows.commit(Changes(events=of(name, history(first)), opened=[opened(name)]))
        week = await pool.fetchval("select tableoid from history where execution_id = $1", name)
        toast = "select pg_relation_size(reltoastrelid) from pg_class where oid = $1"
        assert await pool.fetchval(toast, week) == 0
        assert (await rows.store.load([name]))[name][0].event == first
