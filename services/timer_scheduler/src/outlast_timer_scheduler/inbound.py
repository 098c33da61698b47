"""Bytes to typed commands; no decisions."""

import re

from outlast.contracts import codec
from outlast.contracts.messages import StartTimer, TimerCommand
from outlast.errors import ContractError
from outlast.messaging.ports import Received

_EXECUTION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def read(received: Received) -> TimerCommand:
    """The command. ContractError also for an id that names no place to fire to, and for an instant without a zone."""
    command = codec.timer_commands.decode(received.value)
    if _EXECUTION_ID.fullmatch(command.execution_id) is None:
        raise ContractError(f"expected an execution's id, got {command.execution_id!r}", "execution_id")
    if isinstance(command, StartTimer) and command.fire_at.tzinfo is None:
        raise ContractError("expected an instant with its offset from UTC", "fire_at")
    return command
