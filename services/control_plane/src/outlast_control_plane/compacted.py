"""What this service says on compacted topics (outlast.db.compacted): definitions, producers, identities.

A deleted runbook is a message that says so.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
from msgspec import Raw

from outlast.contracts.messages import Definition, Identity, Message, Producer, RunbookReference
from outlast.contracts.topics import DEFINITIONS, IDENTITIES, PRODUCERS
from outlast.db import compacted
from outlast.db.compacted import CompactedTopic
from outlast.db.compacted import raise_revision as raise_revision
from outlast_control_plane.queries import QUERIES, number


async def say(connection: asyncpg.Connection, topic: str, revision: int, key: str, message: Message) -> None:
    """Publish one changed key and the new head, if the transaction commits."""
    await compacted.say(connection, TOPICS[topic], revision, [(key, message)])


def definition_key(company_id: str, runbook_id: str) -> str:
    """The key of a runbook on `runbooks.definitions`."""
    return f"{company_id}/{runbook_id}"


def definition_message(row: Mapping[str, Any] | asyncpg.Record) -> Definition:
    """A row of `definitions_page` as it is published."""
    return Definition(
        company_id=row["company_id"],
        runbook=RunbookReference(
            id=row["runbook_id"], name=row["name"], version=row["version"], sha256=row["sha256"]
        ),
        is_active=row["is_active"],
        is_deleted=row["is_deleted"],
        revision=row["revision"],
        definition=Raw(row["document"]),
    )


def producer_message(row: asyncpg.Record) -> Producer:
    """A producer's row as it is published."""
    return Producer(
        name=row["name"],
        topic=row["topic"],
        companies=tuple(row["companies"]),
        is_revoked=row["is_revoked"],
        revision=row["revision"],
    )


def identity_message(row: asyncpg.Record) -> Identity:
    """An identity's row as it is published: the digest of its key, never the key."""
    return Identity(
        id=row["id"],
        key_sha256=row["key_sha256"],
        name=row["name"],
        company_id=row["company_id"],
        role=row["role"],
        scopes=tuple(row["scopes"]),
        is_revoked=row["is_revoked"],
        revision=row["revision"],
    )


def _definition_entry(row: asyncpg.Record) -> tuple[str, Message]:
    return definition_key(row["company_id"], row["runbook_id"]), definition_message(row)


def _producer_entry(row: asyncpg.Record) -> tuple[str, Message]:
    return row["name"], producer_message(row)


def _identity_entry(row: asyncpg.Record) -> tuple[str, Message]:
    return row["id"], identity_message(row)


@dataclass(frozen=True, slots=True)
class _Table:
    """A compacted topic whose keys are the rows of one of our tables."""

    name: str
    counting: str
    paging: str
    fixed: tuple[object, ...]
    """Arguments of the page's statement that stand before where it begins."""
    keys: tuple[str, ...]
    """The columns that say where a page ends."""
    entry: Callable[[asyncpg.Record], tuple[str, Message]]

    async def count(self, connection: asyncpg.Connection) -> int:
        """How many keys it has."""
        return await number(connection, self.counting)

    async def pages(
        self, connection: asyncpg.Connection, page_max: int
    ) -> AsyncIterator[Sequence[tuple[str, Message]]]:
        """Every key with its message, in pages."""
        after: tuple[str, ...] = ("",) * len(self.keys)
        while rows := await connection.fetch(QUERIES[self.paging], *self.fixed, *after, page_max):
            yield [self.entry(row) for row in rows]
            after = tuple(rows[-1][key] for key in self.keys)


_ALL: tuple[CompactedTopic, ...] = (
    _Table(
        DEFINITIONS,
        "count_definitions",
        "definitions_page",
        (),
        ("company_id", "runbook_id"),
        _definition_entry,
    ),
    _Table(PRODUCERS, "count_producers", "producers_page", (), ("name",), _producer_entry),
    _Table(IDENTITIES, "count_identities", "identities_page", (None,), ("id",), _identity_entry),
)
TOPICS: Mapping[str, CompactedTopic] = {topic.name: topic for topic in _ALL}

Republisher = partial(compacted.Republisher, topics=_ALL)
"""Of our three topics."""
