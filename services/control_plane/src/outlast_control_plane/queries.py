"""The statements of queries.sql by name, and the two shapes of answer that must be there."""

import asyncpg

from outlast.db.queries import load_queries

QUERIES = load_queries("outlast_control_plane")


async def one(connection: asyncpg.Connection, query: str, *arguments: object) -> asyncpg.Record:
    """The row of a statement that always has one."""
    row = await connection.fetchrow(QUERIES[query], *arguments)
    if row is None:
        raise LookupError(f"expected a row from {query}, got none")
    return row


async def number(connection: asyncpg.Connection, query: str, *arguments: object) -> int:
    """The whole number of a statement that always gives one."""
    return int((await one(connection, query, *arguments))[0])
