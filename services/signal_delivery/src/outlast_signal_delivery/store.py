"""Signals, their targets and subscriptions; what the loop changes is committed with its offsets."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import asyncpg

from outlast.contracts.messages import SignalRequest, Subscribe, Unsubscribe
from outlast.db import fence
from outlast.db.fence import Move
from outlast.db.pool import classified, transaction
from outlast.db.queries import columns, load_queries
from outlast_signal_delivery.core.delivery import OVER, key_lock, resend_seconds
from outlast_signal_delivery.limits import (
    KEPT_FOR_A_WAIT_MAX,
    POKE_SECONDS,
    PRUNED_MAX,
    SENDINGS_MAX,
    TARGETS_SHOWN_MAX,
)

LOOP = "signal_delivery.signals"


class NewSignal(NamedTuple):
    """A signal to record, if its id is new."""

    delivery_id: str
    request: SignalRequest
    bucket: int
    """Hash of its id, as the broker's partitioner has it: says which partition's owner sends it again."""
    traceparent: str = ""


class Sending(NamedTuple):
    """A signal for one run."""

    delivery_id: str
    execution_id: str
    attempts: int
    """How often it was sent, this time included where it is being sent."""
    company_id: str
    signal_id: str
    name: str
    key: str
    payload: bytes
    sent_by: str
    sent_at: datetime
    bucket: int
    traceparent: str


class Said(NamedTuple):
    """What a run made of a signal, with the rank of that word (see core.delivery)."""

    delivery_id: str
    execution_id: str
    verdict: str
    rank: int


class Sent(NamedTuple):
    """A signal that was sent again, and when it is due next."""

    delivery_id: str
    execution_id: str
    attempts: int
    due_at: datetime


@dataclass(slots=True)
class Changes:
    """What one batch came to."""

    now: datetime
    signals: list[NewSignal] = field(default_factory=list[NewSignal])
    subscribed: list[Subscribe] = field(default_factory=list[Subscribe])
    unsubscribed: list[Unsubscribe] = field(default_factory=list[Unsubscribe])
    said: list[Said] = field(default_factory=list[Said])
    sent: list[Sent] = field(default_factory=list[Sent])
    expired: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Committed:
    """What storing a batch brought up."""

    new: set[str] = field(default_factory=set[str])
    """Signals that were not known."""
    sendings: list[Sending] = field(default_factory=list[Sending])
    verdicts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(delivery, verdict) where that was news."""


class Due(NamedTuple):
    """What is to be done now, and when there is more."""

    sendings: list[Sending]
    """Each with the number of sendings so far."""
    expired: list[tuple[str, int]]
    """(delivery, bucket)"""
    next_at: datetime | None


class Answer(NamedTuple):
    """What one run made of a signal; None: nothing yet."""

    execution_id: str
    verdict: str | None
    answered_at: datetime | None


class Shown(NamedTuple):
    """A signal as its sender sees it."""

    delivery_id: str
    company_id: str
    signal_id: str
    name: str
    execution_id: str
    key: str
    payload: bytes
    sent_by: str
    sent_at: datetime
    expires_at: datetime
    for_future: bool
    is_closed: bool
    targets: int
    delivered: int
    unanswered: int

    @property
    def is_settled(self) -> bool:
        """Whether every run that it went to has answered."""
        return self.targets > 0 and not self.unanswered


class SignalStore(Protocol):
    """What signal delivery needs of its database."""

    async def accept(self, signal: NewSignal, now: datetime) -> bool:
        """Record it with the runs it goes to; False if its id was known. DataRejected, TransientError."""
        ...

    async def shown(self, delivery_ids: Collection[str]) -> Mapping[str, Shown]:
        """Those of these signals that exist, by delivery id."""
        ...

    async def answers(self, delivery_id: str) -> list[Answer]:
        """The first runs that it went to, in the order of their ids."""
        ...

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """All in one transaction, offsets first; says what is to be sent now. Fenced, DataRejected,
        TransientError (outcome unknown).
        """
        ...

    async def open_targets(
        self, delivery_ids: Collection[str], execution_ids: Collection[str]
    ) -> list[Sending]:
        """What has no last word yet, of these signals; what has no answer, to these runs; so much as one turn sends.

        A signal that came early has no last word: what became of it is told once, and lost if the broker loses it."""
        ...

    async def due(self, now: datetime, partitions: Collection[int], count: int, most: int) -> Due:
        """What to send again and to close now, of these partitions out of `count`."""
        ...

    async def outstanding_page(self, partition: int, count: int, after: str, most: int) -> Sequence[str]:
        """Signals of one partition without a last word, after this id ("" for the first), in order."""
        ...

    async def prune(self, before: datetime) -> int:
        """Forget some of the signals closed before; says how many."""
        ...


