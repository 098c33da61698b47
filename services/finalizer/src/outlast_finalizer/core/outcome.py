"""What a batch of lifecycle messages says about each run: the latest word wins, by (rank, seq)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from outlast.contracts.messages import (
    Compared,
    Finished,
    LifecycleMessage,
    Queued,
    Resumed,
    Resuming,
    Started,
    Unknown,
    Waiting,
    Withheld,
)
from outlast_finalizer.core.breaker import Outcome, outcome_of
from outlast_finalizer.core.watchdog import PATIENCE

RunMessage = Queued | Started | Waiting | Resuming | Resumed | Finished | Withheld

DISPATCH_RANK = 0
"""Of what the dispatch says: a run whose last word has it never began."""
SLOT_TAKEN = "slot_taken"
"""Why a run whose wait is over does not go on."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run as it is to be recorded. `payload`, `steps`, `error`, `waits` are JSON."""

    execution_id: str
    message: RunMessage
    status: str
    payload: bytes | None = None
    steps: bytes | None = None
    error: bytes | None = None
    waits: bytes | None = None
    started_at: datetime | None = None
    """None for what never began."""
    finished_at: datetime | None = None
    reason: str = ""
    detail: str = ""
    by: str = ""
    """Who cancelled it."""
    check_at: datetime | None = None
    """When to ask about it if nothing is heard until then; None for what does not run."""


def latest_rows(
    messages: Iterable[LifecycleMessage], silent_after: timedelta = PATIENCE.silent_after
) -> list[RunRow]:
    """One row a run, in the order of ids, so that two writers lock rows in the same order.

    A payload is kept whichever message brought it.
    """
    latest: dict[str, RunMessage] = {}
    payloads: dict[str, bytes] = {}
    for message in messages:
        if isinstance(message, Unknown | Compared):
            continue
        brought = _payload(message)
        if brought is not None:
            payloads.setdefault(message.execution_id, brought)
        present = latest.get(message.execution_id)
        if present is None or (present.rank, present.seq) < (message.rank, message.seq):
            latest[message.execution_id] = message
    return [_row(latest[each], payloads.get(each), silent_after) for each in sorted(latest)]


def outcomes(messages: Iterable[LifecycleMessage], rows: Iterable[RunRow]) -> list[Outcome]:
    """What the ends among these rows say about their runbooks, in the order of the messages."""
    latest = {row.execution_id: row.message for row in rows}
    ends = (each for each in messages if isinstance(each, Finished) and latest[each.execution_id] is each)
    return [found for each in ends if (found := outcome_of(each)) is not None]


def _payload(message: RunMessage) -> bytes | None:
    if isinstance(message, Waiting | Resuming | Resumed):
        return None
    return None if message.payload is UNSET else bytes(message.payload)  # pyright: ignore[reportArgumentType]


def _row(message: RunMessage, payload: bytes | None, silent_after: timedelta) -> RunRow:
    row = RunRow(execution_id=message.execution_id, message=message, status="running", payload=payload)
    match message:
        case Queued():
            return msgspec.structs.replace(row, status="queued", reason=message.reason)
        case Started():
            return msgspec.structs.replace(row, started_at=message.at, check_at=message.at + silent_after)
        case Waiting():
            waits = msgspec.json.encode(message.waits)
            return msgspec.structs.replace(row, status="waiting", started_at=message.started_at, waits=waits)
        case Resuming():
            return msgspec.structs.replace(
                row, status="waiting", started_at=message.started_at, reason=SLOT_TAKEN
            )
        case Resumed():
            check_at = message.at + silent_after
            return msgspec.structs.replace(row, started_at=message.started_at, check_at=check_at)
        case Finished():
            return msgspec.structs.replace(
                row,
                status=message.status,
                started_at=message.started_at,
                finished_at=message.at,
                steps=msgspec.json.encode(message.steps),
                error=None if message.error is None else msgspec.json.encode(message.error),
                reason=message.reason,
                by=message.by,
            )
        case Withheld():
            return msgspec.structs.replace(
                row,
                status=message.status,
                finished_at=message.at,
                reason=message.reason,
                detail=message.detail,
                by=message.by,
            )
