"""What this service says on compacted topics, written with the change that says it.

Every change raises the topic's one revision, and is followed by the head record {revision, count}: a reader is
ready when it holds the head's revision. The counter's row is locked from the raise to the commit, so messages
stand in the outbox in the order of their revisions. Absence never deletes: a deleted runbook is a message that
says so. A topic that is new or was emptied (its id is not the one we published to) gets everything again.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import asyncpg
from msgspec import Raw

from outlast.contracts.codec import encode
from outlast.contracts.messages import Definition, Head, Identity, Message, Producer, RunbookReference
from outlast.contracts.topics import DEFINITIONS, IDENTITIES, PRODUCERS
from outlast.db.outbox import append
from outlast.db.pool import transaction
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing
from outlast.runtime.logging import get_logger
from outlast.runtime.service import Stop
from outlast_control_plane.queries import QUERIES, number

HEAD_KEY = b"head"
TOPICS = (DEFINITIONS, PRODUCERS, IDENTITIES)
COUNTS = {DEFINITIONS: "count_definitions", PRODUCERS: "count_producers", IDENTITIES: "count_identities"}
PAGE_MAX = 500
CHECK_SECONDS = 5.0

log = get_logger(__name__)


class TopicIds(Protocol):
    """Asks the broker which incarnation of a topic exists."""

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The id of each of these topics that exists."""
        ...


async def raise_revision(connection: asyncpg.Connection, topic: str) -> int:
    """The revision of the change that this transaction makes; locks the topic's counter."""
    return await number(connection, "raise_revision", topic)


async def say(connection: asyncpg.Connection, topic: str, revision: int, key: str, message: Message) -> None:
    """Publish one changed key and the new head, if the transaction commits."""
    head = await _head(connection, topic, revision)
    await append(connection, [Outgoing(topic, encode(message), key.encode()), head])


async def _head(connection: asyncpg.Connection, topic: str, revision: int) -> Outgoing:
    count = await number(connection, COUNTS[topic])
    return Outgoing(topic, encode(Head(revision=revision, count=count)), HEAD_KEY)


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


class Republisher:
    """Publishes a compacted topic again when it is not the one that everything was published to."""

    def __init__(self, pool: asyncpg.Pool, topic_ids: TopicIds) -> None:
        self._pool = pool
        self._topic_ids = topic_ids

    async def run(self, stop: Stop) -> None:
        """Look now and every few seconds; the broker or the database being away is waited out."""
        while True:
            try:
                await self.look()
            except TransientError as fault:
                log.warning("republish_postponed", error=str(fault))
            if await stop.wait(CHECK_SECONDS):
                return

    async def look(self) -> list[str]:
        """Publish again what needs it; returns the topics."""
        current = await self._topic_ids.topic_ids(TOPICS)
        async with transaction(self._pool) as connection:
            known = {
                row["topic"]: row["topic_id"] for row in await connection.fetch(QUERIES["compacted_topics"])
            }
        stale = [topic for topic in TOPICS if topic in current and known.get(topic) != current[topic]]
        for topic in stale:
            await self._publish(topic, current[topic])
        return stale

    async def _publish(self, topic: str, topic_id: str) -> None:
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(QUERIES["lock_compacted_topic"], topic)
            if row is None or row["topic_id"] == topic_id:
                return  # another instance was faster
            count = 0
            match topic:
                case _ if topic == DEFINITIONS:
                    count = await self._definitions(connection)
                case _ if topic == PRODUCERS:
                    count = await self._paged(connection, "producers_page", [""], "name", PRODUCERS)
                case _:
                    count = await self._paged(connection, "identities_page", [None, ""], "id", IDENTITIES)
            await append(connection, [await _head(connection, topic, row["revision"])])
            await connection.execute(QUERIES["remember_topic_id"], topic, topic_id)
        log.info("republished", topic=topic, topic_id=topic_id, count=count, revision=row["revision"])

    async def _definitions(self, connection: asyncpg.Connection) -> int:
        after, count = ("", ""), 0
        while page := await connection.fetch(QUERIES["definitions_page"], *after, PAGE_MAX):
            await append(
                connection,
                [
                    Outgoing(
                        DEFINITIONS,
                        encode(definition_message(row)),
                        definition_key(row["company_id"], row["runbook_id"]).encode(),
                    )
                    for row in page
                ],
            )
            after, count = (page[-1]["company_id"], page[-1]["runbook_id"]), count + len(page)
        return count

    async def _paged(
        self, connection: asyncpg.Connection, query: str, after: list[str | None], key: str, topic: str
    ) -> int:
        message = producer_message if topic == PRODUCERS else identity_message
        count = 0
        while page := await connection.fetch(QUERIES[query], *after, PAGE_MAX):
            await append(
                connection, [Outgoing(topic, encode(message(row)), row[key].encode()) for row in page]
            )
            after, count = [*after[:-1], page[-1][key]], count + len(page)
        return count
