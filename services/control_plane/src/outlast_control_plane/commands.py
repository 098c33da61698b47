"""What people order goes to the lane of its runbook: the message, the audit line and the answer are one transaction.

The matcher and the finalizer do it, in the order of the lane; here is only decided whether the caller may ask for it
and whether there is any sense in it now.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from outlast import ids
from outlast.contracts.codec import encode
from outlast.contracts.control import ControlMessage
from outlast.contracts.topics import CONTROL_COMMANDS
from outlast.db.outbox import append
from outlast.messaging.ports import Outgoing
from outlast_control_plane import metrics
from outlast_control_plane.access import Caller
from outlast_control_plane.queries import QUERIES, number
from outlast_control_plane.services import Services


@dataclass(frozen=True, slots=True)
class Order:
    """What every command says of itself."""

    command_id: str
    by: str
    at: datetime
    lane: int


async def order(
    services: Services, connection: asyncpg.Connection, caller: Caller, company_id: str, runbook_id: str
) -> Order:
    """A new order for a runbook's lane. `unavailable` if the lanes were never counted and the broker is away."""
    lanes = await _lanes(services, connection)
    lane = ids.lane(company_id, runbook_id, lanes)
    return Order(services.new_id(), caller.name, services.now(), lane)


async def send(connection: asyncpg.Connection, *messages: ControlMessage) -> None:
    """Publish these commands, in their order, if the transaction commits."""
    await append(connection, [_outgoing(message) for message in messages])
    for message in messages:
        metrics.commands.labels(type(message).__name__).inc()


def _outgoing(message: ControlMessage) -> Outgoing:
    subject = getattr(message, "runbook_id", "") or getattr(message, "execution_id", "")
    key = f"{message.company_id}/{subject}".encode()
    return Outgoing(CONTROL_COMMANDS, encode(message), key, message.lane)


async def _lanes(services: Services, connection: asyncpg.Connection) -> int:
    """How many there are: as it was when it was asked for first."""
    known = await connection.fetchval(QUERIES["lanes"], CONTROL_COMMANDS)
    if known is not None:
        return int(known)
    count = await services.topics.partition_count(CONTROL_COMMANDS)
    return await number(connection, "put_lanes", CONTROL_COMMANDS, count)
