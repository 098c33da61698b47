"""The timer scheduler on a broker, rows and a clock in memory: processes come and go, these stay."""

from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry
from tests.stores.memory_timers import MemoryTimerStore

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import CancelTimer, Message, StartTimer, TimerDue
from outlast.db.local import LocalFence
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.testing.world import BEGIN, SimulatedClock
from outlast_timer_scheduler.store import LOOP
from outlast_timer_scheduler.work import TimerWork

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Death(BaseException):
    """The process ends here."""


def execution(number: int) -> str:
    """One of many executions."""
    return ids.execution_id(1_767_571_200_000, 4, "acme", "test", str(number), "runbook")


def after(seconds: float) -> datetime:
    """An instant so long after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


class World:
    """What outlives a process, and the process that runs last."""

    def __init__(self, partitions: int = 4) -> None:
        self.clock = SimulatedClock()
        self.broker = LocalBroker(self.clock.now_ms)
        self.broker.ensure_topic(topics.TIMER_COMMANDS, partitions)
        for name in (topics.ENGINE_INBOX, "timer_scheduler.dead_letters"):
            self.broker.ensure_topic(name, 4)
        self.fence = LocalFence()
        self.store = MemoryTimerStore(self.fence)
        self.loop = self.start()

    def start(self, instance: str = "a") -> FencedLoop:
        """A process of its own: nothing is kept but broker, fence and stored rows."""
        self.work = TimerWork(self.store, self.clock)
        self.loop = FencedLoop(
            service="timer_scheduler",
            name=LOOP,
            fence=self.fence,
            work=self.work,
            agenda=self.work,
            sink=LocalSink(self.broker),
            metrics=LoopMetrics(LOOP, CollectorRegistry()),
            monotonic=self.clock.monotonic,
        )
        self.source = LocalSource(self.broker, "timers", instance, [topics.TIMER_COMMANDS], self.loop)
        self.loop.attach(self.source)
        return self.loop

    def send(self, message: Message, key: str, partition: int | None = None, trace: str = "") -> None:
        """One command, as the engine sends it."""
        headers = (("traceparent", trace.encode()),) if trace else ()
        command = Outgoing(topics.TIMER_COMMANDS, codec.encode(message), key.encode(), partition, headers)
        self.broker.append(command)

    def start_timer(
        self, number: int, seconds: float, timer: str = "t", partition: int | None = None, trace: str = ""
    ) -> None:
        """A timer of an execution, so long after the beginning."""
        name = execution(number)
        command = StartTimer(execution_id=name, timer_id=timer, fire_at=after(seconds))
        self.send(command, name, partition, trace)

    def cancel_timer(self, number: int, timer: str = "t", partition: int | None = None) -> None:
        """The run waits for it no more."""
        self.send(CancelTimer(execution_id=execution(number), timer_id=timer), execution(number), partition)

    async def turns(self, count: int = 2) -> None:
        """So many turns of the process that runs last."""
        for _ in range(count):
            await self.loop.turn()

    async def at(self, seconds: float) -> list[TimerDue]:
        """The clock moves on; returns all that was said by then."""
        self.clock.seconds = seconds
        await self.turns()
        return self.said()

    def received(self) -> list[Received]:
        """What came to the engine."""
        return self.broker.messages(topics.ENGINE_INBOX)

    def said(self) -> list[TimerDue]:
        """What came to the engine, read."""
        found = [codec.inbox.decode(message.value) for message in self.received()]
        assert all(isinstance(each, TimerDue) for each in found)
        return [each for each in found if isinstance(each, TimerDue)]

    def fired(self) -> list[str]:
        """Ids of the timers in the order in which their firings came."""
        in_order = sorted(
            zip(self.received(), self.said(), strict=True), key=lambda pair: pair[0].timestamp_ms
        )
        return [due.timer_id for _, due in in_order]