class PostgresSignalStore:
    """The schema `signals`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("outlast_signal_delivery")

    async def accept(self, signal: NewSignal, now: datetime) -> bool:
        """Record it with the runs it goes to; False if its id was known."""
        async with transaction(self._pool) as connection:
            await self._lock(connection, _keys_of([signal]))
            new = await self._insert(connection, [signal], now, now + timedelta(seconds=POKE_SECONDS))
        return bool(new)

    async def shown(self, delivery_ids: Collection[str]) -> Mapping[str, Shown]:
        """Those of these signals that exist, by delivery id."""
        async with classified():
            rows = await self._pool.fetch(self._queries["shown"], list(delivery_ids))
        return {
            str(row["delivery_id"]): Shown(
                str(row["delivery_id"]), row["company_id"], row["signal_id"], row["name"],
                str(row["execution_id"] or ""), row["key"] or "", row["payload"], row["sent_by"], row["sent_at"],
                row["expires_at"], row["for_future"], row["is_closed"], row["targets"], row["delivered"],
                row["unanswered"],
            )
            for row in rows
        }  # fmt: skip

    async def answers(self, delivery_id: str) -> list[Answer]:
        """The first runs that it went to, in the order of their ids."""
        async with classified():
            rows = await self._pool.fetch(self._queries["shown_targets"], delivery_id, TARGETS_SHOWN_MAX)
        return [Answer(str(row["execution_id"]), row["verdict"], row["answered_at"]) for row in rows]

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """All in one transaction, offsets first."""
        done = Committed()
        async with transaction(self._pool) as connection:
            await fence.move(connection, LOOP, moves)
            await self._lock(connection, _keys_of(changes.signals) | _keys_waited(changes))
            new = await self._insert(connection, changes.signals, changes.now, changes.now)
            done.new = new
            waiting = await self._subscribe(connection, changes)
            if changes.said:
                done.verdicts = await self._record(connection, changes)
            if changes.sent:
                await connection.execute(self._queries["note_sent"], *columns(changes.sent))
            if changes.expired:
                await connection.execute(self._queries["stop_targets"], changes.expired)
                await connection.execute(self._queries["close_expired"], changes.expired, changes.now)
            if changes.signals or waiting:
                due_at = changes.now + timedelta(seconds=resend_seconds(1))
                named = [each.delivery_id for each in changes.signals]
                rows = await connection.fetch(
                    self._queries["send_first"], named, waiting, changes.now, due_at, SENDINGS_MAX
                )
                done.sendings = _sendings(rows)
        return done

    async def _lock(self, connection: asyncpg.Connection, keys: Collection[int]) -> None:
        if keys:
            await connection.execute(self._queries["lock_keys"], sorted(keys))

    async def _insert(
        self, connection: asyncpg.Connection, signals: Sequence[NewSignal], now: datetime, due_at: datetime
    ) -> set[str]:
        if not signals:
            return set()
        rows = await connection.fetch(self._queries["insert_deliveries"], *columns(map(_row, signals)))
        new = {str(row["delivery_id"]) for row in rows}
        if new:
            await connection.execute(self._queries["target_executions"], list(new), due_at)
            await connection.execute(self._queries["target_subscribers"], list(new), due_at, now)
        return new

    async def _subscribe(self, connection: asyncpg.Connection, changes: Changes) -> list[str]:
        """Store who waits and who does not any more; returns the runs that came to wait."""
        if changes.unsubscribed:
            gone = [(each.execution_id, each.activity_id) for each in changes.unsubscribed]
            await connection.execute(self._queries["delete_subscriptions"], *columns(gone))
        if not changes.subscribed:
            return []
        rows = [
            (each.execution_id, each.activity_id, each.company_id, each.signal, each.key, each.started_at)
            for each in changes.subscribed
        ]
        await connection.execute(self._queries["put_subscriptions"], *columns(rows))
        waiting = [each.execution_id for each in changes.subscribed]
        await connection.execute(self._queries["target_waiting"], waiting, changes.now, KEPT_FOR_A_WAIT_MAX)
        return waiting

    async def _record(self, connection: asyncpg.Connection, changes: Changes) -> list[tuple[str, str]]:
        rows = await connection.fetch(self._queries["record_verdicts"], *columns(changes.said), changes.now)
        signals = sorted({each.delivery_id for each in changes.said})
        await connection.execute(self._queries["close_answered"], signals, changes.now)
        over = [(each.delivery_id, each.execution_id) for each in changes.said if each.verdict in OVER]
        if over:
            await connection.execute(self._queries["end_subscriptions"], *columns(over))
        return [(str(row["delivery_id"]), row["verdict"]) for row in rows]

    async def open_targets(
        self, delivery_ids: Collection[str], execution_ids: Collection[str]
    ) -> list[Sending]:
        """What has no last word yet, of these signals; what has no answer, to these runs."""
        async with classified():
            return _sendings(
                await self._pool.fetch(
                    self._queries["open_targets"], list(delivery_ids), list(execution_ids), SENDINGS_MAX
                )
            )

    async def due(self, now: datetime, partitions: Collection[int], count: int, most: int) -> Due:
        """What to send again and to close now, of these partitions out of `count`."""
        mine = list(partitions)
        async with transaction(self._pool) as connection:
            sendings = await connection.fetch(self._queries["due_targets"], now, count, mine, most)
            expired = await connection.fetch(self._queries["due_expiries"], now, count, mine, most)
            next_at = await connection.fetchval(self._queries["next_due"], count, mine)
        gone = [(str(row["delivery_id"]), row["bucket"]) for row in expired]
        return Due(_sendings(sendings), gone, next_at)

    async def outstanding_page(self, partition: int, count: int, after: str, most: int) -> Sequence[str]:
        """Signals of one partition without a last word, after this id, in order."""
        first = after or "00000000-0000-0000-0000-000000000000"
        async with classified():
            rows = await self._pool.fetch(self._queries["outstanding_page"], first, count, partition, most)
        return [str(row["delivery_id"]) for row in rows]

    async def prune(self, before: datetime) -> int:
        """Forget some of the signals closed before; says how many."""
        async with transaction(self._pool) as connection:
            done = await connection.execute(self._queries["prune"], before, PRUNED_MAX)
        return int(done.split()[-1])


def _keys_of(signals: Iterable[NewSignal]) -> set[int]:
    return {
        key_lock(each.request.company_id, each.request.name, each.request.key)
        for each in signals
        if each.request.key
    }


def _keys_waited(changes: Changes) -> set[int]:
    return {key_lock(each.company_id, each.signal, each.key) for each in changes.subscribed}


def _row(signal: NewSignal) -> tuple[object, ...]:
    request = signal.request
    return (
        signal.delivery_id, request.company_id, request.signal_id, request.name, request.execution_id or None,
        request.key or None, bytes(request.payload), request.sent_by, request.sent_at, request.expires_at,
        request.for_future, signal.bucket, signal.traceparent,
    )  # fmt: skip


def _sendings(rows: Sequence[asyncpg.Record]) -> list[Sending]:
    return [
        Sending(
            str(row["delivery_id"]), str(row["execution_id"]), row["attempts"], row["company_id"],
            row["signal_id"], row["name"], row["key"] or "", row["payload"], row["sent_by"], row["sent_at"],
            row["bucket"], row["traceparent"],
        )
        for row in rows
    ]  # fmt: skip
