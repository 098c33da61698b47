"""The transactional outbox: what a service says to others is written with the change that says it.

A writer calls `append` in its transaction, and `OutboxPublisher.wake` after the commit. The publisher sends
the rows that are not marked, waits for every delivery report, and marks them with the id of the topic they
went to. A crash between the two sends them again: doubles are allowed, loss is not.

Three traps that this avoids. Serial ids are taken before the commit, so a row with a smaller id may become
visible after one with a greater: rows are found by their mark, never by a cursor over ids. Kafka may lose
all its data: the rows of the last seven days are kept, and those that went to another incarnation of the
topic are sent again. Two instances may run: one publishes, under an advisory lock of the session that reads
and marks.

Order: rows of one key are published in the order in which they were written, provided that writers lock what
the key names before they append (the id is then taken under that lock).
"""

import asyncio
import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import asyncpg
import msgspec
import structlog

from outlast.db.pool import classified
from outlast.errors import LimitExceeded, TransientError
from outlast.limits import MESSAGE_BYTES_MAX
from outlast.messaging.ports import Outgoing, Sink

OUTBOX_DDL = """
create table outbox (
    id bigserial primary key,
    topic text not null,
    partition int,
    key bytea,
    value bytea,
    headers bytea,
    created_at timestamptz not null default now(),
    published_topic_id text,
    published_at timestamptz,
    check ((published_topic_id is null) = (published_at is null))
);
create index outbox_unpublished on outbox (id) where published_topic_id is null;
create table outbox_topics (
    topic text primary key,
    topic_id text not null
);
"""
"""Paste into the first migration. `headers` is JSON: [[name, base64], …]."""

KEPT = timedelta(days=7)
"""How long a published row can be sent again; the retention of the topics it goes to."""
PAGE_ROWS_MAX = 500
PAGE_BYTES_MAX = 16 * 1024 * 1024
PRUNE_ROWS_MAX = 1_000
RESEND_ROWS_MAX = 10_000
CHECK_SECONDS = 5.0
"""How often an idle publisher looks at topic ids, and for rows whose wake-up was lost."""
LOCK_RETRY_SECONDS = 2.0
PRUNE_SECONDS = 600.0
RETRY_SECONDS_FIRST = 0.2
RETRY_SECONDS_MAX = 5.0

_INSERT = """
with written as (
    insert into outbox (topic, partition, key, value, headers)
    select * from unnest($1::text[], $2::int[], $3::bytea[], $4::bytea[], $5::bytea[])
)
select pg_notify($6 || current_schema(), '')
"""
_PAGE = """
select id, topic, partition, key, value, headers
from outbox
where published_topic_id is null and topic <> all($1::text[])
order by id
limit $2
"""
_MARK = """
update outbox set published_topic_id = sent.topic_id, published_at = now()
from unnest($1::bigint[], $2::text[]) as sent (id, topic_id)
where outbox.id = sent.id
"""
_UNMARK_PAGE = """
update outbox set published_topic_id = null, published_at = null
where id in (
    select id from outbox
    where topic = $1 and published_topic_id is not null and published_topic_id <> $2
    order by id limit $3
)
"""
_REMEMBER_TOPIC = """
insert into outbox_topics (topic, topic_id) values ($1, $2)
on conflict (topic) do update set topic_id = excluded.topic_id
"""
_PRUNE = """
delete from outbox
where published_at < now() - $1::interval
  and id in (select id from outbox order by id limit $2)
"""
_CHANNEL_PREFIX = "outbox_"

_log = structlog.get_logger()
_headers_encoder = msgspec.json.Encoder()
_headers_decoder = msgspec.json.Decoder(tuple[tuple[str, bytes], ...])


