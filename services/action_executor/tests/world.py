"""Executors on the broker and the ledger in memory, one turn after the other, with a clock that stands."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from prometheus_client import CollectorRegistry

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import (
    ActionError,
    ActivityResult,
    EventReference,
    RunActivity,
    RunbookReference,
)
from outlast.contracts.topics import ENGINE_INBOX, INLINE, TopicPartition
from outlast.errors import DataRejected
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing
from outlast_action_executor.concurrency import OneByOne
from outlast_action_executor.core.caps import Caps
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.local import LocalLedger, LocalTables
from outlast_action_executor.loop import ExecutorLoop
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.ports import Committed, Group, Plan, Ports, Ran

T = TypeVar("T")
TOPIC = "activities.notify"
BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)
DONE = msgspec.Raw(b'"done"')


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("expected the coroutine to run to its end")


class Clock:
    """Time that stands until it is moved."""

    seconds = 0.0

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Runner:
    """Remembers every call; may be told to do something in the middle of one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, Resolution | None]] = []
        self.plan_for = Plan(None, True, False, None)
        self.during: Any = None

    def plan(self, activity: RunActivity) -> Plan:
        return self.plan_for

    async def run(
        self, activity: RunActivity, plan: Plan, resolution: Resolution | None, traceparent: str
    ) -> Ran:
        self.calls.append((activity.activity_id, activity.attempt, resolution))
        if resolution is Resolution.FAIL:
            return Ran(error=ActionError(code="outcome_unknown", message="?"), resolved=str(resolution))
        if self.during is not None:
            await self.during(activity)
        if activity.action == "fail":
            return Ran(error=ActionError(code="no", message="no"))
        if activity.action == "break":
            raise RuntimeError("a bug in an action")
        return Ran(output=DONE, resolved="" if resolution is None else str(resolution))


class Died(BaseException):
    """The process is gone."""


class Ledger(LocalLedger):
    """Fails where it is told to."""

    before: BaseException | None = None
    after: BaseException | None = None
    rejects: str = ""
    commits: int = 0

    async def commit(self, group: Group) -> Committed:
        self.commits += 1
        if self.before is not None:
            fault, self.before = self.before, None
            raise fault
        if any(claim.of.activity_id == self.rejects for claim in group.claims):
            raise DataRejected(self.rejects)
        committed = await super().commit(group)
        if self.after is not None:
            fault, self.after = self.after, None
            raise fault
        return committed


@dataclass
class Executor:
    loop: ExecutorLoop
    ledger: Ledger
    runner: Runner
    sink: LocalSink

    def turn(self, times: int = 1) -> float | None:
        due = None
        for _ in range(times):
            due = drive(self.loop.turn())
        return due

    def settle(self) -> None:
        """Turn until there is nothing to do now."""
        for _ in range(50):
            if self.turn() != 0.0:
                return
        raise AssertionError("expected the loop to come to rest")


@dataclass
class World:
    clock: Clock = field(default_factory=Clock)
    seen: int = 0

    def __post_init__(self) -> None:
        self.broker = LocalBroker(lambda: int(self.clock.now().timestamp() * 1000))
        self.tables = LocalTables(self.clock)

    def executor(self, ordinal: str = "0", caps: Caps = Caps()) -> Executor:  # noqa: B008 a frozen tuple
        ledger, runner, sink = Ledger(self.tables), Runner(), LocalSink(self.broker)
        me = drive(ledger.incarnate(ordinal))
        ports = Ports(ledger, sink, runner, OneByOne(), self.clock)
        loop = ExecutorLoop(me, ports, ExecutorMetrics(frozenset(), CollectorRegistry()), caps)
        loop.attach(LocalSource(self.broker, "executors", ordinal, [TOPIC, INLINE], loop))
        return Executor(loop, ledger, runner, sink)

    def send(self, *activities: RunActivity, partition: int = 0) -> None:
        for each in activities:
            header = (("traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"),)
            self.broker.append(Outgoing(TOPIC, codec.encode(each), b"k", partition, header))

    def results(self) -> list[ActivityResult]:
        found = [codec.inbox.decode(message.value) for message in self.broker.messages(ENGINE_INBOX)]
        return [each for each in found if isinstance(each, ActivityResult)]

    def stored_offset(self, partition: int = 0) -> int:
        return self.tables.fence.rows[TopicPartition(TOPIC, partition)].next_offset


def activity(name: str = "tell", **changes: Any) -> RunActivity:
    return RunActivity(
        **{
            "execution_id": ids.execution_id(1_767_614_400_000, 4, "acme", "s", name, "rb"),
            "activity_id": name,
            "attempt": 1,
            "company_id": "acme",
            "runbook": RunbookReference(id="rb", name="Tell", version=1, sha256="0"),
            "event": EventReference(source="s", id="e", type="finding_created", time=BEGIN),
            "action": "tell",
            "input": msgspec.Raw(b"{}"),
            "timeout_seconds": 30.0,
            **changes,
        }
    )
