"""What the watchdog stores: who was asked about, and who has failed because nothing came."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg
import msgspec

from outlast.contracts.messages import ActionError, EventReference, Finished, RunbookReference
from outlast.contracts.parts import Origin
from outlast.db.queries import columns, load_queries
from outlast_finalizer.core.watchdog import WATCHDOG_RANK, WATCHDOG_SEQ, Patience, is_given_up, why

_QUERIES = load_queries("outlast_finalizer")


class Silent(NamedTuple):
    """A run whose time to be asked about has come."""

    execution_id: str
    lane: int
    company_id: str
    runbook_id: str
    mode: str
    is_running: bool
    told_at: datetime
    """When it was last heard of."""


async def hear(
    connection: asyncpg.Connection, asked: Mapping[str, datetime], patience: Patience
) -> list[Finished]:
    """Questions about these came back then. Returns the runs that have failed by it."""
    rows = await connection.fetch(_QUERIES["asked_runs"], list(asked))
    failed: dict[str, Finished] = {}
    records: list[tuple[object, ...]] = []
    marks: list[tuple[object, ...]] = []
    for row in rows:
        execution_id = str(row["execution_id"])
        heard_at = asked[execution_id]
        told_at = row["told_at"] or heard_at
        if not is_given_up(told_at, row["asked_at"], heard_at, patience):
            marks.append((execution_id, heard_at))
            continue
        error = why(told_at)
        failed[execution_id] = _finished(row, heard_at, error)
        records.append((execution_id, row["rank"], row["seq"], WATCHDOG_RANK, WATCHDOG_SEQ, heard_at,
                        msgspec.json.encode(error)))  # fmt: skip
    if marks:
        await connection.execute(_QUERIES["mark_asked"], *columns(marks))
    if not records:
        return []
    done = await connection.fetch(_QUERIES["give_up"], *columns(records))
    return [failed[str(row["execution_id"])] for row in done]


async def check(connection: asyncpg.Connection, checked: Mapping[str, datetime]) -> None:
    """These were asked about; the next time is then."""
    await connection.execute(_QUERIES["mark_checked"], *columns(sorted(checked.items())))


def given_up(row: asyncpg.Record) -> Finished:
    """What was said of a run that the watchdog failed, from its record."""
    error = msgspec.json.decode(row["error"], type=ActionError)
    return _finished(row, row["finished_at"], error)


def _finished(row: asyncpg.Record, at: datetime, error: ActionError) -> Finished:
    return Finished(
        execution_id=str(row["execution_id"]),
        company_id=row["company_id"],
        runbook=RunbookReference(
            id=row["runbook_id"],
            name=row["runbook_name"],
            version=row["runbook_version"],
            sha256=row["definition_sha256"],
        ),
        event=EventReference(
            source=row["event_source"], id=row["event_id"], type=row["event_type"], time=row["event_time"]
        ),
        mode=row["mode"],
        lane=row["lane"],
        rank=WATCHDOG_RANK,
        seq=WATCHDOG_SEQ,
        at=at,
        started_at=row["started_at"] or at,
        status="failed",
        steps=(),
        chain=tuple(row["chain"]),
        origin=Origin(
            is_degraded=row["is_degraded"],
            generation=row["generation"],
            started_by=row["started_by"],
            instead_of=row["instead_of"],
            is_slotted=row["is_slotted"],
        ),
        error=error,
    )
