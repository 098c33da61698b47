"""Signals in memory: the same promises as PostgresSignalStore, held to them by the same suite."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outlast.contracts.messages import Subscribe
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import DataRejected
from outlast_signal_delivery.core.delivery import ANSWERED, OVER, RANKS, resend_seconds
from outlast_signal_delivery.limits import (
    KEPT_FOR_A_WAIT_MAX,
    POKE_SECONDS,
    PRUNED_MAX,
    SENDINGS_MAX,
    TARGETS_SHOWN_MAX,
)
from outlast_signal_delivery.store import Answer, Changes, Committed, Due, NewSignal, Said, Sending, Shown
from tests.stores.columns import check_execution_ids, check_text


@dataclass(slots=True)
class Delivery:
    """One row of the table `deliveries`."""

    signal: NewSignal
    closed_at: datetime | None = None

    def is_for(self, wait: Subscribe) -> bool:
        """Whether a run that waits so gets it."""
        request = self.signal.request
        return (
            bool(request.key)
            and (request.company_id, request.name, request.key) == (wait.company_id, wait.signal, wait.key)
            and (request.for_future or wait.started_at <= request.sent_at)
        )


@dataclass(slots=True)
class Target:
    """One row of the table `targets`."""

    attempts: int
    due_at: datetime | None
    verdict: str | None = None
    rank: int = 0
    answered_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether more is to be said of it: what came early is taken later, or never."""
        return self.due_at is not None or self.rank == RANKS["early"]


