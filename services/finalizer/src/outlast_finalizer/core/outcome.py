"""What a batch of lifecycle messages says about each run: the latest word wins, by (rank, seq)."""

from collections.abc import Iterable

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

RunMessage = Started | Waiting | Resumed | Finished


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run as it is to be recorded. `payload`, `steps`, `error`, `waits` are JSON."""

    execution_id: str
    message: RunMessage
    status: str
    payload: bytes | None
    steps: bytes | None
    error: bytes | None
    waits: bytes | None = None


def latest_rows(messages: Iterable[LifecycleMessage]) -> list[RunRow]:
    """One row a run, in the order of ids, so that two writers lock rows in the same order.

    A payload is kept whichever message brought it.
    """
    rows: dict[str, RunRow] = {}
    for message in messages:
        if isinstance(message, Unknown | Queued | Withheld | Resuming | Compared):
            continue
        present = rows.get(message.execution_id)
        if present is None:
            rows[message.execution_id] = _row(message, None)
        elif (present.message.rank, present.message.seq) < (message.rank, message.seq):
            rows[message.execution_id] = _row(message, present.payload)
        elif present.payload is None:
            rows[message.execution_id] = _row(present.message, _payload(message))
    return [rows[execution_id] for execution_id in sorted(rows)]


def _payload(message: RunMessage) -> bytes | None:
    if isinstance(message, Waiting | Resumed):
        return None
    return None if message.payload is UNSET else bytes(message.payload)  # pyright: ignore[reportArgumentType]


def _row(message: RunMessage, payload: bytes | None) -> RunRow:
    own = _payload(message)
    if not isinstance(message, Finished):
        is_waiting = isinstance(message, Waiting)
        return RunRow(
            execution_id=message.execution_id,
            message=message,
            status="waiting" if is_waiting else "running",
            payload=own or payload,
            steps=None,
            error=None,
            waits=msgspec.json.encode(message.waits) if is_waiting else None,
        )
    return RunRow(
        execution_id=message.execution_id,
        message=message,
        status=message.status,
        payload=own or payload,
        steps=msgspec.json.encode(message.steps),
        error=None if message.error is None else msgspec.json.encode(message.error),
    )
