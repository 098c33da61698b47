"""Bytes to typed messages; no decisions. What cannot be read, or is not for this partition, is a ContractError."""

import re
from datetime import datetime

import msgspec

from outlast import ids
from outlast.clock import from_milliseconds
from outlast.contracts import codec
from outlast.contracts.messages import DeliverSignal, InboxMessage, Recorded, Start
from outlast.errors import ContractError
from outlast.messaging.ports import Received

MODES = ("workflow", "shadow")
"""An inline run is an executor's: here its actions would be ordered once more."""
_EXECUTION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Input(msgspec.Struct, frozen=True):
    """One inbox message, when the broker took it, and where it came from."""

    message: InboxMessage
    at: datetime
    received: Received


def read(received: Received) -> Input:
    """The typed message, or ContractError. A run in another partition's inbox would have two writers: refused."""
    message = codec.inbox.decode(received.value)
    if isinstance(message, Recorded):
        for execution_id in message.executions:
            _check(execution_id, received.partition)
    else:
        _check(message.execution_id, received.partition)
    if isinstance(message, DeliverSignal):
        _check_payload(message)
    if isinstance(message, Start) and message.mode not in MODES:
        raise ContractError(f"expected a run in mode {' or '.join(MODES)}, got {message.mode:.40}", "$.mode")
    return Input(message, from_milliseconds(received.timestamp_ms), received)


def _check_payload(message: DeliverSignal) -> None:
    """The run may keep it for a later step, whose turn must not fail on it."""
    try:
        msgspec.json.decode(message.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ContractError(f"expected JSON that can be decoded: {fault}", "$.payload") from fault


def _check(execution_id: str, partition: int) -> None:
    if _EXECUTION.fullmatch(execution_id) is None:
        raise ContractError("expected an execution id (a UUID of version 8 in lower case)", "$.execution_id")
    if ids.engine_partition(execution_id) != partition:
        text = f"expected a run of partition {partition}, got one of {ids.engine_partition(execution_id)}"
        raise ContractError(text, "$.execution_id")
