"""The breakers' rows, changed in the transaction that records what runs came to, and published through the outbox.

Outcomes and resets of one runbook may come to two owners (two topics), so its row is locked while it is changed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from outlast.contracts import topics
from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Message
from outlast.db import compacted
from outlast.db.queries import columns, load_queries
from outlast_finalizer.core.breaker import (
    BreakerState,
    Key,
    Outcome,
    breaker_key,
    breaker_message,
    is_news,
    turned,
)

_QUERIES = load_queries("outlast_finalizer")


class BreakersTopic:
    """`breakers` as its rows have it (outlast.db.compacted.CompactedTopic)."""

    name = topics.BREAKERS

    async def count(self, connection: asyncpg.Connection) -> int:
        """How many breakers ever opened or were reset."""
        return int(await connection.fetchval(_QUERIES["count_breakers"]) or 0)

    async def pages(
        self, connection: asyncpg.Connection, page_max: int
    ) -> AsyncIterator[Sequence[tuple[str, Message]]]:
        """Every one of them, in pages."""
        after = Key("", "")
        while rows := await connection.fetch(_QUERIES["breakers_page"], *after, page_max):
            found = [(_key(row), _state(row), row["revision"]) for row in rows]
            yield [
                (breaker_key(key), breaker_message(key, state, revision)) for key, state, revision in found
            ]
            after = found[-1][0]


async def count(
    connection: asyncpg.Connection, outcomes: Sequence[Outcome], resets: Sequence[ResetBreaker]
) -> Mapping[Key, BreakerState]:
    """Count and reset in the caller's transaction. Returns what is published of it."""
    fresh = await _new(connection, resets) if resets else []
    keys = sorted({each.key for each in outcomes} | {_of(each) for each in fresh})
    if not keys:
        return {}
    rows = await connection.fetch(_QUERIES["lock_breakers"], *columns(keys))
    before = {_key(row): _state(row) for row in rows}
    after = turned(before, outcomes, fresh)
    published = {key: state for key, state in after.items() if is_news(before.get(key), state)}
    revision = await compacted.raise_revision(connection, topics.BREAKERS) if published else 0
    records = [
        (*key, state.generation, state.failures, state.tripped_at, revision if key in published else None)
        for key, state in sorted(after.items())
    ]
    if records:
        await connection.execute(_QUERIES["put_breakers"], *columns(records))
    if published:
        said = [(breaker_key(key), breaker_message(key, state, revision)) for key, state in published.items()]
        await compacted.say(connection, BreakersTopic(), revision, said)
    return published


async def _new(connection: asyncpg.Connection, resets: Sequence[ResetBreaker]) -> list[ResetBreaker]:
    """Those that were not heard before, in order."""
    known = {each.command_id: each for each in resets}
    records = [
        (each.command_id, each.company_id, each.runbook_id, each.by, each.at, each.reason)
        for each in sorted(known.values(), key=lambda each: each.command_id)
    ]
    rows = await connection.fetch(_QUERIES["insert_resets"], *columns(records))
    inserted = {row["command_id"] for row in rows}
    return [each for each in known.values() if each.command_id in inserted]


def _of(command: ResetBreaker) -> Key:
    return Key(command.company_id, command.runbook_id)


def _key(row: asyncpg.Record) -> Key:
    return Key(row["company_id"], row["runbook_id"])


def _state(row: asyncpg.Record) -> BreakerState:
    return BreakerState(row["generation"], row["failures"], row["tripped_at"])
