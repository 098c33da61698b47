"""The matcher's rows: events seen, dispatches, committed with the offsets in one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import asyncpg
from msgspec import Raw

from outlast.contracts.messages import EventReference, RunbookReference, Start
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import load_queries

INTAKE = "trigger_matcher.intake"
LANES = "trigger_matcher.lanes"
NO_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it was taken in. `payload` is the enriched payload, JSON."""

    company_id: str
    event: EventReference
    received_at: datetime
    payload: bytes
    traceparent: str
    chain: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """An event is known by (company, source, id)."""
        return (self.company_id, self.event.source, self.event.id)


@dataclass(slots=True)
class Intake:
    """What one batch of events adds."""

    events: list[EventRow] = field(default_factory=list[EventRow])
    starts: list[Start] = field(default_factory=list[Start])


class IntakeStore(Protocol):
    """What taking events in needs of the database."""

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[tuple[str, str, str]]:
        """All in one transaction, offsets first. Returns the keys of the events that are new: only those dispatch."""
        ...

    async def starts(self, execution_ids: Collection[str]) -> Sequence[Start]:
        """The starts of these executions, those that are sent and not closed, by id."""
        ...


class LanesStore(Protocol):
    """What following executions needs of the database."""

    async def commit_lanes(self, closed: Collection[str], at: datetime, moves: Sequence[Move]) -> None:
        """Close the dispatches of these recorded executions, offsets first."""
        ...

    async def starts(self, execution_ids: Collection[str]) -> Sequence[Start]:
        """The starts of these executions, those that are sent and not closed, by id."""
        ...

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Accepted and not recorded executions of a lane after `after` ("" for the first page), in order."""
        ...


class PostgresMatcherStore:
    """The matcher's schema; implements IntakeStore and LanesStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_trigger_matcher")
        self._stored_definitions: set[str] = set()

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[tuple[str, str, str]]:
        """All in one transaction, offsets first."""
        bodies = {
            start.runbook.sha256: bytes(start.definition)
            for start in intake.starts
            if start.runbook.sha256 not in self._stored_definitions
        }
        async with transaction(self._pool) as connection:
            await fence.move(connection, INTAKE, moves)
            if not intake.events:
                return frozenset()
            if bodies:
                query = self._queries["add_definitions"]
                await connection.execute(query, list(bodies), list(bodies.values()))
            rows = await connection.fetch(self._queries["add_events"], *_event_columns(intake.events))
            fresh = frozenset((row["company_id"], row["source"], row["event_id"]) for row in rows)
            starts = [s for s in intake.starts if (s.company_id, s.event.source, s.event.id) in fresh]
            if starts:
                received_at = {event.key: event.received_at for event in intake.events}
                await connection.execute(
                    self._queries["add_dispatches"], *_dispatch_columns(starts, received_at)
                )
        self._stored_definitions.update(bodies)
        return fresh

    async def commit_lanes(self, closed: Collection[str], at: datetime, moves: Sequence[Move]) -> None:
        """Close the dispatches of these recorded executions, offsets first."""
        async with transaction(self._pool) as connection:
            await fence.move(connection, LANES, moves)
            if closed:
                await connection.execute(self._queries["close_dispatches"], sorted(closed), at)

    async def starts(self, execution_ids: Collection[str]) -> Sequence[Start]:
        """The starts of these executions, those that are sent and not closed, by id."""
        async with classified():
            rows = await self._pool.fetch(self._queries["load_starts"], list(execution_ids))
        return [_start(row) for row in rows]

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Accepted and not recorded executions of a lane after `after`, in order."""
        async with classified():
            rows = await self._pool.fetch(self._queries["unclosed_page"], lane, after or NO_ID, page_max)
        return [str(row["execution_id"]) for row in rows]


def _event_columns(events: Sequence[EventRow]) -> list[list[object]]:
    records = [
        (e.company_id, e.event.source, e.event.id, e.event.type, e.event.time, e.event.subject, e.received_at,
         e.payload, e.traceparent, " ".join(e.chain))
        for e in sorted(events, key=lambda each: each.key)
    ]  # fmt: skip
    return [list(column) for column in zip(*records, strict=True)]


def _dispatch_columns(
    starts: Sequence[Start], received_at: dict[tuple[str, str, str], datetime]
) -> list[list[object]]:
    records = [
        (s.execution_id, s.company_id, s.event.source, s.event.id, s.runbook.id, s.runbook.name, s.runbook.version,
         s.runbook.sha256, s.mode, s.lane, "sent", received_at[(s.company_id, s.event.source, s.event.id)])
        for s in sorted(starts, key=lambda each: each.execution_id)
    ]  # fmt: skip
    return [list(column) for column in zip(*records, strict=True)]


def _start(row: asyncpg.Record) -> Start:
    return Start(
        execution_id=str(row["execution_id"]),
        company_id=row["company_id"],
        runbook=RunbookReference(
            id=row["runbook_id"],
            name=row["runbook_name"],
            version=row["runbook_version"],
            sha256=row["definition_sha256"],
        ),
        event=EventReference(
            source=row["source"],
            id=row["event_id"],
            type=row["event_type"],
            time=row["event_time"],
            subject=row["subject"],
        ),
        mode=row["mode"],
        lane=row["lane"],
        payload=Raw(row["payload"]),
        definition=Raw(row["definition"]),
        chain=tuple(row["chain"]),
        traceparent=row["traceparent"],
    )
