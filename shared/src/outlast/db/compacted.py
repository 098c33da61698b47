"""What a service says on compacted topics of its own, written to its outbox with the change that says it.

Every change raises the topic's one revision, and is followed by the head record {revision, count}: a reader is
ready when it holds the head's revision (outlast.messaging.heads). The counter's row is locked from the raise to the
commit, so messages stand in the outbox in the order of their revisions. Absence never deletes: what is gone is a
message that says so. A topic that is new or was emptied (its id is not the one we published to) gets everything again.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import asyncpg
import structlog

from outlast.contracts.codec import encode
from outlast.contracts.messages import Head, Message
from outlast.db.outbox import TopicIds, append
from outlast.db.pool import transaction
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing

COMPACTED_TOPICS_DDL = """
create table compacted_topics (
    topic text primary key,
    revision bigint not null default 0,
    topic_id text not null default ''
);
"""
"""One counter a compacted topic, for the owner's migrations, beside the outbox."""

HEAD_KEY = b"head"
PAGE_MAX = 500
CHECK_SECONDS = 5.0

_RAISE = """
insert into compacted_topics as c (topic, revision) values ($1, 1)
on conflict (topic) do update set revision = c.revision + 1
returning revision
"""
_LOCK = """
insert into compacted_topics as c (topic, revision) values ($1, 0)
on conflict (topic) do update set revision = c.revision
returning revision, topic_id
"""

_log = structlog.get_logger()


class CompactedTopic(Protocol):
    """One compacted topic, as its owner's rows have it."""

    @property
    def name(self) -> str:
        """The topic."""
        ...

    async def count(self, connection: asyncpg.Connection) -> int:
        """How many keys it has."""
        ...

    def pages(
        self, connection: asyncpg.Connection, page_max: int
    ) -> AsyncIterator[Sequence[tuple[str, Message]]]:
        """Every key with its message, in pages."""
        ...


class Stopping(Protocol):
    """Says when to stop."""

    async def wait(self, seconds: float) -> bool:
        """Wait that long, or until the stop; True when stopping."""
        ...


async def raise_revision(connection: asyncpg.Connection, topic: str) -> int:
    """The revision of the change that this transaction makes; locks the topic's counter."""
    revision = await connection.fetchval(_RAISE, topic)
    assert isinstance(revision, int), "an insert that returns has a row"
    return revision


async def say(
    connection: asyncpg.Connection,
    topic: CompactedTopic,
    revision: int,
    messages: Sequence[tuple[str, Message]],
) -> None:
    """Publish changed keys and the new head, if the transaction commits."""
    head = await _head(connection, topic, revision)
    await append(connection, [*_outgoing(topic, messages), head])


async def _head(connection: asyncpg.Connection, topic: CompactedTopic, revision: int) -> Outgoing:
    head = Head(revision=revision, count=await topic.count(connection))
    return Outgoing(topic.name, encode(head), HEAD_KEY)


def _outgoing(topic: CompactedTopic, messages: Sequence[tuple[str, Message]]) -> list[Outgoing]:
    return [Outgoing(topic.name, encode(message), key.encode()) for key, message in messages]


class Republisher:
    """Publishes a compacted topic again when it is not the one that everything was published to."""

    def __init__(self, pool: asyncpg.Pool, topic_ids: TopicIds, topics: Sequence[CompactedTopic]) -> None:
        self._pool = pool
        self._topic_ids = topic_ids
        self._topics = {topic.name: topic for topic in topics}

    async def run(self, stop: Stopping) -> None:
        """Look now and every few seconds; the broker or the database being away is waited out."""
        while True:
            try:
                await self.look()
            except TransientError as fault:
                _log.warning("republish_postponed", error=str(fault))
            if await stop.wait(CHECK_SECONDS):
                return

    async def look(self) -> list[str]:
        """Publish again what needs it; returns the topics."""
        current = await self._topic_ids.topic_ids(list(self._topics))
        async with transaction(self._pool) as connection:
            rows = await connection.fetch("select topic, topic_id from compacted_topics")
        known = {row["topic"]: row["topic_id"] for row in rows}
        stale = [name for name in self._topics if name in current and known.get(name) != current[name]]
        for name in stale:
            await self._publish(self._topics[name], current[name])
        return stale

    async def _publish(self, topic: CompactedTopic, topic_id: str) -> None:
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_LOCK, topic.name)
            if row is None or row["topic_id"] == topic_id:
                return  # another instance was faster
            count = 0
            async for page in topic.pages(connection, PAGE_MAX):
                await append(connection, _outgoing(topic, page))
                count += len(page)
            await append(connection, [await _head(connection, topic, row["revision"])])
            await connection.execute(
                "update compacted_topics set topic_id = $2 where topic = $1", topic.name, topic_id
            )
        _log.info("republished", topic=topic.name, topic_id=topic_id, count=count, revision=row["revision"])
