"""The fenced partition row: one owner a partition, decided by the database (rule 6 of the architecture).

Every consuming loop keeps one row a partition: epoch, the topic's id, the next offset, `pending`. To acquire is to
raise the epoch and learn where to start. To commit is to move the offset in the same transaction as the work,
where the epoch and the offset are still the ones expected; otherwise somebody newer owns it: Fenced.

`pending` names what the last batch has to say to others (ids whose messages are not known to be delivered). The
next batch overwrites it only when every delivery report of this one is in, and it is cleared when the loop is idle;
a new owner derives those messages again from what is stored.

A new topic id means that the broker's data is gone: reading begins at offset 0, and `rederive_after` is set to "",
the position of a walk over everything outstanding, whose progress is stored until it is done (None). A partition that
is acquired for the first time is walked too: another loop may have stored rows for it, and sent what the broker then
lost, before anybody read it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import asyncpg

from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.pool import transaction
from outlast.errors import Fenced

PARTITIONS_DDL = """
create table partitions (
    loop text not null,
    topic text not null,
    partition int not null,
    topic_id text not null,
    epoch bigint not null,
    next_offset bigint not null,
    pending text[] not null default '{}',
    rederive_after text,
    acquired_at_offset bigint not null,
    acquisitions int not null default 1,
    attempts int not null default 0,
    primary key (loop, topic, partition)
) with (fillfactor = 50);
"""
"""The table, for each service's first migration (a test compares the copies with this text)."""


class Owned(NamedTuple):
    """A partition that this process owns since `epoch`."""

    at: TopicPartition
    epoch: int
    next_offset: int
    pending: tuple[str, ...]
    rederive_after: str | None
    acquisitions: int
    """How often it was acquired at this very offset; more than a few mean that a message kills its reader."""


class Move(NamedTuple):
    """An offset to move, fenced. `pending` None leaves what is stored."""

    at: TopicPartition
    epoch: int
    expected_offset: int
    next_offset: int
    pending: tuple[str, ...] | None = ()


class Fence(Protocol):
    """The partition rows of one loop, apart from the work that commits with them."""

    async def acquire(self, claims: Sequence[Claim]) -> list[Owned]:
        """Own these partitions from now on: epoch + 1."""
        ...

    async def clear_pending(self, owned: Mapping[TopicPartition, int]) -> None:
        """Everything said is delivered; (partition, epoch) pairs that are no longer current are left alone."""
        ...

    async def store_rederived(self, at: TopicPartition, epoch: int, after: str | None) -> None:
        """Progress of the walk over what is outstanding; None when it is done."""
        ...

    async def count_attempt(self, at: TopicPartition, epoch: int) -> int:
        """One more attempt at the message at the stored offset begins; returns which one it is."""
        ...

    async def take_back_attempts(self, at: TopicPartition, offset: int, count: int) -> None:
        """So many attempts at this offset ended without the death of their process: they do not count."""
        ...


_ACQUIRE = """
insert into partitions as p
    (loop, topic, partition, topic_id, epoch, next_offset, acquired_at_offset, rederive_after)
select $1, t, n, i, 1, 0, 0, '' from unnest($2::text[], $3::int[], $4::text[]) as c(t, n, i) order by t, n
on conflict (loop, topic, partition) do update set
    epoch = p.epoch + 1,
    next_offset = case when p.topic_id = excluded.topic_id then p.next_offset else 0 end,
    rederive_after = case when p.topic_id = excluded.topic_id then p.rederive_after else '' end,
    attempts = case when p.topic_id = excluded.topic_id then p.attempts else 0 end,
    acquisitions = case when p.topic_id = excluded.topic_id and p.acquired_at_offset = p.next_offset
                        then p.acquisitions + 1 else 1 end,
    acquired_at_offset = case when p.topic_id = excluded.topic_id then p.next_offset else 0 end,
    topic_id = excluded.topic_id
returning topic, partition, epoch, next_offset, pending, rederive_after, acquisitions
"""

_MOVED = """
with wanted as (
    select * from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
        as w(topic, partition, epoch, expected_offset, next_offset, pending)
), held as materialized (
    select p.topic, p.partition, w.next_offset, w.pending
    from partitions p join wanted w using (topic, partition)
    where p.loop = $1 and p.epoch = w.epoch and p.next_offset = w.expected_offset
    order by p.topic, p.partition for update of p
), fence as materialized (
    select 1 where (select count(distinct (topic, partition)) from held) = cardinality($2::text[])
), moved as (
    update partitions p
    set next_offset = held.next_offset, attempts = 0,
        pending = case when held.pending is null then p.pending
                       when held.pending = '' then '{}' else string_to_array(held.pending, ' ') end
    from held where exists (select from fence)
        and p.loop = $1 and p.topic = held.topic and p.partition = held.partition
    returning 1
)"""
"""Either every offset is moved or none is, and then `fence` is empty."""

