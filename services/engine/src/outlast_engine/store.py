"""The engine's rows: histories, definitions, open runs, committed with the offsets in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import asyncpg
import msgspec

from outlast import ids
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import CONNECT_TIMEOUT_SECONDS, classified, transaction
from outlast.db.queries import columns, load_queries
from outlast.errors import Fenced
from outlast.history import codec
from outlast.history.events import Recorded

LOOP = "engine.inbox"
HISTORY_COLUMNS = ("execution_id", "seq", "at", "type", "data")
HISTORY_STORAGE = "toast_tuple_target = 8160"
"""An event of up to a page stays in one row, instead of a row for every two kilobytes and their index beside it. One of
more than half a page has its page for itself, which is the price."""
SMALL_EVENTS_MAX = 32
"""Of a turn that is stored in one statement; of more, COPY costs less."""
NO_ID = "00000000-0000-0000-0000-000000000000"


class Opened(msgspec.Struct, frozen=True):
    """A run that began."""

    execution_id: str
    company_id: str
    runbook_id: str
    runbook_name: str
    started_at: datetime
    mode: str = "workflow"


@dataclass(slots=True)
class Changes:
    """What one batch adds: events in order, new definitions, runs that began, shadow runs that are compared,
    runs that are recorded (a shadow run leaves only when it is compared)."""

    events: list[tuple[str, Recorded]] = field(default_factory=list[tuple[str, Recorded]])
    definitions: dict[str, bytes] = field(default_factory=dict[str, bytes])
    opened: list[Opened] = field(default_factory=list[Opened])
    compared: list[str] = field(default_factory=list[str])
    closed: list[str] = field(default_factory=list[str])

    @property
    def is_small(self) -> bool:
        """Whether it is better stored in one statement: its parts do not see what the others do."""
        is_plain = not self.definitions and not self.compared
        apart = {each.execution_id for each in self.opened}.isdisjoint(self.closed)
        return is_plain and len(self.events) <= SMALL_EVENTS_MAX and apart


class EngineStore(Protocol):
    """What the engine's loop needs of its database."""

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Recorded]]:
        """The histories of these executions; those without any are absent."""
        ...

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """The bodies of these definitions; unknown ones are absent."""
        ...

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None:
        """All of it in one transaction, offsets first. Fenced, DataRejected, TransientError (outcome unknown)."""
        ...

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        """Open runs of a partition after `after` ("" for the first page), in order."""
        ...


class PostgresEngineStore:
    """The engine's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_engine")
        self._turn = fence.fenced(self._queries["turn_parts"])

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Recorded]]:
        """The histories of these executions."""
        if not execution_ids:
            return {}
        async with classified():
            rows = await self._pool.fetch(
                self._queries["load_histories"], list(execution_ids), min(execution_ids), max(execution_ids)
            )
        histories: dict[str, list[Recorded]] = {}
        for row in rows:
            recorded = Recorded(row["seq"], row["at"], codec.decode(row["data"]))
            histories.setdefault(str(row["execution_id"]), []).append(recorded)
        return histories

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """The bodies of these definitions."""
        async with classified():
            rows = await self._pool.fetch(self._queries["load_definitions"], list(digests))
        return {row["sha256"]: row["body"] for row in rows}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None:
        """All of it in one transaction, offsets first."""
        if changes.is_small:
            await self._commit_small(changes, moves)
            return
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            if changes.definitions:
                await connection.execute(
                    self._queries["add_definitions"],
                    list(changes.definitions),
                    list(changes.definitions.values()),
                )
            if changes.events:
                await self._append(connection, changes.events)
            if changes.opened:
                await connection.execute(self._queries["open_runs"], *_opened_columns(changes.opened))
            if changes.compared:
                await connection.execute(self._queries["compare_runs"], *_placed(changes.compared))
            if changes.closed:
                await connection.execute(self._queries["close_runs"], *_placed(changes.closed))

    async def _commit_small(self, changes: Changes, moves: Sequence[Move]) -> None:
        """One statement. A duplicate (execution, seq) is a fence."""
        async with classified(), self._pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection:
            try:
                moved = await connection.fetchval(
                    self._turn,
                    *fence.parameters(LOOP, moves),
                    *columns([_history_row(*each) for each in changes.events], len(HISTORY_COLUMNS)),
                    *_opened_columns(changes.opened),
                    *_placed(changes.closed),
                )
            except asyncpg.UniqueViolationError as fault:
                raise _not_alone(fault) from fault
        fence.check(LOOP, moves, moved)

    async def _append(self, connection: asyncpg.Connection, events: list[tuple[str, Recorded]]) -> None:
        """By COPY: half the CPU of an insert from arrays. A duplicate (execution, seq) is a fence."""
        try:
            await connection.copy_records_to_table(
                "history", records=[_history_row(*each) for each in events], columns=HISTORY_COLUMNS
            )
        except asyncpg.UniqueViolationError as fault:
            raise _not_alone(fault) from fault

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        """Open runs of a partition after `after`, in order."""
        async with classified():
            rows = await self._pool.fetch(self._queries["open_page"], partition, after or NO_ID, page_max)
        return [str(row["execution_id"]) for row in rows]


def _history_row(execution_id: str, recorded: Recorded) -> tuple[object, ...]:
    data = codec.encode(recorded.event)
    return execution_id, recorded.sequence, recorded.at, codec.type_of(recorded.event), data


def _opened_columns(opened: Sequence[Opened]) -> list[list[object]]:
    rows = [
        (ids.engine_partition(each.execution_id), each.execution_id, each.company_id, each.runbook_id,
         each.runbook_name, each.started_at, each.mode)
        for each in opened
    ]  # fmt: skip
    return columns(rows, 7)


def _placed(execution_ids: Sequence[str]) -> list[list[object]]:
    return columns([(ids.engine_partition(each), each) for each in execution_ids], 2)


def _not_alone(fault: asyncpg.UniqueViolationError) -> Fenced:
    return Fenced(f"expected to be the only writer of these histories: {fault}")
