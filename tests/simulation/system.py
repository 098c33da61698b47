"""The services' own loops and work in the simulated world, on stores in memory. Mutants replace a part of `Parts`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
from msgspec import Raw
from prometheus_client import CollectorRegistry

from outlast import ids
from outlast.clock import Clock
from outlast.contracts import codec, topics
from outlast.contracts.messages import Definition, Start
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Fence, Move
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast.execution.state import Execution
from outlast.messaging.local import LocalSink
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import FencedLoop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.work import Agenda, Turn, Work
from outlast.testing.faults import Crash, Faults, Rates, guarded
from outlast.testing.world import BEGIN, PARTITIONS, Loop, Process, World
from outlast_action_executor.concurrency import OneByOne
from outlast_action_executor.local import LocalLedger, LocalTables
from outlast_action_executor.loop import ExecutorLoop
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.ports import Concurrency, Ports
from outlast_engine import store as engine_store
from outlast_engine.work import EngineWork
from outlast_finalizer import store as finalizer_store
from outlast_finalizer.work import FinalizerWork
from outlast_signal_delivery import store as signal_store
from outlast_signal_delivery.agenda import SignalAgenda
from outlast_signal_delivery.core.delivery import resend_seconds
from outlast_signal_delivery.store import Committed
from outlast_signal_delivery.work import SignalWork
from outlast_timer_scheduler import store as timer_store
from outlast_timer_scheduler.work import TimerWork
from outlast_trigger_matcher import store as matcher_store
from outlast_trigger_matcher.births import Births, Partitions
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.engines import Engines
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.intake import IntakeWork, Knowledge
from outlast_trigger_matcher.lanes import FOLLOWED, LanesWork
from outlast_trigger_matcher.lookup import Found, Wanted
from outlast_trigger_matcher.reasking import LanesAgenda
from tests.simulation import waiting, workload
from tests.simulation.poison import KILLER
from tests.simulation.receiver import LedgerHas, Receiver, SimulatedRunner
from tests.simulation.signaller import AFTERWARDS, SignalEdge, Signaller
from tests.simulation.workload import Event
from tests.stores.memory_engine import MemoryEngineStore
from tests.stores.memory_finalizer import MemoryFinalizerStore
from tests.stores.memory_matcher import MemoryMatcherStore, MemoryPressing
from tests.stores.memory_signals import MemorySignalStore
from tests.stores.memory_timers import MemoryTimerStore

INSTANCES = ("0", "1")
SUSPECT_DEATHS_MAX = 2
COMPANY_RUNS_MAX = 1_000_000
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
    finalizer: Callable[[MemoryFinalizerStore], Work] = FinalizerWork
    timers: Callable[[MemoryTimerStore, Clock], TimerWork] = TimerWork
    signals: Callable[[LocalFence], MemorySignalStore] = MemorySignalStore
    ledger: Callable[[LocalTables], LocalLedger] = LocalLedger
    concurrency: Callable[[World], Concurrency] = lambda _world: OneByOne()
    matcher_store: Callable[[LocalFence, LocalFence], MemoryMatcherStore] = MemoryMatcherStore
    system: Callable[["System"], None] = field(default=lambda _system: None)
    """Called when the world stands and before it runs."""


class SimulatedLookup:
    """The platform's batched look-up; away together with the platform."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def find(self, wanted: Sequence[Wanted]) -> list[Found]:
        """One answer for each, in order."""
        if self._faults.is_platform_away or self._faults.is_struck("commit"):
            raise TransientError("look-up: the platform is away")
        return [self._found(each) for each in wanted]

    def _found(self, wanted: Wanted) -> Found:
        known = workload.finding(wanted.company_id, wanted.finding_id) if wanted.finding_id else None
        about = wanted.asset_id if wanted.finding_id else ""
        asset = workload.asset(wanted.company_id, about) if about else None
        return Found(_json(known), _json(asset))


def _json(value: object) -> Raw | None:
    return None if value is None else Raw(msgspec.json.encode(value))