_MOVE = f"{_MOVED} select count(*) from moved"


async def acquire(connection: asyncpg.Connection, loop: str, claims: Sequence[Claim]) -> list[Owned]:
    """Raise the epoch of each partition's row, making it where there is none."""
    rows = await connection.fetch(
        _ACQUIRE,
        loop,
        [claim.at.topic for claim in claims],
        [claim.at.partition for claim in claims],
        [claim.topic_id for claim in claims],
    )
    return [
        Owned(
            TopicPartition(row["topic"], row["partition"]),
            row["epoch"],
            row["next_offset"],
            tuple(row["pending"]),
            row["rederive_after"],
            row["acquisitions"],
        )
        for row in rows
    ]


async def move(connection: asyncpg.Connection, loop: str, moves: Sequence[Move]) -> None:
    """Move offsets; the first statement of the transaction. Fenced unless every row is as expected."""
    check(loop, moves, await connection.fetchval(_MOVE, *parameters(loop, moves)))


def fenced(parts: str) -> str:
    """The statement that moves offsets and does these parts, or nothing: one round trip, and its own transaction.

    For commits of a few rows, whose round trips cost more than their work. The parts are the further items of its
    `with`, take effect `where exists (select from fence)`, and begin their own parameters at $8, after `parameters`. It
    returns what `check` wants.
    """
    return f"{_MOVED}, {parts} select count(*) from moved"


def parameters(loop: str, moves: Sequence[Move]) -> tuple[object, ...]:
    """What a fenced statement begins with."""
    return (
        loop,
        [m.at.topic for m in moves],
        [m.at.partition for m in moves],
        [m.epoch for m in moves],
        [m.expected_offset for m in moves],
        [m.next_offset for m in moves],
        [None if m.pending is None else " ".join(m.pending) for m in moves],
    )


def check(loop: str, moves: Sequence[Move], moved: int | None) -> None:
    """Fenced unless every offset was moved."""
    if moved != len(moves):
        raise Fenced(f"expected to own {len(moves)} partitions of {loop} at the expected offsets")


class PostgresFence:
    """The partition rows of one loop in a service's own schema."""

    def __init__(self, pool: asyncpg.Pool, loop: str) -> None:
        self._pool = pool
        self._loop = loop

    async def acquire(self, claims: Sequence[Claim]) -> list[Owned]:
        """Own these partitions from now on: epoch + 1."""
        async with transaction(self._pool) as connection:
            return await acquire(connection, self._loop, claims)

    async def clear_pending(self, owned: Mapping[TopicPartition, int]) -> None:
        """Everything said is delivered."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "update partitions p set pending = '{}' from unnest($2::text[], $3::int[], $4::bigint[])"
                " as o(topic, partition, epoch) where p.loop = $1 and p.topic = o.topic"
                " and p.partition = o.partition and p.epoch = o.epoch and p.pending <> '{}'",
                self._loop,
                [at.topic for at in owned],
                [at.partition for at in owned],
                list(owned.values()),
            )

    async def store_rederived(self, at: TopicPartition, epoch: int, after: str | None) -> None:
        """Progress of the walk over what is outstanding; None when it is done."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "update partitions set rederive_after = $5"
                " where loop = $1 and topic = $2 and partition = $3 and epoch = $4",
                self._loop, at.topic, at.partition, epoch, after,
            )  # fmt: skip

    async def take_back_attempts(self, at: TopicPartition, offset: int, count: int) -> None:
        """So many attempts at this offset ended without the death of their process: they do not count.

        Whoever owns the partition by now: what they count are deaths.
        """
        async with transaction(self._pool) as connection:
            await connection.execute(
                "update partitions set attempts = greatest(attempts - $5, 0)"
                " where loop = $1 and topic = $2 and partition = $3 and next_offset = $4",
                self._loop, at.topic, at.partition, offset, count,
            )  # fmt: skip

    async def count_attempt(self, at: TopicPartition, epoch: int) -> int:
        """One more attempt at the message at the stored offset begins; returns which one it is."""
        async with transaction(self._pool) as connection:
            count = await connection.fetchval(
                "update partitions set attempts = attempts + 1"
                " where loop = $1 and topic = $2 and partition = $3 and epoch = $4 returning attempts",
                self._loop, at.topic, at.partition, epoch,
            )  # fmt: skip
        if count is None:
            raise Fenced(f"expected to own {at} at epoch {epoch}")
        return int(count)
