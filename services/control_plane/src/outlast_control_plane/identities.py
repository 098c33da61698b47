"""Identities by the digest of their key, from the table that owns them."""

import asyncpg

from outlast.contracts.messages import Identity
from outlast.db.pool import transaction
from outlast_control_plane.compacted import identity_message
from outlast_control_plane.queries import QUERIES


class PostgresIdentities:
    """`access.Identities` on the service's own schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def identity_by_key(self, key_sha256: str) -> Identity | None:
        """The identity whose key has this digest, revoked or not."""
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(QUERIES["identity_by_key"], key_sha256)
        return None if row is None else identity_message(row)
