"""Who changed what: one row in the transaction of the change."""

import asyncpg
import msgspec

from outlast_control_plane.access import Caller
from outlast_control_plane.queries import QUERIES


async def note(
    connection: asyncpg.Connection, caller: Caller, company_id: str, verb: str, subject: str, **detail: object
) -> None:
    """Add a line to the audit log; `detail` never holds a secret."""
    await connection.execute(
        QUERIES["add_audit"], company_id, caller.id, caller.name, verb, subject, msgspec.json.encode(detail)
    )
