"""Bytes to typed messages; no decisions."""

from dataclasses import dataclass
from datetime import datetime

from outlast.clock import from_milliseconds
from outlast.contracts import codec
from outlast.contracts.messages import InboxMessage
from outlast.messaging.ports import Received


@dataclass(frozen=True, slots=True)
class Input:
    """One inbox message, when the broker took it, and where it came from."""

    message: InboxMessage
    at: datetime
    received: Received


def read(received: Received) -> Input:
    """The typed message, or ContractError."""
    return Input(codec.inbox.decode(received.value), from_milliseconds(received.timestamp_ms), received)