class SimulatedRuns:
    """The view of the records that signal delivery reads; away together with the database."""

    def __init__(self, faults: Faults, records: MemoryFinalizerStore) -> None:
        self._faults = faults
        self._records = records

    async def known(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Those of these (company, execution) pairs that have a record."""
        if self._faults.is_database_away or self._faults.is_struck("commit"):
            raise TransientError("records: the database is away")
        runs = self._records.runs
        return {(company, run) for company, run in asked if run in runs and runs[run].company_id == company}


class Mortal:
    """The engine's work, but there is a message that it dies of."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __getattr__(self, name: str) -> object:
        return getattr(self._work, name)

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Decide, or die."""
        if any(message.value == KILLER for message in messages):
            raise Crash("the killer message")
        return await self._work.decide(messages)

    def cached(self) -> Mapping[str, Execution]:
        """The states in memory."""
        return self._work._states  # pyright: ignore[reportAttributeAccessIssue]


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
        self.records = MemoryFinalizerStore(self.finalizer_fence)
        self.dispatch = self.parts.matcher_store(self.intake_fence, self.lanes_fence)
        self.timers = MemoryTimerStore(self.timer_fence)
        self.signals = self.parts.signals(self.signal_fence)
        self.ledger = LocalTables(self.world.clock)
        self.ledger.fence = self.parts.fence()
        self.receiver = Receiver(self.world.clock)
        self.planned = [*workload.runbooks(), *waiting.runbooks()]
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
            ):
                self.world.add(f"{service}-{instance}", service, start)
        self.parts.system(self)

    # ---- the outbox of the platform ------------------------------------------------------------------------------

    def send_events(self, count: int) -> None:
        """A wave of new events; a few are sent twice."""
        random = self.world.random
        for _ in range(count):
            event = workload.random_event(random, len(self.events))
            self.events[event.id] = event
            time = BEGIN + timedelta(seconds=self.world.clock.seconds)
            outgoing = workload.message(event, time)
            self._sent.append(outgoing)
            for _ in range(2 if random.random() < 0.1 else 1):
                self.world.broker.append(outgoing)

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
        return min(((at - BEGIN).total_seconds() for at in due if at > now), default=None)

    def _note_death(self, process: Process) -> None:
        self.deaths.setdefault(process.name, []).append(self.world.clock.seconds)

    def _is_crash_allowed(self) -> bool:
        """A message is taken for poison after several deaths in a row: chance must not look like that."""
        return all(
            row.attempts < SUSPECT_DEATHS_MAX for fence in self.fences() for row in fence.rows.values()
        )

    def _starts(self) -> list[Start]:
        return [row.start for row in self.dispatch.dispatches.values()]

    def drain(self) -> bool:
        """Everybody works to the end; then what is still subscribed gets a last signal, which must end it."""
        self.signaller.is_active = False
        is_at_rest = self.world.drain()
        left = {(each.company_id, each.signal, each.key) for each in self.signals.subscriptions.values()}
        for company, name, key in sorted(left):
            self.signaller.send(company, name, key=key, kept=AFTERWARDS)
        return self.world.drain() if left and is_at_rest else is_at_rest

    # ---- processes -----------------------------------------------------------------------------------------------

    async def _start_matcher(self, process: Process) -> Sequence[Loop]:
        runbooks, producers = Runbooks(), Producers(frozenset({topics.PLATFORM_EVENTS}))
        for received in _definitions(self.planned):
            runbooks.apply(received)
        reads = ("rows", "runbooks_of", "in_flight", "unclosed_page")
        store = self._guarded(self.dispatch, ("commit_intake", "commit_lanes"), reads)
        pressing = self._guarded(MemoryPressing(self.dispatch), (), ("has_any",))
        clock, lookup = self.world.clock, SimulatedLookup(self.faults)
        breakers, flights = Breakers(runbooks), Flights(store, COMPANY_RUNS_MAX, clock.monotonic)
        births = Births(Engines("workflow"), breakers, Partitions(PARTITIONS, PARTITIONS), flights.take)
        known = Knowledge(runbooks, producers, births, flights, clock)
        commands = Commands(runbooks, births, flights, lookup, clock)
        intake = IntakeWork(store, known, lookup)
        agenda = LanesAgenda(store, pressing, known, clock)
        lanes = LanesWork(store, breakers.standing, commands, clock, agenda.runs_ended)
        return [
            self._loop(process, matcher_store.INTAKE, self.intake_fence, intake, [topics.PLATFORM_EVENTS]),
            self._loop(process, matcher_store.LANES, self.lanes_fence, lanes, FOLLOWED, agenda),
        ]

    async def _start_engine(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.histories, ("commit",), ("load", "definitions", "open_page"))
        work = Mortal(self.parts.engine(store))
        loop = self._loop(process, engine_store.LOOP, self.engine_fence, work, [topics.ENGINE_INBOX])
        self.engine_works[id(loop)] = work
        return [loop]

    async def _start_finalizer(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.records, ("commit",), ("finished", "compared", "given_up"))
        work = self.parts.finalizer(store)
        return [self._loop(process, finalizer_store.LOOP, self.finalizer_fence, work, [topics.LIFECYCLE])]

    async def _start_timers(self, process: Process) -> Sequence[Loop]:
        store = self._guarded(self.timers, ("commit",), ("pages",))
        work = self.parts.timers(store, self.world.clock)
        followed = [topics.TIMER_COMMANDS]
        return [self._loop(process, timer_store.LOOP, self.timer_fence, work, followed, work)]

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
        has = LedgerHas(self.ledger.claims)
        runner = SimulatedRunner(self.receiver, self.faults, process.name, process.deaths, has)
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
            _Counting(store, commits, self), self.faults, type(store).__name__, commits=commits, reads=reads
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


class _Counting:
    """A store whose commits are counted, and checked by a referee that no mutant touches."""

    def __init__(self, store: object, commits: Sequence[str], system: System) -> None:
        self._store = store
        self._commits = frozenset(commits)
        self._system = system

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)
        if name not in self._commits:
            return method
        return self._counted(name, method)

    def _counted(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        async def call(*arguments: object) -> object:
            stale = self._stale(arguments)
            result = await method(*arguments)  # pyright: ignore[reportGeneralTypeIssues]
            self._system.stale_writes += stale
            self._system.count_commit()
            return result

        return call

    def _stale(self, arguments: Sequence[object]) -> list[str]:
        """What a fenced owner is about to write; a correct store refuses it."""
        moves = _moves(arguments)
        if not moves:
            return []
        epochs = _epochs(self._system, self._store, moves)
        return [
            f"{move.at} written at epoch {move.epoch}, owned since {epochs[move.at]}"
            for move in moves
            if epochs.get(move.at, move.epoch) != move.epoch
        ]


def _moves(arguments: Sequence[object]) -> Sequence[Move]:
    for argument in arguments:
        found = getattr(argument, "moves", argument)
        if isinstance(found, list | tuple) and found and all(isinstance(each, Move) for each in found):
            return found
    return ()


def _epochs(system: System, store: object, moves: Sequence[Move]) -> dict[TopicPartition, int]:
    if isinstance(store, MemoryEngineStore):
        rows = system.engine_fence.rows
    elif isinstance(store, MemoryFinalizerStore):
        rows = system.finalizer_fence.rows
    elif isinstance(store, MemoryMatcherStore):
        rows = {**system.intake_fence.rows, **system.lanes_fence.rows}
    elif isinstance(store, MemoryTimerStore):
        rows = system.timer_fence.rows
    elif isinstance(store, MemorySignalStore):
        rows = system.signal_fence.rows
    else:
        rows = system.ledger.fence.rows
    return {at: row.epoch for at, row in rows.items()}


def _definitions(planned: Sequence[workload.PlannedRunbook]) -> list[Received]:
    messages = [
        Definition(
            company_id=each.company_id,
            runbook=each.reference,
            is_active=each.is_active,
            revision=number + 1,
            definition=Raw(each.body),
        )
        for number, each in enumerate(planned)
    ]
    return [
        Received(topics.DEFINITIONS, 0, offset, 0, b"", codec.encode(message))
        for offset, message in enumerate(messages)
    ]
