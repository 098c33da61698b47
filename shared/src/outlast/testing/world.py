"""The whole system in one process, one step after another, by one seed.

Real loops and real work run on the in-memory broker and in-memory stores. A scheduler picks a process by chance and
lets it take a turn, or disturbs something: kills a process, ends a member's session while it lives on (a zombie),
takes the database or the platform away, loses all of the broker's data or a stream processor's tables, doubles
messages, lets the clock jump.
Nothing suspends: coroutines are driven by hand, so a seed means one history, to the last message. Services are not
known here; a test composes them (tests/simulation).
"""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Protocol, TypeVar

from outlast.contracts import topics
from outlast.contracts.topics import TopicPartition
from outlast.errors import TransientError
from outlast.messaging.local import LocalBroker, LocalSink, LocalSource
from outlast.messaging.ports import Outgoing, Received
from outlast.testing.faults import Crash, Faults, Rates

T = TypeVar("T")

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
PARTITIONS = 3
"""Of every topic: more than the two instances of a service, so that each has some."""
IDLE_ROUNDS = 12
"""Rounds in which nothing happens, the clock going on, before the world is taken to be at rest."""
IDLE_SECONDS = 20.0
WAITING_ROUNDS = 3
"""Rounds in which nothing happens until the clock jumps to where something falls due."""
DUE_SECONDS = 0.001
DRAIN_ROUNDS_MAX = 600
STEP_SECONDS_MAX = 0.05
FROZEN_SECONDS = 45.0
"""Longer than a claim of a default time-out lives."""
TRACE_MAX = 400
SPEEDS = (0.1, 0.5, 1, 1, 1, 4)
"""How often each process gets its turn, by seed: some are far behind what the others say."""
EMPHASES = (0, 1, 1, 1, 4, 10)
"""Each seed has its own mixture: some faults missing, some frequent, because frequent ones hide others."""
DISTURBANCES: Mapping[str, int] = {
    "kill": 4,
    "zombie": 5,
    "rebalance": 4,
    "freeze": 3,
    "outage": 2,
    "broker outage": 1,
    "platform outage": 2,
    "double": 10,
    "clock jump": 2,
    "loss": 1,
    "tables lost": 1,
}
"""What the world does to processes and servers, and how often each beside the others; see World for what it is."""
DOUBLED = frozenset({
    topics.PLATFORM_EVENTS, topics.ENGINE_INBOX, topics.LIFECYCLE, topics.RECORDED, topics.TIMER_COMMANDS,
    topics.SIGNALS, topics.SUBSCRIPTIONS, topics.VERDICTS, topics.INLINE, topics.GATE_REQUESTS,
    topics.GATE_DECISIONS, topics.CONTROL_COMMANDS, topics.SCHEDULE_FIRED,
    *(topics.activities(name) for name in topics.ACTION_CLASSES),
})  # fmt: skip
"""Topics whose messages may come again."""


def drive(coroutine: Coroutine[object, object, T]) -> T:
    """Run to the end what never waits. A suspension means that some fake is not a fake."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError(f"expected {coroutine} to run to its end, but it waits for something real")


class SimulatedClock:
    """Time that only the world moves (outlast.clock.Clock)."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """The present instant, UTC."""
        return BEGIN + timedelta(seconds=self.seconds)

    def now_ms(self) -> int:
        """The broker's clock."""
        return int(BEGIN.timestamp() * 1000 + self.seconds * 1000)

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self.seconds


class SimulatedBroker(LocalBroker):
    """Counts what is appended, and keeps dead letters apart from the data that may be lost."""

    def __init__(self, clock: SimulatedClock, faults: Faults) -> None:
        super().__init__(clock.now_ms, faults, PARTITIONS)
        self.appended = 0
        self.dead_letters: list[Received] = []
        self.on_append: Callable[[Outgoing], None] = lambda _outgoing: None

    def append(self, message: Outgoing) -> Received:
        """Store one message now."""
        stored = super().append(message)
        self.appended += 1
        self.on_append(message)
        if message.topic.endswith(".dead_letters"):
            self.dead_letters.append(stored)
        return stored


class SimulatedSource(LocalSource):
    """A member that may be blind for a while: it keeps what it has and hears of no change. So zombies are made."""

    blind_polls = 0
    last_incarnation = -1

    async def _rebalance(self) -> None:
        if self.blind_polls > 0:
            self.blind_polls -= 1
            return
        await super()._rebalance()

    def _take(self, messages_max: int) -> list[Received]:
        return [] if self._has_other_topics() else super()._take(messages_max)


class Loop(Protocol):
    """What takes turns."""

    async def turn(self, timeout_seconds: float = 0.0, /) -> float | None:
        """One turn."""
        ...


