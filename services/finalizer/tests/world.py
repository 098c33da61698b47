"""The finalizer on a broker, rows and a clock in memory: processes come and go, these stay."""

from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from tests.stores.memory_finalizer import MemoryFinalizerStore, RunRecord

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, Message, Probe, Resumed, Started, Unknown, Wait, Waiting
from outlast.db.local import LocalFence
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.testing.world import BEGIN, SimulatedClock
from outlast_finalizer.core.watchdog import Patience
from outlast_finalizer.store import LOOP, FinalizerStore
from outlast_finalizer.watchdog import WatchdogAgenda
from outlast_finalizer.work import FinalizerWork

from .said import COMMON, PAYLOAD

PATIENCE = Patience(silent_after=timedelta(minutes=15), give_up_after=timedelta(hours=24))
LANE = 2


class Death(BaseException):
    """The process ends here."""


def execution(number: int) -> str:
    """One of many executions."""
    return ids.execution_id(1_767_571_200_000, 4, "acme", "test", str(number), "r")


class World:
    """What outlives a process, and the process that runs last."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.broker = LocalBroker(self.clock.now_ms)
        names = (topics.LIFECYCLE, topics.RECORDED, topics.ENGINE_INBOX, topics.CONTROL_COMMANDS)
        for name in (*names, "finalizer.dead_letters"):
            self.broker.ensure_topic(name, 4)
        self.fence = LocalFence()
        self.store = MemoryFinalizerStore(self.fence)
        self.loop = self.start()

    def start(
        self, instance: str = "a", batch_max: int = 100, store: FinalizerStore | None = None
    ) -> FencedLoop:
        """A process of its own: nothing is kept but broker, fence and stored rows."""
        store = store or self.store
        self.loop = FencedLoop(
            service="finalizer",
            name=LOOP,
            fence=self.fence,
            work=FinalizerWork(store, PATIENCE),
            agenda=WatchdogAgenda(store, self.clock, PATIENCE),
            sink=LocalSink(self.broker),
            metrics=LoopMetrics(LOOP, CollectorRegistry()),
            monotonic=self.clock.monotonic,
            batch_max=batch_max,
        )
        followed = [topics.LIFECYCLE, topics.CONTROL_COMMANDS]
        self.loop.attach(LocalSource(self.broker, "finalizer", instance, followed, self.loop))
        return self.loop

    async def at(self, minutes: float, turns: int = 6) -> None:
        """The clock moves on, and the process takes some turns."""
        self.clock.seconds = minutes * 60
        for _ in range(turns):
            await self.loop.turn()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.clock.seconds)

    # ---- what others say -----------------------------------------------------------------------------------------

    def say(self, message: Message, lane: int = LANE) -> None:
        self.broker.append(Outgoing(topics.LIFECYCLE, codec.encode(message), b"k", lane))

    def _common(self, number: int, **more: Any) -> dict[str, Any]:
        return {
            **COMMON,
            "execution_id": execution(number),
            "at": self.now(),
            "lane": LANE,
            "rank": 1,
            **more,
        }

    def start_run(self, number: int, mode: str = "workflow", **more: Any) -> None:
        self.say(Started(**self._common(number, mode=mode, seq=1, payload=PAYLOAD, **more)))

    def wait(self, number: int) -> None:
        waits = (Wait(activity_id="a", kind="signal", signal="s"),)
        self.say(Waiting(**self._common(number, seq=3, started_at=self.now(), waits=waits)))

    def resume(self, number: int) -> None:
        self.say(Resumed(**self._common(number, seq=5, started_at=self.now())))

    def end(self, number: int, mode: str = "workflow") -> None:
        told = {"seq": 9, "mode": mode, "started_at": self.now(), "status": "success", "steps": ()}
        self.say(Finished(**self._common(number, **told)))

    # ---- what is said to them, and what is stored ----------------------------------------------------------------

    def probed(self) -> list[str]:
        """Executions that the engine was asked about."""
        found = [codec.inbox.decode(each.value) for each in self.broker.messages(topics.ENGINE_INBOX)]
        return [each.execution_id for each in found if isinstance(each, Probe)]

    def asked(self) -> list[str]:
        """Executions that the matcher was asked about."""
        found = [codec.lifecycle.decode(each.value) for each in self.broker.messages(topics.LIFECYCLE)]
        return [each.execution_id for each in found if isinstance(each, Unknown)]

    def given_up(self) -> list[Finished]:
        """Ends that were said in the stead of the runs."""
        found = [codec.lifecycle.decode(each.value) for each in self.broker.messages(topics.LIFECYCLE)]
        return [each for each in found if isinstance(each, Finished) and each.rank == 2]

    def recorded(self) -> list[str]:
        """Executions that the matcher was answered about."""
        found = [codec.recorded.decode(each.value) for each in self.broker.messages(topics.RECORDED)]
        return [name for each in found for name in each.executions]

    def run(self, number: int) -> RunRecord:
        return self.store.runs[execution(number)]
