"""Signal delivery on a broker, rows and a clock in memory: processes come and go, these stay."""

from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import Raw
from prometheus_client import CollectorRegistry
from tests.stores.memory_signals import MemorySignalStore

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    DeliverSignal,
    Message,
    SignalRequest,
    SignalVerdict,
    Subscribe,
    Unsubscribe,
)
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.testing.world import BEGIN, SimulatedClock
from outlast_signal_delivery.agenda import SignalAgenda
from outlast_signal_delivery.core.delivery import resend_seconds
from outlast_signal_delivery.store import LOOP, Committed
from outlast_signal_delivery.work import SignalWork

FOLLOWED = (topics.SIGNALS, topics.SUBSCRIPTIONS, topics.VERDICTS)


class Death(BaseException):
    """The process ends here."""


class RunsInMemory:
    """Which runs have a record."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, str]] = set()
        self.is_away = False

    async def known(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Those that were put in."""
        if self.is_away:
            raise TransientError("expected an answer, got none")
        return self.pairs & set(asked)


def execution(number: int) -> str:
    """One of many executions."""
    return ids.execution_id(1_767_571_200_000, 4, "acme", "test", str(number), "runbook")


def after(seconds: float) -> datetime:
    """An instant so long after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


def request(
    number: int = 1, *, run: str = "", key: str = "", sent: float = 0, expires: float = 86_400, company: str = "acme",
    for_future: bool = False,
) -> SignalRequest:  # fmt: skip
    """A signal of the company."""
    return SignalRequest(
        signal_id=f"s{number}", company_id=company, name="approved", execution_id=run, key=key,
        payload=Raw(b'{"by":"eve"}'), sent_by="eve", sent_at=after(sent), expires_at=after(expires),
        for_future=for_future,
    )  # fmt: skip


class World:
    """What outlives a process, and the process that runs last."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.broker = LocalBroker(self.clock.now_ms)
        self.ensure_topics()
        self.fence = LocalFence()
        self.store = MemorySignalStore(self.fence)
        self.runs = RunsInMemory()
        self.committed: list[Committed] = []
        self.loop = self.start()

    def ensure_topics(self) -> None:
        """As contracts/ has them."""
        for name in (*FOLLOWED, topics.ENGINE_INBOX, topics.dead_letters("signal_delivery")):
            self.broker.ensure_topic(name, 4)

    def start(self, instance: str = "a") -> FencedLoop:
        """A process of its own: nothing is kept but broker, fence and stored rows."""
        sink = LocalSink(self.broker)
        self.agenda = SignalAgenda(self.store, sink.partition_count, self.clock)

        def committed(done: Committed) -> None:
            self.committed.append(done)
            if done.new or done.sendings:
                self.agenda.expect(resend_seconds(1))

        self.loop = FencedLoop(
            service="signal_delivery",
            name=LOOP,
            fence=self.fence,
            work=SignalWork(self.store, self.runs, sink.partition_count, self.clock, committed),
            agenda=self.agenda,
            sink=sink,
            metrics=LoopMetrics(LOOP, CollectorRegistry()),
            monotonic=self.clock.monotonic,
        )
        self.source = LocalSource(self.broker, "signals", instance, FOLLOWED, self.loop)
        self.loop.attach(self.source)
        return self.loop

    def append(self, topic: str, message: Message | bytes, key: str = "") -> None:
        """One message of somebody else's."""
        value = message if isinstance(message, bytes) else codec.encode(message)
        self.broker.append(Outgoing(topic, value, key.encode()))

    def send(self, message: SignalRequest) -> None:
        """A signal, as a producer of ours sends it."""
        self.append(topics.SIGNALS, message, message.signal_id)

    def wait(self, run: str, key: str = "F-1", started: float = -60, activity: str = "a") -> None:
        """A run comes to wait."""
        message = Subscribe(
            execution_id=run, activity_id=activity, company_id="acme", signal="approved", key=key,
            started_at=after(started),
        )  # fmt: skip
        self.append(topics.SUBSCRIPTIONS, message, f"acme/approved/{key}")

    def leave(self, run: str, key: str = "F-1", activity: str = "a") -> None:
        """A run waits no more."""
        message = Unsubscribe(
            execution_id=run, activity_id=activity, company_id="acme", signal="approved", key=key
        )
        self.append(topics.SUBSCRIPTIONS, message, f"acme/approved/{key}")

    def answer(self, run: str, verdict: str, number: int = 1, company: str = "acme") -> None:
        """What a run made of a signal."""
        message = SignalVerdict(signal_id=f"s{number}", execution_id=run, company_id=company, verdict=verdict)
        self.append(topics.VERDICTS, message, f"s{number}")

    async def turns(self, count: int = 3) -> None:
        """So many turns of the process that runs last."""
        for _ in range(count):
            await self.loop.turn()

    async def at(self, seconds: float) -> list[tuple[str, str]]:
        """The clock moves on; returns what was said by then."""
        self.clock.seconds = seconds
        await self.turns()
        return self.said()

    def delivered(self) -> list[DeliverSignal]:
        """What came to the engine, each to the partition of its run."""
        found: list[DeliverSignal] = []
        for received in self.broker.messages(topics.ENGINE_INBOX):
            message = codec.inbox.decode(received.value)
            assert isinstance(message, DeliverSignal)
            assert received.partition == ids.engine_partition(message.execution_id)
            found.append(message)
        return found

    def said(self) -> list[tuple[str, str]]:
        """(signal, run) of all that came to the engine."""
        return [(each.signal_id, each.execution_id) for each in self.delivered()]

    def dead(self) -> int:
        """How many messages were laid aside."""
        return len(self.broker.messages(topics.dead_letters("signal_delivery")))
