"""The services' own loops and work in the simulated world, on stores in memory. Mutants replace a part of `Parts`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from prometheus_client import CollectorRegistry

from outlast import ids
from outlast.clock import Clock
from outlast.contracts import topics
from outlast.contracts.messages import Start
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Fence
from outlast.db.local import LocalFence
from outlast.history.events import WorkflowCancelled, WorkflowCompleted, WorkflowFailed
from outlast.messaging.local import LocalSink
from outlast.messaging.ports import Outgoing
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.work import Agenda, Work
from outlast.testing.faults import CALM, Rates, guarded
from outlast.testing.world import BEGIN, PARTITIONS, Loop, Process, World
from outlast_action_executor.concurrency import OneByOne
from outlast_action_executor.local import LocalLedger, LocalTables
from outlast_action_executor.loop import ExecutorLoop
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.ports import Concurrency, Ports
from outlast_engine import store as engine_store
from outlast_engine.work import EngineWork
from outlast_finalizer import store as finalizer_store
from outlast_finalizer.watchdog import WatchdogAgenda
from outlast_finalizer.work import FinalizerWork
from outlast_signal_delivery import store as signal_store
from outlast_signal_delivery.agenda import SignalAgenda
from outlast_signal_delivery.core.delivery import resend_seconds
from outlast_signal_delivery.store import Committed
from outlast_signal_delivery.work import SignalWork
from outlast_timer_scheduler import store as timer_store
from outlast_timer_scheduler.cron_work import CronWork
from outlast_timer_scheduler.definitions import Definitions as Scheduled
from outlast_timer_scheduler.duties import Duties
from outlast_timer_scheduler.work import TimerWork
from outlast_trigger_matcher import store as matcher_store
from outlast_trigger_matcher.births import Births, Partitions
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.engines import Engines
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.intake import IntakeWork, Knowledge
from outlast_trigger_matcher.lanes import FOLLOWED, LanesWork
from outlast_trigger_matcher.reasking import LanesAgenda
from tests.simulation import gate, schedules, waiting, workload
from tests.simulation import guarded as guarded_runbooks
from tests.simulation.gate import GateKept, GateLoop
from tests.simulation.people import GRACE, Listener, People, passed_over
from tests.simulation.ports import Counting, Mortal, SimulatedLookup, SimulatedRuns
from tests.simulation.receiver import Caller, LedgerHas, Receiver, SimulatedRunner
from tests.simulation.referee import BreakerReferee, SlotReferee
from tests.simulation.scheduled import ScheduleReferee
from tests.simulation.setting import UNLIMITED, Setting, setting_of
from tests.simulation.signaller import AFTERWARDS, SignalEdge, Signaller
from tests.simulation.silence import PATIENCE, SilenceReferee
from tests.simulation.workload import Event
from tests.stores.memory_engine import MemoryEngineStore
from tests.stores.memory_finalizer import MemoryFinalizerStore
from tests.stores.memory_matcher import MemoryMatcherStore, MemoryPressing
from tests.stores.memory_signals import MemorySignalStore
from tests.stores.memory_timers import MemoryCronStore, MemoryTimerStore

INSTANCES = ("0", "1")
ENDS = (WorkflowCompleted, WorkflowFailed, WorkflowCancelled)
SUSPECT_DEATHS_MAX = 2
FENCE_WRITES = ("acquire", "clear_pending", "store_rederived", "count_attempt", "take_back_attempts")
EXECUTOR_METRICS = ExecutorMetrics(frozenset(workload.CATALOGUE.types), CollectorRegistry())
METRICS = {
    name: LoopMetrics(name)
    for name in (
        engine_store.LOOP,
        finalizer_store.LOOP,
        matcher_store.INTAKE,
        matcher_store.LANES,
        timer_store.LOOP,
        signal_store.LOOP,
    )
}


@dataclass
class Parts:
    """What the world is made of; a mutant puts something weaker in one place."""

    loop: type[FencedLoop] = FencedLoop
    executor: type[ExecutorLoop] = ExecutorLoop
    fence: Callable[[], LocalFence] = LocalFence
    engine: Callable[[MemoryEngineStore], Work] = EngineWork
    finalizer: Callable[..., Work] = FinalizerWork
    watchdog: type[WatchdogAgenda] = WatchdogAgenda
    timers: Callable[[MemoryTimerStore, Clock], TimerWork] = TimerWork
    schedules: type[CronWork] = CronWork
    signals: Callable[[LocalFence], MemorySignalStore] = MemorySignalStore
    ledger: Callable[[LocalTables], LocalLedger] = LocalLedger
    concurrency: Callable[[World], Concurrency] = lambda _world: OneByOne()
    matcher_store: Callable[[LocalFence, LocalFence], MemoryMatcherStore] = MemoryMatcherStore
    pressing: Callable[[MemoryMatcherStore], MemoryPressing] = MemoryPressing
    lanes_agenda: type[LanesAgenda] = LanesAgenda
    finalizer_store: Callable[[LocalFence], MemoryFinalizerStore] = MemoryFinalizerStore
    setting: Callable[[int], Setting] = setting_of
    system: Callable[["System"], None] = field(default=lambda _system: None)
    """Called when the world stands and before it runs."""


class System:
    """Two instances of each service of the path, what they share, and what is asked of them."""

    def __init__(self, seed: int, rates: Rates | None = None, parts: Parts | None = None) -> None:
        self.parts = parts or Parts()
        self.world = World(seed, rates)
        self.faults = self.world.faults
        self.engine_fence, self.finalizer_fence = self.parts.fence(), self.parts.fence()
        self.intake_fence, self.lanes_fence = self.parts.fence(), self.parts.fence()
        self.timer_fence, self.signal_fence = self.parts.fence(), self.parts.fence()
        self.histories = MemoryEngineStore(self.engine_fence)
        self.records = self.parts.finalizer_store(self.finalizer_fence)
        self.dispatch = self.parts.matcher_store(self.intake_fence, self.lanes_fence)
        self.timers, self.calendar = MemoryTimerStore(self.timer_fence), MemoryCronStore(self.timer_fence)
        self.signals = self.parts.signals(self.signal_fence)
        self.ledger = LocalTables(self.world.clock)
        self.ledger.fence = self.parts.fence()
        self.receiver = Receiver(self.world.clock)
        self.setting = self.parts.setting(seed)
        self.planned = workload.runbooks()
        if self.setting.has_waits:
            self.planned += waiting.runbooks()
        if self.setting.has_guards:
            self.planned += guarded_runbooks.runbooks()
        if self.setting.has_schedules:
            self.planned += schedules.runbooks()
        self.people = People(seed, self.world.clock, self.dispatch.dispatches, self.records)
        self.people.planned, self.people.may_degrade = self.planned, self.setting.may_degrade
        self.people.is_active = self.setting.has_guards
        self.people.send = self._send
        for each in self.planned:
            self.people.said.define(each, self.world.clock.now_ms())
        self.slots = SlotReferee(self.dispatch.dispatches)
        self.breakers = BreakerReferee(self.records)
        self.clockwork = schedules.Clockwork(seed, self.world)
        self.silence = SilenceReferee(self.world.clock)
        self.schedules = ScheduleReferee(self.world.clock, self.dispatch.dispatches, self._is_over)
        self.slots.is_calm = self.world.rates == CALM
        if self.setting.company_runs_max < UNLIMITED:
            self.world.drain_rounds_max *= 3
        self.gate = GateKept()
        self.ordered: set[str] = set()
        """Executions for which an action was ordered by an engine."""
        self.signaller = Signaller(seed, self.world.clock, self._starts, self.records.runs.__contains__)
        self.events: dict[str, Event] = {}
        self.poison: set[bytes] = set()
        self.stale_writes: list[str] = []
        self.replay_faults: list[str] = []
        self.deaths: dict[str, list[float]] = {}
        """When each process died, in seconds of the world."""
        self.engine_works: dict[int, Mortal] = {}
        """By the id of the loop that drives it; loops of the dead are never asked for."""
        self._sent: list[Outgoing] = []
        self._commits = 0
        self.world.changes = lambda: self._commits
        self.world.on_loss = self._send_all_again
        self.world.on_tables_lost = self.gate.lose_tables
        self.world.broker.on_append = self._note_appended
        self.world.next_instant = self._next_instant
        self.world.on_death = self._note_death
        self.faults.is_crash_allowed = self._is_crash_allowed
        for instance in INSTANCES:
            for service, start in (
                ("trigger_matcher", self._start_matcher),
                ("engine", self._start_engine),
                ("action_executor", self._start_executor),
                ("finalizer", self._start_finalizer),
                ("timer_scheduler", self._start_timers),
                ("signal_delivery", self._start_signals),
                *((("gate", self._start_gate),) if self.setting.has_guards else ()),
            ):
                self.world.add(f"{service}-{instance}", service, start)
        if self.setting.has_guards:
            self.world.add("control_plane", "control_plane", self._start_people)
        self.parts.system(self)

    # ---- the outbox of the platform ------------------------------------------------------------------------------

    def send_events(self, count: int) -> None:
        """A wave of new events; a few are sent twice."""
        random = self.world.random
        for _ in range(count):
            event = self._random_event()
            self.events[event.id] = event
            time = BEGIN + timedelta(seconds=self.world.clock.seconds)
            outgoing = workload.message(event, time)
            self._sent.append(outgoing)
            for _ in range(2 if random.random() < 0.1 else 1):
                self.world.broker.append(outgoing)

    def _random_event(self) -> Event:
        random, number = self.world.random, len(self.events)
        if self.setting.has_guards and random.random() < 0.6:
            return guarded_runbooks.random_event(random, number, self._starts())
        return workload.random_event(random, number)

    def _send(self, outgoing: Outgoing) -> None:
        """By an outbox: it is there, and there again after a loss."""
        self._sent.append(outgoing)
        self.world.broker.append(outgoing)

    def _note_appended(self, outgoing: Outgoing) -> None:
        self.schedules.hear(outgoing)
        self.silence.hear(outgoing)
        if outgoing.topic.startswith("activities.") and outgoing.key:
            self.ordered.add(outgoing.key.decode())

    def send_poison(self, outgoing: Outgoing) -> None:
        """A message that no service may accept, and none may be stopped by."""
        assert outgoing.value is not None
        self.poison.add(outgoing.value)
        self.world.broker.append(outgoing)

    def _send_all_again(self) -> None:
        for outgoing in self._sent:
            self.world.broker.append(outgoing)

    def _next_instant(self) -> float | None:
        """When something stored falls due, as far as it is in the future."""
        now = self.world.clock.now()
        due = [each.timer.fire_at for each in self.timers.timers.values()]
        due += [each.due_at for each in self.signals.targets.values() if each.due_at is not None]
        due += [
            each.signal.request.expires_at
            for each in self.signals.deliveries.values()
            if each.closed_at is None
        ]
        due += [schedules.OVER] if self.setting.has_schedules else []
        due += [each.expires_at for each in self.dispatch.dispatches.values() if each.expires_at is not None]
        return min(((at - BEGIN).total_seconds() for at in due if at > now), default=None)

    def _note_death(self, process: Process) -> None:
        self.deaths.setdefault(process.name, []).append(self.world.clock.seconds)

    def _is_over(self, row: Dispatch) -> bool:
        if row.status in WITHHELD or row.id in self.ledger.ends:
            return True
        history = self.histories.histories.get(row.id, ())
        return row.start.mode == "workflow" and any(isinstance(each.event, ENDS) for each in history)

    def _is_crash_allowed(self) -> bool:
        """A message is taken for poison after several deaths in a row: chance must not look like that."""
        return all(
            row.attempts < SUSPECT_DEATHS_MAX for fence in self.fences() for row in fence.rows.values()
        )

    def _starts(self) -> list[Start]:
        return [row.start for row in self.dispatch.dispatches.values()]

    def drain(self) -> bool:
        """Everybody works to the end; then what is still subscribed gets a last signal, which must end it.

        Breakers are reset then, and each runbook that is held back is run once more: its keys must be free.
        """
        self.signaller.is_active = self.people.is_active = False
        if self.people.may_degrade:
            self.people.engines("up")
        is_at_rest = self.world.drain()
        if self.setting.has_guards:
            self.people.reset_breakers(is_certain=True)
            for each in self.planned:
                if "concurrency" in str(guarded_runbooks.GUARDS.get(each.reference.name)):
                    self.people.trigger(each)
        left = {(each.company_id, each.signal, each.key) for each in self.signals.subscriptions.values()}
        for company, name, key in sorted(left):
            self.signaller.send(company, name, key=key, kept=AFTERWARDS)
        return self.world.drain() if is_at_rest and (left or self.setting.has_guards) else is_at_rest

    # ---- processes -----------------------------------------------------------------------------------------------

    async def _start_matcher(self, process: Process) -> Sequence[Loop]:
        runbooks, producers = Runbooks(), Producers(frozenset({topics.PLATFORM_EVENTS}))
        breakers, engines = Breakers(runbooks), Engines(self.setting.mode, GRACE)
        known_by = {
            topics.DEFINITIONS: runbooks.apply,
            topics.BREAKERS: breakers.apply,
            topics.ENGINE_STATUS: engines.apply,
        }
        listener = Listener(self.people.said, known_by)
        await listener.turn()
        reads = ("rows", "runbooks_of", "in_flight", "given_out", "seen", "unclosed_page", "unended")
        store = self._guarded(self.dispatch, ("commit_intake", "commit_lanes"), reads)
        pressing = self._guarded(self.parts.pressing(self.dispatch), (), ("has_any",))
        clock, lookup = self.world.clock, SimulatedLookup(self.faults)
        flights = Flights(store, self.setting.company_runs_max, clock.monotonic)
        births = Births(engines, breakers, Partitions(PARTITIONS, PARTITIONS), flights.take)
        known = Knowledge(runbooks, producers, births, flights, clock)
        commands = Commands(runbooks, births, flights, lookup, clock)
        intake = IntakeWork(store, known, lookup)
        agenda = self.parts.lanes_agenda(store, pressing, known, clock)
        producers_topics = [topics.PLATFORM_EVENTS]
        if self.setting.has_schedules:
            producers_topics.append(topics.SCHEDULE_FIRED)
        lanes = LanesWork(store, breakers.standing, commands, clock, agenda.runs_ended)
        return [
            self._loop(process, matcher_store.INTAKE, self.intake_fence, intake, producers_topics),
            self._loop(process, matcher_store.LANES, self.lanes_fence, lanes, FOLLOWED, agenda),
            *([listener] if self.setting.has_guards else []),
        ]

    async def _start_gate(self, process: Process) -> Sequence[Loop]:
        loop = GateLoop(self.gate, self._sink(), self.faults, self.world.random)
        loop.attach(self.world.source(process, gate.GROUP, gate.lanes(), loop))
        return [loop]

    async def _start_people(self, process: Process) -> Sequence[Loop]:
        return [self.people]

    async def _start_engine(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.histories, ("commit",), ("load", "definitions", "open_page"))
        work = Mortal(self.parts.engine(store))
        loop = self._loop(process, engine_store.LOOP, self.engine_fence, work, [topics.ENGINE_INBOX])
        self.engine_works[id(loop)] = work
        return [loop]

    async def _start_finalizer(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.records, ("commit",), ("finished", "compared", "given_up", "silent"))
        followed, agenda = [topics.LIFECYCLE, topics.CONTROL_COMMANDS], None
        if self.setting.has_watchdog:
            agenda = self.parts.watchdog(store, self.world.clock, PATIENCE)
        work = self.parts.finalizer(store, PATIENCE)
        return [self._loop(process, finalizer_store.LOOP, self.finalizer_fence, work, followed, agenda)]

    async def _start_timers(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.timers, ("commit",), ("pages",))
        work = self.parts.timers(store, self.world.clock)
        followed = [topics.TIMER_COMMANDS]
        if not self.setting.has_schedules:
            return [self._loop(process, timer_store.LOOP, self.timer_fence, work, followed, work)]
        definitions = Scheduled()
        known_by = dict.fromkeys((topics.BREAKERS, topics.ENGINE_STATUS), passed_over)
        listener = Listener(self.people.said, known_by | {topics.DEFINITIONS: definitions.apply})
        calendar = self._guarded(self.calendar, ("commit_cron",), ("entries", "firings_page"))
        sink, clock = self._sink(), self.world.clock
        cron = self.parts.schedules(
            calendar, clock, partial(sink.partition_count, topics.TIMER_COMMANDS), lambda: listener.has_read
        )
        definitions.on_change = cron.want
        duties = Duties(work, cron)
        loop = self._loop(process, timer_store.LOOP, self.timer_fence, duties, followed, duties)
        return [loop, listener]

    async def _start_signals(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.signals, ("commit", "accept"), ("due", "open_targets", "outstanding_page"))
        sink, clock = self._sink(), self.world.clock
        agenda = SignalAgenda(store, sink.partition_count, clock)

        def committed(done: Committed) -> None:
            if done.new or done.sendings:
                agenda.expect(resend_seconds(1))

        runs = SimulatedRuns(self.faults, self.records)
        work = SignalWork(store, runs, sink.partition_count, clock, committed)
        followed = [topics.SIGNALS, topics.SUBSCRIPTIONS, topics.VERDICTS]
        loop = self._loop(process, signal_store.LOOP, self.signal_fence, work, followed, agenda)
        return [loop, SignalEdge(self.signaller, store, self._sink(), agenda, clock)]

    async def _start_executor(self, process: Process) -> Sequence[Loop]:
        ledger = self._guarded(
            self.parts.ledger(self.ledger), ("incarnate", "acquire", "commit"), ("look_up", "look_up_runs")
        )
        me = await ledger.incarnate(process.name)
        has, caller = LedgerHas(self.ledger), Caller(process.name, process.deaths)
        runner = SimulatedRunner(self.receiver, self.faults, caller, has)
        beside = self.parts.concurrency(self.world)
        ports = Ports(ledger, self.world.sink(), runner, beside, self.world.clock)
        loop = self.parts.executor(me, ports, EXECUTOR_METRICS)
        names = [*(topics.activities(name) for name in topics.ACTION_CLASSES), topics.INLINE]
        loop.attach(self.world.source(process, "outlast.action_executor", names, loop))
        return [loop]

    def _loop(
        self,
        process: Process,
        name: str,
        fence: LocalFence,
        work: Work,
        topic_names: Sequence[str],
        agenda: Agenda | None = None,
    ) -> FencedLoop:
        guarded_fence: Fence = guarded(fence, self.faults, name, commits=FENCE_WRITES)
        loop = self.parts.loop(
            service=process.service,
            name=name,
            fence=guarded_fence,
            work=work,
            sink=self._sink(),
            metrics=METRICS[name],
            monotonic=self.world.clock.monotonic,
            agenda=agenda,
        )
        loop.attach(self.world.source(process, f"outlast.{name}", topic_names, loop))
        return loop

    def _sink(self) -> LocalSink:
        return self.world.sink()

    def _guarded(self, store: object, commits: Sequence[str], reads: Sequence[str]) -> object:
        return guarded(
            Counting(store, commits, self), self.faults, type(store).__name__, commits=commits, reads=reads
        )

    def count_commit(self) -> None:
        """Something was stored."""
        self._commits += 1

    def is_owner(self, loop: FencedLoop, execution: str) -> bool:
        """Whether this engine owns the execution's partition in truth, and does not only believe so."""
        at = TopicPartition(topics.ENGINE_INBOX, ids.engine_partition(execution))
        mine, row = loop._owned.get(at), self.engine_fence.rows.get(at)
        return mine is not None and row is not None and mine.epoch == row.epoch and not loop._must_rejoin

    def fences(self) -> list[LocalFence]:
        """Every fence, for looking at."""
        return [
            self.engine_fence,
            self.finalizer_fence,
            self.intake_fence,
            self.lanes_fence,
            self.timer_fence,
            self.signal_fence,
            self.ledger.fence,
        ]