class TopicIds(Protocol):
    """Asks the broker which incarnation of a topic exists."""

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The id of each of these topics; one that does not exist is left out."""
        ...


async def append(connection: asyncpg.Connection, messages: Sequence[Outgoing]) -> None:
    """Write messages in the caller's transaction; they are published if it commits.

    Refuses a message that the broker would refuse (LimitExceeded), since it would hold up all that follow.
    """
    if not messages:
        return
    for message in messages:
        size = len(message.value or b"") + len(message.key or b"")
        if size > MESSAGE_BYTES_MAX - 4096:
            raise LimitExceeded("message_bytes_max", MESSAGE_BYTES_MAX - 4096, size)
    await connection.execute(
        _INSERT,
        [message.topic for message in messages],
        [message.partition for message in messages],
        [message.key for message in messages],
        [message.value for message in messages],
        [_headers_encoder.encode(message.headers) if message.headers else None for message in messages],
        _CHANNEL_PREFIX,
    )


class OutboxPublisher:
    """Publishes one schema's outbox; run it in every instance of the service, one of them works at a time.

    It holds one connection of `pool` for as long as it runs (lock, listening, reading, marking).
    """

    def __init__(
        self, pool: asyncpg.Pool, sink: Sink, topic_ids: TopicIds, *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._pool = pool
        self._sink = sink
        self._topic_ids = topic_ids
        self._check_seconds = check_seconds
        self._woken = asyncio.Event()
        self._known: dict[str, str] = {}
        self._missing: set[str] = set()
        self.published = 0
        """Rows sent and marked since the start, repeats included."""

    def wake(self) -> None:
        """Something was committed in this process: publish now."""
        self._woken.set()

    async def run(self, stopping: asyncio.Event | None = None) -> None:
        """Publish until `stopping` is set (else for ever); outlives losses of the database and the broker."""
        if stopping is None:
            await self._run_for_ever()
            return
        working = asyncio.create_task(self._run_for_ever())
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            working.cancel()
            waiting.cancel()
            await asyncio.gather(working, waiting, return_exceptions=True)

    async def _run_for_ever(self) -> None:
        delay_seconds = RETRY_SECONDS_FIRST
        while True:
            published_before = self.published
            try:
                async with classified(), self._pool.acquire(timeout=RETRY_SECONDS_MAX) as connection:
                    await self._follow(connection)  # pyright: ignore[reportArgumentType] a proxy of Connection
            except TransientError as fault:
                _log.warning("outbox.interrupted", error=str(fault), retry_seconds=delay_seconds)
            if self.published > published_before:
                delay_seconds = RETRY_SECONDS_FIRST
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, RETRY_SECONDS_MAX)

    async def _follow(self, connection: asyncpg.Connection) -> None:
        """Wait to become the one publisher, then publish until something fails.

        The lock goes with the session, which ends here: nothing else may be half done in it.
        """
        schema = await connection.fetchval("select current_schema()")
        lock = int.from_bytes(hashlib.sha256(f"outbox:{schema}".encode()).digest()[:8], "big", signed=True)
        while not await connection.fetchval("select pg_try_advisory_lock($1)", lock):  # noqa: ASYNC110
            await asyncio.sleep(LOCK_RETRY_SECONDS)
        channel = f"{_CHANNEL_PREFIX}{schema}"
        await connection.add_listener(channel, self._on_notification)
        try:
            await self._publish_for_ever(connection)
        finally:
            connection.terminate()

    async def _publish_for_ever(self, connection: asyncpg.Connection) -> None:
        rows = await connection.fetch("select topic, topic_id from outbox_topics")
        self._known = {row["topic"]: row["topic_id"] for row in rows}
        self._missing = set()
        check_at = prune_at = time.monotonic()
        while True:
            self._woken.clear()
            if time.monotonic() >= check_at:
                await self._compare_topic_ids(connection, set(self._known) | self._missing)
                check_at = time.monotonic() + self._check_seconds
            if await self._publish_page(connection):
                continue
            if time.monotonic() >= prune_at:
                await _prune(connection)
                prune_at = time.monotonic() + PRUNE_SECONDS
            try:
                async with asyncio.timeout(max(check_at - time.monotonic(), 0.0)):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _publish_page(self, connection: asyncpg.Connection) -> bool:
        """Send, wait for every report, mark. False when nothing is left that can be sent."""
        page = _bounded(await connection.fetch(_PAGE, sorted(self._missing), PAGE_ROWS_MAX))
        unknown = {row["topic"] for row in page} - set(self._known)
        if unknown:
            await self._compare_topic_ids(connection, unknown)
            return True
        if not page:
            return False
        ids = [self._known[row["topic"]] for row in page]
        # The ids were read before the sending, so a topic born in between only makes the rows go out twice.
        self._sink.send([_outgoing(row) for row in page])
        await self._sink.flush()
        await connection.execute(_MARK, [row["id"] for row in page], ids)
        self.published += len(page)
        return True

    async def _compare_topic_ids(self, connection: asyncpg.Connection, topics: Collection[str]) -> None:
        """Learn the topics' ids; rows that went to an earlier incarnation become unpublished again."""
        if not topics:
            return
        ids = await self._topic_ids.topic_ids(sorted(topics))
        for topic in topics:
            topic_id = ids.get(topic)
            if topic_id is None:
                if topic not in self._missing:
                    _log.warning("outbox.topic_missing", topic=topic)
                self._missing.add(topic)
                continue
            if topic_id != self._known.get(topic):
                await self._adopt(connection, topic, topic_id)
            self._missing.discard(topic)

    async def _adopt(self, connection: asyncpg.Connection, topic: str, topic_id: str) -> None:
        """In pages, each committed: after a crash the rest is found, since the new id is remembered last."""
        unmarked = 0
        while True:
            done = int((await connection.execute(_UNMARK_PAGE, topic, topic_id, RESEND_ROWS_MAX)).split()[-1])
            unmarked += done
            if done < RESEND_ROWS_MAX:
                break
        await connection.execute(_REMEMBER_TOPIC, topic, topic_id)
        if unmarked:
            _log.warning("outbox.topic_replaced", topic=topic, topic_id=topic_id, resending=unmarked)
        self._known[topic] = topic_id

    def _on_notification(self, *_: object) -> None:
        self._woken.set()


async def _prune(connection: asyncpg.Connection) -> None:
    """Delete from the old end; looks at the oldest rows only, so an idle turn costs one page."""
    while int((await connection.execute(_PRUNE, KEPT, PRUNE_ROWS_MAX)).split()[-1]) == PRUNE_ROWS_MAX:
        pass


def _bounded(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """The first rows that together stay below the byte limit, at least one."""
    size = 0
    kept: list[asyncpg.Record] = []
    for row in rows:
        size += len(row["value"] or b"")
        if kept and size > PAGE_BYTES_MAX:
            break
        kept.append(row)
    return kept


def _outgoing(row: asyncpg.Record) -> Outgoing:
    headers = _headers_decoder.decode(row["headers"]) if row["headers"] is not None else ()
    return Outgoing(
        topic=row["topic"], value=row["value"], key=row["key"], partition=row["partition"], headers=headers
    )