@dataclass(slots=True)
class Process:
    """One process of one service, dead or alive. `start` composes it anew, as after each death."""

    name: str
    service: str
    start: Callable[["Process"], Coroutine[object, object, Sequence[Loop]]]
    loops: Sequence[Loop] = ()
    sources: list[SimulatedSource] = field(default_factory=list[SimulatedSource])
    rests_until: float = 0.0
    """A dead one is started again after this, a living one that paused turns again."""
    deaths: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return bool(self.loops)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that a process did which no process may do."""

    process: str
    error: BaseException


class World:
    """Broker, clock, faults and processes; and the scheduler over them."""

    def __init__(self, seed: int, rates: Rates | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clock = SimulatedClock()
        self.rates = rates or Rates()
        self.faults = Faults(self.random, self.rates)
        self.broker = SimulatedBroker(self.clock, self.faults)
        self.processes: list[Process] = []
        self.incidents: list[Incident] = []
        self.trace: deque[str] = deque(maxlen=TRACE_MAX)
        self.turns = 0
        self.losses = 0
        self.drain_rounds_max = DRAIN_ROUNDS_MAX
        self.changes: Callable[[], int] = lambda: 0
        """A number that grows whenever something is stored; set by whoever owns the stores."""
        self.next_instant: Callable[[], float | None] = lambda: None
        """When, on the world's clock, something falls due that is stored; None if nothing will."""
        self.after_turn: Callable[[Process, Loop], None] = lambda _process, _loop: None
        self.on_death: Callable[[Process], None] = lambda _process: None
        self.on_loss: Callable[[], None] = lambda: None
        self.on_tables_lost: Callable[[], None] = lambda: None
        """What a stream processor keeps in the broker is gone; set by whoever has one."""
        self._disturbances: Mapping[str, Callable[[], None]] = {
            "kill": self._kill_one,
            "zombie": self._make_zombie,
            "rebalance": self._rebalance,
            "freeze": self._freeze,
            "outage": self._take_database,
            "broker outage": self._take_broker,
            "platform outage": self._take_platform,
            "double": self._double,
            "clock jump": self._jump,
            "loss": self.lose_everything,
            "tables lost": self._lose_tables,
        }
        self._kinds = list(DISTURBANCES)
        self._weights = [
            self.rates.weights.get(kind, DISTURBANCES[kind] * self.random.choice(EMPHASES))
            for kind in self._kinds
        ]
        self._weights[self._kinds.index("double")] += 1  # there is always something to choose
        self._database_back = 0.0
        self._broker_back = 0.0
        self._platform_back = 0.0
        self._speeds: list[float] = []

    # ---- composing -------------------------------------------------------------------------------------------

    def add(
        self, name: str, service: str, start: Callable[[Process], Coroutine[object, object, Sequence[Loop]]]
    ) -> None:
        """A process that is to run."""
        self.processes.append(Process(name, service, start))

    def source(
        self, process: Process, group: str, topic_names: Sequence[str], owner: object
    ) -> SimulatedSource:
        """A member of a group for one of the process's loops."""
        made = SimulatedSource(self.broker, group, process.name, topic_names, owner)  # pyright: ignore[reportArgumentType]
        process.sources.append(made)
        return made

    def sink(self) -> LocalSink:
        """A sender; one for each loop."""
        return LocalSink(self.broker)

    # ---- running ---------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """So many steps, with faults."""
        self.faults.is_on = True
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        random, clock = self.random, self.clock
        clock.seconds += random.random() * STEP_SECONDS_MAX
        self.faults.is_database_away = clock.seconds < self._database_back
        self.faults.is_platform_away = clock.seconds < self._platform_back
        self.broker.is_up = clock.seconds >= self._broker_back
        if self.rates.disturbance and random.random() * self.rates.disturbance < 1.0:
            kind = random.choices(self._kinds, self._weights)[0]
            self.note(f"-- {kind}")
            self._disturbances[kind]()
        if len(self._speeds) != len(self.processes):
            self._speeds = list(accumulate(random.choice(SPEEDS) for _ in self.processes))
        process = random.choices(self.processes, cum_weights=self._speeds)[0]
        if clock.seconds >= process.rests_until:
            self._turn(process)

    def _turn(self, process: Process) -> None:
        struck = len(self.faults.strikes)
        try:
            if not process.is_alive:
                process.loops = drive(process.start(process))
                self.note(f"{process.name}: begins a new life")
                return
            loop = process.loops[self.random.randrange(len(process.loops))]
            self.turns += 1
            pause_seconds = drive(loop.turn(0.0))
            if pause_seconds:
                process.rests_until = self.clock.seconds + min(pause_seconds, STEP_SECONDS_MAX)
            self.after_turn(process, loop)
        except Crash as crash:
            self._die(process, str(crash))
        except TransientError:
            if process.is_alive:
                raise
            process.rests_until = self.clock.seconds + STEP_SECONDS_MAX
        except AssertionError:
            raise
        except Exception as fault:  # noqa: BLE001 a process that ends by itself is what the world looks for
            self.incidents.append(Incident(process.name, fault))
            self._die(process, f"{type(fault).__name__}: {fault}")
        for strike in self.faults.strikes[struck:]:
            self.note(f"{process.name}: {strike}")

    def kill(self, service: str) -> None:
        """All living processes of this service die now."""
        for process in self.processes:
            if process.is_alive and process.service == service:
                self._die(process, "killed")

    def _die(self, process: Process, place: str) -> None:
        self.note(f"{process.name}: dies ({place})")
        process.loops = ()
        process.sources.clear()
        process.deaths += 1
        process.rests_until = self.clock.seconds + self.random.choice((0.0, 0.0, 0.2, 2.0))
        self.on_death(process)

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.clock.seconds:9.3f} turn {self.turns:6d} {text}")

    def drain(self) -> bool:
        """No more faults; everybody works until nothing happens any more. False: something always did."""
        self.faults.is_on = self.faults.is_database_away = self.faults.is_platform_away = False
        self.broker.is_up = True
        for process in self.processes:
            process.rests_until = 0.0
            for source in process.sources:
                source.blind_polls = 0
        idle = 0
        for _ in range(self.drain_rounds_max):
            before = (self.broker.appended, self.changes())
            self.random.shuffle(self.processes)
            for process in self.processes:
                for _ in range(1 + len(process.loops)):
                    self._turn(process)
            idle = idle + 1 if (self.broker.appended, self.changes()) == before else 0
            due = self.next_instant() if idle >= WAITING_ROUNDS else None
            if due is not None and due > self.clock.seconds:
                self.clock.seconds, idle = due + DUE_SECONDS, 0
                continue
            if idle >= IDLE_ROUNDS:
                return True
            self.clock.seconds += IDLE_SECONDS if idle else STEP_SECONDS_MAX
        return False

    # ---- disturbances ----------------------------------------------------------------------------------------

    def _one(self) -> Process | None:
        chosen = self.rates.services
        living = [each for each in self.processes if each.is_alive and (not chosen or each.service in chosen)]
        return self.random.choice(living) if living else None

    def _kill_one(self) -> None:
        process = self._one()
        if process is not None:
            self._die(process, "killed")

    def _rebalance(self) -> None:
        """A member's session ends; it hears of it at its next poll."""
        self._end_session(0)

    def _make_zombie(self) -> None:
        """A member's session ends while it goes on with what it has, for a few polls."""
        self._end_session(self.random.choice((1, 2, 3, 5, 10)))

    def _end_session(self, blind_polls: int) -> None:
        process = self._one()
        if process is None or not process.sources:
            return
        source = self.random.choice(process.sources)
        self.note(f"{process.name}: out of {source.group}, blind for {blind_polls} polls")
        source.blind_polls = blind_polls
        self.broker.end_session(source.group, source.instance_id)

    def _freeze(self) -> None:
        """A process stands still: its sessions and its claims end, and then it goes on with all that it had in hand."""
        process = self._one()
        if process is None:
            return
        for source in process.sources:
            self.broker.end_session(source.group, source.instance_id)
        self.clock.seconds += FROZEN_SECONDS
        process.rests_until = self.clock.seconds + self.random.choice((0.5, 1.0, 3.0))

    def _take_database(self) -> None:
        self._database_back = self.clock.seconds + self.random.choice((0.1, 0.5, 2.0))

    def _take_broker(self) -> None:
        self._broker_back = self.clock.seconds + self.random.choice((0.1, 0.5, 2.0))

    def _take_platform(self) -> None:
        self._platform_back = self.clock.seconds + self.random.choice((0.5, 2.0, 5.0))

    def _double(self) -> None:
        """Some messages of the past come again."""
        logs = [
            log
            for name, topic in sorted(self.broker.topics.items())
            if name in DOUBLED
            for log in topic.partitions
            if log
        ]
        for _ in range(self.random.choice((1, 1, 2, 5)) if logs else 0):
            again = self.random.choice(self.random.choice(logs))
            self.broker.append(Outgoing(again.topic, again.value, again.key, again.partition, again.headers))

    def _jump(self) -> None:
        self.clock.seconds += self.random.choice((1.0, 10.0, 45.0, 700.0))

    def _lose_tables(self) -> None:
        self.on_tables_lost()

    def lose_everything(self) -> None:
        """The broker comes back without any of its data."""
        self.losses += 1
        self.broker.lose_everything()
        self._lose_tables()
        self.on_loss()


def positions(rows: Mapping[TopicPartition, object]) -> list[TopicPartition]:
    """The partitions of a fence, in order."""
    return sorted(rows)
