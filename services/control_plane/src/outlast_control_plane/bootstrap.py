"""What exists before anyone has called: the first administrator, the services' own identity, our producers."""

import asyncpg

from outlast.contracts.topics import IDENTITIES
from outlast.db.pool import transaction
from outlast_control_plane.access import PUBLISH_EVENTS, READ_RUNS, identity_id, key_digest
from outlast_control_plane.compacted import identity_message, raise_revision, say
from outlast_control_plane.queries import QUERIES, one
from outlast_control_plane.routes.administration import OUR_PRODUCERS, register

CREATED_BY = "bootstrap"
EVERY_COMPANY = ["*"]


async def bootstrap(pool: asyncpg.Pool, admin_key: str, service_token: str) -> None:
    """Idempotent. A key that was revoked stays revoked: the environment does not overrule a person."""
    async with transaction(pool) as connection:
        if admin_key:
            await _identity(connection, admin_key, "administrator", "platform_administrator", [])
        if service_token:
            await _identity(connection, service_token, "services", "service", [PUBLISH_EVENTS, READ_RUNS])
        for name in OUR_PRODUCERS:
            if await connection.fetchrow(QUERIES["producer"], name) is None:
                await register(connection, name, EVERY_COMPANY)


async def _identity(
    connection: asyncpg.Connection, key: str, name: str, role: str, scopes: list[str]
) -> None:
    digest = key_digest(key)
    if await connection.fetchrow(QUERIES["identity_by_key"], digest) is not None:
        return
    new_id = identity_id(digest)
    revision = await raise_revision(connection, IDENTITIES)
    await connection.execute(
        QUERIES["put_identity"], new_id, digest, name, "", role, scopes, revision, CREATED_BY
    )
    row = await one(connection, "identity", new_id)
    await say(connection, IDENTITIES, revision, new_id, identity_message(row))
