"""Rows to columns and back."""

from collections.abc import Sequence

import asyncpg
import msgspec
from msgspec import Raw

from outlast import limits
from outlast.contracts.messages import EventReference, Origin, RunbookReference, Start
from outlast.db.queries import columns
from outlast_trigger_matcher.core.rows import Admission, Dispatch, Guard
from outlast_trigger_matcher.ports import EventRow

_guard = msgspec.json.Decoder(Guard)
PLAIN = Origin()


def event_columns(events: Sequence[EventRow]) -> list[list[object]]:
    """Of `add_events`."""
    return columns(
        [
            (e.company_id, e.event.source, e.event.id, e.event.type, e.event.time, e.event.subject, e.received_at,
             e.payload, e.traceparent, " ".join(e.chain))
            for e in sorted(events, key=lambda each: each.key)
        ]
    )  # fmt: skip


def by_kind(rows: Sequence[Dispatch]) -> tuple[list[Dispatch], list[Dispatch]]:
    """Those in which nothing but the start's own columns differs from the defaults (most of them), and the others."""
    kinds: tuple[list[Dispatch], list[Dispatch]] = ([], [])
    for row in rows:
        is_plain = row.status == "sent" and row.guard is None and row.start.origin == PLAIN
        kinds[0 if is_plain else 1].append(row)
    return kinds


def plain_columns(rows: Sequence[Dispatch]) -> list[list[object]]:
    """Of `add_dispatches`."""
    return columns([_born(row) for row in _ordered(rows)])


def guarded_columns(rows: Sequence[Dispatch]) -> list[list[object]]:
    """Of `add_guarded_dispatches`."""
    return columns(
        [
            (*_born(row), row.start.origin.is_degraded, row.start.origin.generation, row.start.origin.started_by,
             row.start.origin.instead_of, row.reason, row.detail,
             None if row.guard is None else msgspec.json.encode(row.guard), _slot_key(row), row.changed_at,
             row.asked_at, row.settled_at)
            for row in _ordered(rows)
        ]
    )  # fmt: skip


def _ordered(rows: Sequence[Dispatch]) -> list[Dispatch]:
    return sorted(rows, key=lambda row: row.id)


def _born(row: Dispatch) -> tuple[object, ...]:
    s = row.start
    return (s.execution_id, s.company_id, s.event.source, s.event.id, s.runbook.id, s.runbook.name, s.runbook.version,
            s.runbook.sha256, s.mode, s.lane, row.status, row.received_at)  # fmt: skip


def _slot_key(row: Dispatch) -> str | None:
    return None if row.guard is None or row.guard.slot is None else row.guard.slot.key


def changed_columns(rows: Sequence[Dispatch]) -> list[list[object]]:
    """Of `store_rows`."""
    return columns(
        [
            (row.id, row.status, row.version, row.reason, row.detail, row.ended_by, row.changed_at, row.asked_at,
             row.expires_at, row.slot_taken_at, row.slot_freed_at, row.slot_seq, row.resuming_seq, row.granted_seq,
             row.start.origin.generation, row.cancel, row.answer, row.answered_by, row.is_answered, row.settled_at)
            for row in _ordered(rows)
        ]
    )  # fmt: skip


def admission_columns(admissions: Sequence[Admission]) -> list[list[object]]:
    """Of `add_admissions`."""
    return columns([(*each.key, each.at, each.execution_id, each.until) for each in admissions])


class _Guardrails(msgspec.Struct):
    """As much of the pinned guardrails as goes with every start."""

    breaker_threshold: int = limits.BREAKER_THRESHOLD_DEFAULT


class _Pinned(msgspec.Struct):
    guardrails: _Guardrails = msgspec.field(default_factory=_Guardrails)


_pinned: msgspec.json.Decoder[_Pinned] = msgspec.json.Decoder(_Pinned)


def _threshold(definition: bytes) -> int:
    """Of a row that is only locked the definition is not read; it is not sent either."""
    pinned = _pinned.decode(definition) if definition else _Pinned()
    return pinned.guardrails.breaker_threshold


def to_dispatch(row: asyncpg.Record) -> Dispatch:
    """A row as `load_rows` and `lock_rows` give it."""
    guard = None if row["guard"] is None else _guard.decode(row["guard"])
    is_slotted = guard is not None and guard.slot is not None and row["slot_taken_at"] is not None
    start = Start(
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
        origin=Origin(
            is_degraded=row["is_degraded"],
            generation=row["generation"],
            started_by=row["started_by"],
            instead_of=row["instead_of"],
            is_slotted=is_slotted,
            breaker_threshold=_threshold(row["definition"]),
            releases_slot=is_slotted and guard is not None and guard.releases_slot,
        ),
    )
    own = {name: row[name] for name in _OWN}
    return Dispatch(start=start, guard=guard, **own)


_OWN = (
    "status", "received_at", "changed_at", "version", "reason", "detail", "ended_by", "asked_at", "expires_at",
    "slot_taken_at", "slot_freed_at", "slot_seq", "resuming_seq", "granted_seq", "is_waiting", "is_compared", "cancel",
    "answer", "answered_by", "is_answered", "settled_at", "closed_at",
)  # fmt: skip
