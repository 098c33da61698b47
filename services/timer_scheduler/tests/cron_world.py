"""The timer scheduler with schedules, on a broker, rows and a clock in memory."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw
from prometheus_client import CollectorRegistry
from tests.stores.memory_timers import MemoryCronStore, MemoryTimerStore

from outlast.contracts import codec, topics
from outlast.contracts.messages import Definition, RunbookReference
from outlast.db.local import LocalFence
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Received
from outlast.runbooks.catalogue import Catalogue
from outlast.runbooks.pinned import pin
from outlast.runbooks.reading import parse_runbook
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.testing.world import SimulatedClock
from outlast_timer_scheduler.cron_work import CronWork
from outlast_timer_scheduler.definitions import Definitions
from outlast_timer_scheduler.duties import Duties
from outlast_timer_scheduler.store import LOOP
from outlast_timer_scheduler.work import TimerWork

PARTITIONS = 4
START = datetime(2026, 1, 5, 8, 0, 30, tzinfo=UTC)
"""A Monday, half a minute past eight."""


def every_minute(**members: Any) -> dict[str, Any]:
    """A rule that comes every minute."""
    return {"event": "schedule", "cron": "* * * * *", **members}


class CronWorld:
    """What outlives a process, and the process that runs last."""

    def __init__(self, start: datetime = START) -> None:
        self.clock = SimulatedClock()
        self.broker = LocalBroker(self.clock.now_ms)
        self.make_topics()
        self.fence = LocalFence()
        self.timers, self.store = MemoryTimerStore(self.fence), MemoryCronStore(self.fence)
        self.records: dict[tuple[str, str], Received] = {}
        """The compacted topic."""
        self._revision = 0
        self.go_to(start)
        self.start()

    def make_topics(self) -> None:
        """A broker that has just begun."""
        for name in (
            topics.TIMER_COMMANDS,
            topics.SCHEDULE_FIRED,
            topics.ENGINE_INBOX,
            "timer_scheduler.dead_letters",
        ):
            self.broker.ensure_topic(name, PARTITIONS)

    def go_to(self, at: datetime) -> None:
        """Set the clock, back too."""
        self.clock.seconds += (at - self.clock.now()).total_seconds()

    def start(self, instance: str = "a", *, is_ready: bool = True) -> None:
        """A process of its own: nothing is kept but broker, fence, rows and the records of definitions."""
        self.is_ready = is_ready
        self.definitions = Definitions()
        self.work = CronWork(self.store, self.clock, self._count, lambda: self.is_ready)
        self.definitions.on_change = self.work.want
        for record in self.records.values():
            self.definitions.apply(record)
        duties = Duties(TimerWork(self.timers, self.clock), self.work)
        self.loop = FencedLoop(
            service="timer_scheduler",
            name=LOOP,
            fence=self.fence,
            work=duties,
            agenda=duties,
            sink=LocalSink(self.broker),
            metrics=LoopMetrics(LOOP, CollectorRegistry()),
            monotonic=self.clock.monotonic,
        )
        self.loop.attach(LocalSource(self.broker, "timers", instance, [topics.TIMER_COMMANDS], self.loop))

    async def _count(self) -> int:
        return PARTITIONS

    def save(
        self, *rules: dict[str, Any], runbook: str = "rb", company: str = "acme", **members: Any
    ) -> None:
        """The control plane publishes a version."""
        self._revision += 1
        document = {"name": runbook, "rules": list(rules), "actions": [{"type": "resolve_owner"}]}
        body = pin(parse_runbook(document, Catalogue([])))
        message = Definition(
            company_id=company,
            runbook=RunbookReference(id=runbook, name=runbook, version=self._revision, sha256="0" * 64),
            revision=self._revision,
            definition=Raw(body),
            **{"is_active": True, **members},
        )
        self.publish(message)

    def publish(self, message: Definition) -> None:
        """A record of the compacted topic."""
        key = (message.company_id, message.runbook.id)
        self.records[key] = Received(
            topics.DEFINITIONS,
            0,
            message.revision,
            self.clock.now_ms(),
            "/".join(key).encode(),
            codec.encode(message),
        )
        self.definitions.apply(self.records[key])

    async def at(self, at: datetime, turns: int = 3) -> list[str]:
        """The clock is set; returns all times that were said by then, in order."""
        self.go_to(at)
        for _ in range(turns):
            await self.loop.turn()
        return self.said()

    def events(self) -> list[dict[str, Any]]:
        """The CloudEvents that were said, in order."""
        messages = sorted(self.broker.messages(topics.SCHEDULE_FIRED), key=lambda each: each.timestamp_ms)
        return [msgspec.json.decode(each.value or b"") for each in messages]

    def said(self) -> list[str]:
        """When in their schedules they lie; what is made up for is marked."""
        data = [event["data"] for event in self.events()]
        return [each["scheduled_at"][11:16] + ("+" if each["is_catch_up"] else "") for each in data]


def clock(text: str) -> datetime:
    """A time of the first day."""
    return datetime.fromisoformat(f"2026-01-05T{text}+00:00")