class MemorySignalStore:
    """The schema `signals`, shared by every instance of signal delivery."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.deliveries: dict[str, Delivery] = {}
        self.targets: dict[tuple[str, str], Target] = {}
        self.subscriptions: dict[tuple[str, str], Subscribe] = {}
        self.looks = 0
        """How often it was asked what is due."""
        self.before_commit: Callable[[Changes], None] = lambda _changes: None
        """For a test to die at."""

    async def accept(self, signal: NewSignal, now: datetime) -> bool:
        """Record it with the runs it goes to; False if its id was known."""
        _check([signal])
        return bool(self._insert([signal], now, now + timedelta(seconds=POKE_SECONDS)))

    async def shown(self, delivery_ids: Collection[str]) -> Mapping[str, Shown]:
        """Those of these signals that exist, by delivery id."""
        return {each: self._shown(each) for each in delivery_ids if each in self.deliveries}

    def _shown(self, name: str) -> Shown:
        delivery = self.deliveries[name]
        asked = delivery.signal.request
        targets = [target for _, target in self._targets_of(name)]
        return Shown(
            name, asked.company_id, asked.signal_id, asked.name, asked.execution_id, asked.key,
            bytes(asked.payload), asked.sent_by, asked.sent_at, asked.expires_at, asked.for_future,
            delivery.closed_at is not None, len(targets),
            sum(target.verdict in ("consumed", "early") for target in targets),
            sum(target.rank < ANSWERED for target in targets),
        )  # fmt: skip

    async def answers(self, delivery_id: str) -> list[Answer]:
        """The first runs that it went to, in the order of their ids."""
        return [
            Answer(execution_id, target.verdict if target.rank >= ANSWERED else None, target.answered_at)
            for execution_id, target in self._targets_of(delivery_id)
        ][:TARGETS_SHOWN_MAX]

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        """All of it or nothing, offsets first."""
        self.before_commit(changes)
        self._fence.check(moves)
        _check(changes.signals)
        check_execution_ids(each.execution_id for each in (*changes.subscribed, *changes.unsubscribed))
        check_text(*(text for each in changes.subscribed for text in (each.activity_id, each.key)))
        self._fence.apply(moves)
        done = Committed(new=self._insert(changes.signals, changes.now, changes.now))
        for gone in changes.unsubscribed:
            self.subscriptions.pop((gone.execution_id, gone.activity_id), None)
        for wait in changes.subscribed:
            self.subscriptions[wait.execution_id, wait.activity_id] = wait
        for wait in changes.subscribed:
            self._target_waiting(wait, changes.now)
        done.verdicts = [news for said in changes.said for news in self._record(said, changes.now)]
        for sent in changes.sent:
            target = self.targets[sent.delivery_id, sent.execution_id]
            if target.due_at is not None:
                target.attempts, target.due_at = sent.attempts, sent.due_at
        for name in changes.expired:
            for _, target in self._targets_of(name):
                target.due_at = None
            self.deliveries[name].closed_at = self.deliveries[name].closed_at or changes.now
        done.sendings = self._send_first(changes)
        return done

    def _insert(self, signals: Sequence[NewSignal], now: datetime, due_at: datetime) -> set[str]:
        new: set[str] = set()
        for signal in signals:
            if signal.delivery_id in self.deliveries:
                continue
            new.add(signal.delivery_id)
            delivery = self.deliveries[signal.delivery_id] = Delivery(signal)
            request = signal.request
            if request.execution_id:
                self._target(signal.delivery_id, request.execution_id, due_at)
            elif request.expires_at > now:
                for wait in self.subscriptions.values():
                    if delivery.is_for(wait):
                        self._target(signal.delivery_id, wait.execution_id, due_at)
        return new

    def _target(self, name: str, execution_id: str, due_at: datetime) -> None:
        self.targets.setdefault((name, execution_id), Target(0, due_at))

    def _target_waiting(self, wait: Subscribe, now: datetime) -> None:
        found = sorted(
            (delivery.signal.request.sent_at, name)
            for name, delivery in self.deliveries.items()
            if delivery.closed_at is None
            and delivery.signal.request.expires_at > now
            and delivery.is_for(wait)
            and (name, wait.execution_id) not in self.targets
        )
        for _, name in found[:KEPT_FOR_A_WAIT_MAX]:
            self._target(name, wait.execution_id, now)

    def _record(self, said: Said, now: datetime) -> Iterator[tuple[str, str]]:
        delivery = self.deliveries.get(said.delivery_id)
        if delivery is None:
            return
        request = delivery.signal.request
        target = self.targets.get((said.delivery_id, said.execution_id))
        rank = max(said.rank, ANSWERED) if request.key else said.rank
        if target is not None and target.rank < rank:
            target.verdict, target.rank, target.answered_at = said.verdict, rank, now
            target.due_at = None if rank >= ANSWERED else target.due_at
            yield said.delivery_id, said.verdict
        if request.execution_id and target is not None and target.rank >= ANSWERED:
            delivery.closed_at = delivery.closed_at or now
        if request.key and said.verdict in OVER:
            over = (said.execution_id, request.company_id, request.name, request.key)
            self.subscriptions = {
                key: wait
                for key, wait in self.subscriptions.items()
                if (wait.execution_id, wait.company_id, wait.signal, wait.key) != over
            }

    def _send_first(self, changes: Changes) -> list[Sending]:
        signals = {each.delivery_id for each in changes.signals}
        waiting = {each.execution_id for each in changes.subscribed}
        due_at = changes.now + timedelta(seconds=resend_seconds(1))
        sendings: list[Sending] = []
        for (name, execution_id), target in sorted(self.targets.items(), key=lambda each: each[0]):
            if len(sendings) == SENDINGS_MAX:
                break
            is_live = self.deliveries[name].signal.request.expires_at > changes.now
            is_meant = name in signals or execution_id in waiting
            if is_meant and is_live and target.attempts == 0 and target.due_at is not None:
                target.attempts, target.due_at = 1, due_at
                sendings.append(self._sending(name, execution_id))
        return sorted(sendings, key=lambda each: (each.sent_at, each.delivery_id, each.execution_id))

    async def open_targets(
        self, delivery_ids: Collection[str], execution_ids: Collection[str]
    ) -> list[Sending]:
        """What has no last word yet, of these signals; what has no answer, to these runs."""
        return [
            self._sending(name, execution_id)
            for (name, execution_id), target in sorted(self.targets.items(), key=lambda each: each[0])
            if (target.is_open and name in delivery_ids)
            or (target.due_at is not None and execution_id in execution_ids)
        ][:SENDINGS_MAX]

    async def due(self, now: datetime, partitions: Collection[int], count: int, most: int) -> Due:
        """What to send again and to close now, of these partitions out of `count`."""
        self.looks += 1
        mine = {name for name, each in self.deliveries.items() if each.signal.bucket % count in partitions}
        waiting = sorted(
            (target.due_at, name, execution_id)
            for (name, execution_id), target in self.targets.items()
            if name in mine and target.due_at is not None
        )
        closing = sorted(
            (self.deliveries[name].signal.request.expires_at, name)
            for name in mine
            if self.deliveries[name].closed_at is None
        )
        sendings = [
            self._sending(name, execution_id)
            for due_at, name, execution_id in waiting
            if due_at <= now < self.deliveries[name].signal.request.expires_at
        ]
        expired = [(name, self.deliveries[name].signal.bucket) for at, name in closing if at <= now]
        next_at = min((at for at, *_ in (*waiting, *closing)), default=None)
        return Due(sendings[:most], expired[:most], next_at)

    async def outstanding_page(self, partition: int, count: int, after: str, most: int) -> Sequence[str]:
        """Signals of one partition without a last word, after this id, in order."""
        names = {name for (name, _), target in self.targets.items() if target.is_open}
        return sorted(
            name
            for name in names
            if name > after and self.deliveries[name].signal.bucket % count == partition
        )[:most]

    async def prune(self, before: datetime) -> int:
        """Forget some of the signals closed before; says how many."""
        gone = [
            name
            for name, each in self.deliveries.items()
            if each.closed_at is not None and each.closed_at < before
        ][:PRUNED_MAX]
        for name in gone:
            del self.deliveries[name]
            self.targets = {key: target for key, target in self.targets.items() if key[0] != name}
        return len(gone)

    def _targets_of(self, name: str) -> list[tuple[str, Target]]:
        found = [(key[1], target) for key, target in self.targets.items() if key[0] == name]
        return sorted(found, key=lambda each: each[0])

    def _sending(self, name: str, execution_id: str) -> Sending:
        signal = self.deliveries[name].signal
        asked = signal.request
        return Sending(
            name, execution_id, self.targets[name, execution_id].attempts, asked.company_id, asked.signal_id,
            asked.name, asked.key, bytes(asked.payload), asked.sent_by, asked.sent_at, signal.bucket,
            signal.traceparent,
        )  # fmt: skip


def _check(signals: Sequence[NewSignal]) -> None:
    for each in signals:
        asked = each.request
        check_text(asked.company_id, asked.signal_id, asked.name, asked.key, asked.sent_by)
        check_execution_ids([asked.execution_id] if asked.execution_id else [])
        if bool(asked.execution_id) == bool(asked.key):
            raise DataRejected("expected an execution or a key")
