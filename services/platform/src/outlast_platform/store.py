"""Findings, their history and their events in the database: what every way of changing a finding shares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import msgspec

from outlast.contracts.domain_events import EventData
from outlast.db.outbox import append
from outlast.db.queries import load_queries
from outlast.messaging.ports import Outgoing
from outlast_platform.core.domain_events import event_message
from outlast_platform.core.findings import Change, Finding, HistoryEntry

QUERIES = load_queries("outlast_platform")
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, as history and audit log have it."""

    kind: str
    """user | service | import | runbook"""
    id: str
    name: str
    execution_id: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """What all rows of one transaction share: when, ids for events, and the trace they belong to."""

    at: datetime
    new_id: Callable[[], str]
    traceparent: str = ""

    def event(self, company_id: str, data: EventData, chain: tuple[str, ...] = ()) -> Outgoing:
        """A domain event of this transaction."""
        return event_message(
            self.new_id(), company_id, self.at, data, traceparent=self.traceparent, chain=chain
        )


@dataclass(frozen=True, slots=True)
class AuthoredEntry:
    """A line of a finding's history with its author."""

    company_id: str
    finding_id: str
    actor: Actor
    entry: HistoryEntry


@dataclass(frozen=True, slots=True)
class AuthoredChange:
    """A change with its author and the executions that led to it."""

    change: Change
    actor: Actor
    chain: tuple[str, ...] = ()


async def lock_findings(
    connection: asyncpg.Connection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Finding]:
    """The findings (company, id) that exist, locked in one order until the transaction ends."""
    wanted = sorted(set(keys))
    rows = await connection.fetch(
        QUERIES["lock_findings"], [company for company, _ in wanted], [each for _, each in wanted]
    )
    return {
        (row["company_id"], row["id"]): Finding(
            company_id=row["company_id"],
            id=row["id"],
            asset_id=row["asset_id"],
            title=row["title"],
            severity=row["severity"],
            status=row["status"],
            tags=tuple(row["tags"]),
            assignees=tuple(row["assignees"]),
            teams=tuple(row["teams"]),
        )
        for row in rows
    }


async def write_changes(
    connection: asyncpg.Connection, write: Write, changes: Sequence[AuthoredChange]
) -> None:
    """Store locked findings as the changes leave them, with history and events. The last change of each counts."""
    done = [each for each in changes if each.change.entries]
    if not done:
        return
    after = {(each.change.finding.company_id, each.change.finding.id): each.change.finding for each in done}
    findings = list(after.values())
    await connection.execute(
        QUERIES["update_findings"],
        [each.company_id for each in findings],
        [each.id for each in findings],
        [each.severity for each in findings],
        [each.status for each in findings],
        [json_text(each.tags) for each in findings],
        [json_text(each.assignees) for each in findings],
        [json_text(each.teams) for each in findings],
        write.at,
    )
    await write_history(
        connection,
        write,
        [
            AuthoredEntry(each.change.finding.company_id, each.change.finding.id, each.actor, entry)
            for each in done
            for entry in each.change.entries
        ],
    )
    await append(
        connection,
        [
            write.event(each.change.finding.company_id, data, each.chain)
            for each in done
            for data in each.change.events
        ],
    )


async def write_history(
    connection: asyncpg.Connection, write: Write, entries: Sequence[AuthoredEntry]
) -> None:
    """Append lines to findings' histories."""
    if not entries:
        return
    await connection.execute(
        QUERIES["insert_history"],
        [each.company_id for each in entries],
        [each.finding_id for each in entries],
        [each.actor.kind for each in entries],
        [each.actor.id for each in entries],
        [each.actor.name for each in entries],
        [each.actor.execution_id for each in entries],
        [each.entry.change for each in entries],
        [each.entry.old_value for each in entries],
        [each.entry.new_value for each in entries],
        write.at,
        [each.entry.comment for each in entries],
    )


async def write_audit(
    connection: asyncpg.Connection,
    write: Write,
    company_id: str,
    actor: Actor,
    verb: str,
    named: str,
    **detail: object,
) -> None:
    """Who did what to which object."""
    await connection.execute(
        QUERIES["insert_audit"],
        company_id,
        write.at,
        actor.kind,
        actor.id,
        actor.name,
        verb,
        named,
        json_text(detail),
    )


def json_text(value: object) -> str:
    """JSON for a column or an array of a statement."""
    return _encoder.encode(value).decode()
