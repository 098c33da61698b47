"""What exists before anyone has called: the first administrator, the services' own identity, our producers."""

import asyncpg

from outlast.contracts.topics import IDENTITIES
from outlast.db.pool import transaction
from outlast_control_plane.access import PUBLISH_EVENTS, READ_RUNS, key_digest
from outlast_control_plane.compacted import identity_message, raise_revision, say
from outlast_control_plane.queries import QUERIES
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
    identity_id = f"id_{digest[:20]}"
    revision = await raise_revision(connection, IDENTITIES)
    await connection.execute(
        QUERIES["put_identity"], identity_id, digest, name, "", role, scopes, revision, CREATED_BY
    )
    row = await connection.fetchrow(QUERIES["identity"], identity_id)
    await say(connection, IDENTITIES, revision, identity_id, identity_message(row))
