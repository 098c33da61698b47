"""Migrations: numbered SQL files in halves, `0001_pre_name.sql` before the new code, `0002_post_name.sql` after it.

Each service has its own schema, its own table of applied files and its own advisory lock, so that two instances
can start at once and two services never wait for each other. The last release runs on the first half.
"""

import hashlib
from importlib import resources

import asyncpg

from outlast.errors import PermanentError


def migration_files(package: str) -> list[tuple[str, str]]:
    """(name, SQL) of the package's `migrations/*.sql`, in order."""
    folder = resources.files(package).joinpath("migrations")
    return sorted(
        (entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")
    )


async def migrate(pool: asyncpg.Pool, schema: str, files: list[tuple[str, str]]) -> list[str]:
    """Bring `schema` up to date in one transaction; returns the names applied now.

    Refuses when a file that was applied has changed since: what ran in production is never edited.
    """
    lock = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8], "big", signed=True)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", lock)
        await connection.execute(f'create schema if not exists "{schema}"')
        await connection.execute(
            f'create table if not exists "{schema}".migrations '
            "(name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
        )
        rows = await connection.fetch(f'select name, sha256 from "{schema}".migrations')
        applied = {row["name"]: row["sha256"] for row in rows}
        fresh: list[str] = []
        for name, sql in files:
            digest = hashlib.sha256(sql.encode()).hexdigest()
            if name in applied:
                if applied[name] != digest:
                    raise PermanentError(
                        f"expected {schema}/{name} as it was applied, but the file has changed"
                    )
                continue
            await connection.execute(sql)
            await connection.execute(
                f'insert into "{schema}".migrations (name, sha256) values ($1, $2)', name, digest
            )
            fresh.append(name)
        return fresh
