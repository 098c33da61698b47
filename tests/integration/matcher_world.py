"""The matcher's own loops' work on a store in memory or in Postgres: events, advice, lifecycle, time go in by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec import Raw
from tests.stores.memory_matcher import MemoryMatcherStore, MemoryPressing

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.guarding import Ask, GateDecision, GateRequest, Release, Verdict
from outlast.contracts.messages import (
    Breaker,
    Definition,
    EngineStatus,
    Finished,
    Recorded,
    Resumed,
    Resuming,
    RunbookReference,
    Waiting,
)
from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.messaging import cloudevents
from outlast.messaging.cloudevents import CloudEvent
from outlast.messaging.ports import Outgoing, Received
from outlast.runbooks.catalogue import ActionKind, Catalogue
from outlast.runbooks.pinned import pin
from outlast.runbooks.reading import parse_runbook
from outlast.runtime.work import Turn, Work
from outlast_trigger_matcher.births import Births, Partitions
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.core.rows import Dispatch
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.engines import Engines, Mode
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.intake import IntakeWork, Knowledge
from outlast_trigger_matcher.lanes import FOLLOWED, LanesWork
from outlast_trigger_matcher.lookup import Found, Wanted
from outlast_trigger_matcher.ports import LanesStore, Pressing
from outlast_trigger_matcher.pressing import PostgresPressing
from outlast_trigger_matcher.reasking import LanesAgenda
from outlast_trigger_matcher.store import INTAKE, LANES, PostgresMatcherStore

LANE_COUNT = 4
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
EVENTS = TopicPartition(topics.PLATFORM_EVENTS, 0)
CATALOGUE = Catalogue([ActionKind(type="say", action_class="notify", config_schema={"type": "object"})])
M = TypeVar("M")


@dataclass
class ManualClock:
    """Time that moves when it is told to."""

    seconds: float = 0.0

    def now(self) -> datetime:
        """The world's instant."""
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.seconds


@dataclass
class Findings:
    """The platform: what is known of findings and assets."""

    known: dict[str, object] = field(default_factory=dict)

    async def find(self, wanted: Sequence[Wanted]) -> list[Found]:
        """One answer for each, in order."""
        return [Found(self._raw(each.finding_id), self._raw(each.asset_id)) for each in wanted]

    def _raw(self, name: str) -> Raw | None:
        return Raw(msgspec.json.encode(self.known[name])) if name in self.known else None


class Said(list[Outgoing]):
    """What a turn said, by kind."""

    def of(self, kind: type[M], topic: str | None = None) -> list[M]:
        """The messages of one type, in order."""
        decoded = [_decoded(each) for each in self if topic is None or each.topic == topic]
        return [each for each in decoded if isinstance(each, kind)]

    @property
    def asks(self) -> list[Ask]:
        """Everything that the gate is asked."""
        return [ask for request in self.of(GateRequest) for ask in request.asks]

    @property
    def releases(self) -> list[Release]:
        """Everything that the gate is told to forget."""
        return [release for request in self.of(GateRequest) for release in request.releases]

    @property
    def topics(self) -> list[str]:
        """Where it went."""
        return [each.topic for each in self]


def _decoded(outgoing: Outgoing) -> object:
    decoders = {
        topics.ENGINE_INBOX: codec.inbox,
        topics.INLINE: codec.inline,
        topics.LIFECYCLE: codec.lifecycle,
        topics.GATE_REQUESTS: codec.gate,
    }
    return decoders[outgoing.topic].decode(outgoing.value)


@dataclass
class Matcher:
    """One instance. Everything it says is returned by what made it speak."""

    store: LanesStore
    pressing: Pressing
    intake_fence: Fence
    lanes_fence: Fence
    mode: Mode = "workflow"
    company_limit: int = 1_000

    def __post_init__(self) -> None:
        self.clock, self.findings = ManualClock(), Findings()
        self.runbooks, self.producers = Runbooks(), Producers(frozenset({topics.PLATFORM_EVENTS}))
        self.breakers, self.engines = Breakers(self.runbooks), Engines(self.mode)
        self.flights = Flights(self.store, self.company_limit, lambda: self.clock.seconds)
        births = Births(
            self.engines, self.breakers, Partitions(LANE_COUNT, LANE_COUNT), lambda c: self.flights.take(c)
        )
        self.known = Knowledge(self.runbooks, self.producers, births, self.flights, self.clock)
        commands = Commands(self.runbooks, births, self.flights, self.findings, self.clock)
        self.intake_work = IntakeWork(self.store, self.known, self.findings)
        self.lanes_work = LanesWork(self.store, self.breakers.standing, commands, self.clock)
        self.agenda = LanesAgenda(self.store, self.pressing, self.known, self.clock)
        self._owned: dict[TopicPartition, tuple[int, int]] = {}
        self._revision = 0

    async def own(self) -> None:
        """Become the owner of every partition."""
        lanes = [TopicPartition(name, lane) for name in FOLLOWED for lane in range(LANE_COUNT)]
        for fence, partitions in ((self.intake_fence, [EVENTS]), (self.lanes_fence, lanes)):
            for owned in await fence.acquire([Claim(at, "id") for at in partitions]):
                self._owned[owned.at] = (owned.epoch, owned.next_offset)

    # ---- what it knows ---------------------------------------------------------------------------------------

    def define(
        self, name: str = "rb", company: str = "acme", *, is_active: bool = True, **more: object
    ) -> RunbookReference:
        """A runbook that fires on every finding_created of the company; `more` as in its document."""
        document: dict[str, object] = {
            "name": name,
            "rules": [{"event": "finding_created"}],
            "actions": [{"id": "one", "type": "say", "config": {}}],
            **more,
        }
        body = pin(parse_runbook(document, CATALOGUE))
        self._revision += 1
        reference = RunbookReference(
            id=name, name=name, version=self._revision, sha256=sha256(body).hexdigest()
        )
        message = Definition(
            company_id=company,
            runbook=reference,
            is_active=is_active,
            revision=self._revision,
            definition=Raw(body),
        )
        self.runbooks.apply(_record(topics.DEFINITIONS, message))
        return reference

    def trip(
        self, name: str = "rb", company: str = "acme", *, is_open: bool = True, generation: int = 0
    ) -> None:
        """The runbook's breaker opens, or is reset."""
        self._revision += 1
        message = Breaker(
            company_id=company, runbook_id=name, generation=generation, is_open=is_open, failures=10,
            revision=self._revision,
        )  # fmt: skip
        self.breakers.apply(_record(topics.BREAKERS, message))

    def engine_says(self, state: str, instance: str = "engine-0") -> None:
        """An engine instance speaks."""
        status = EngineStatus(instance=instance, state=state, at=self.clock.now())
        self.engines.apply(_record(topics.ENGINE_STATUS, status))

    # ---- what comes in ---------------------------------------------------------------------------------------

    async def events(
        self, *names: str, company: str = "acme", chain: tuple[str, ...] = (), finding: str = "F-1"
    ) -> Said:
        """Findings are created: events with these ids."""
        received = []
        for name in names:
            event = CloudEvent(
                id=name, source="urn:scanner", type="finding_created", company_id=company, subject="findings/F-1",
                time=self.clock.now(), chain=chain,
                data=Raw(msgspec.json.encode({"finding_id": finding, "title": name, "severity": "high", "tool": "t"})),
            )  # fmt: skip
            headers, value = cloudevents.to_structured(event)
            received.append(self._received(EVENTS, value, headers))
        return await self._turn(self.intake_work, received)

    async def advise(self, verdict: str, *executions: str, name: str = "rb", company: str = "acme") -> Said:
        """The gate says this of these executions of one runbook."""
        verdicts = tuple(Verdict(id=each, verdict=verdict) for each in executions)
        lane = ids.lane(company, name, LANE_COUNT)
        decision = GateDecision(company_id=company, runbook_id=name, lane=lane, verdicts=verdicts)
        return await self.hears(topics.GATE_DECISIONS, decision, lane)

    async def hears(self, topic: str, message: msgspec.Struct, lane: int = 0, times: int = 1) -> Said:
        """One message on one of the co-partitioned topics, so many times in one batch."""
        at, value = TopicPartition(topic, lane), codec.encode(message)
        return await self._turn(self.lanes_work, [self._received(at, value) for _ in range(times)])

    async def comes_to(
        self,
        kind: type[Finished | Waiting | Resuming | Resumed],
        execution: str,
        seq: int = 9,
        **more: object,
    ) -> Said:
        """A run says what it has come to, with the origin that it was sent with."""
        row = await self.row(execution)
        s = row.start
        fields: dict[str, object] = {"steps": (), "status": "success"} if kind is Finished else {}
        fields |= {"waits": ()} if kind is Waiting else {}
        message = kind(
            execution_id=execution, company_id=s.company_id, runbook=s.runbook, event=s.event, mode=s.mode, lane=s.lane,
            rank=1, seq=seq, at=self.clock.now(), started_at=self.clock.now(), chain=s.chain, origin=s.origin,
            **fields, **more,
        )  # fmt: skip # pyright: ignore
        return await self.hears(topics.LIFECYCLE, message, s.lane)

    async def records(self, *executions: str) -> Said:
        """The finalizer has these runs' records."""
        return await self.hears(topics.RECORDED, Recorded(executions=executions))

    async def ticks(self, seconds: float = 0.0) -> Said:
        """Time passes, and what is due is done."""
        self.clock.seconds += seconds
        if self.agenda.due_seconds(self._owned.keys()) != 0.0:
            return Said()
        turn = await self.agenda.act(self._owned.keys())
        if turn is None:
            return Said()
        await self.lanes_work.commit(turn, [self._move(at, 0, turn) for at in sorted(turn.touched)])
        return Said(turn.outgoing)

    async def says_again(self) -> Said:
        """The walk over everything outstanding, after the broker's data was lost."""
        said = Said()
        for lane in range(LANE_COUNT):
            at = TopicPartition(topics.LIFECYCLE, lane)
            page = await self.lanes_work.outstanding_page(at, "", 1_000)
            said += await self.lanes_work.derive(at, page) if page else []
        return said

    async def row(self, execution: str) -> Dispatch:
        """The row of one execution."""
        (row,) = await self.store.rows([execution])
        return row

    async def status(self, *executions: str) -> list[tuple[str, str]]:
        """Status and reason of each."""
        return [(row.status, row.reason) for each in executions for row in [await self.row(each)]]

    # ---- turns -----------------------------------------------------------------------------------------------

    async def _turn(self, work: Work, messages: Sequence[Received]) -> Said:
        turn = await work.decide(messages)
        assert turn.dead == []
        counts: dict[TopicPartition, int] = {}
        for each in messages:
            counts[each.at] = counts.get(each.at, 0) + 1
        await work.commit(turn, [self._move(at, count, turn) for at, count in counts.items()])
        return Said(turn.outgoing)

    def _move(self, at: TopicPartition, count: int, turn: Turn) -> Move:
        epoch, offset = self._owned[at]
        self._owned[at] = (epoch, offset + count)
        return Move(at, epoch, offset, offset + count, tuple(turn.pending.get(at, ())) or None)

    def _received(
        self, at: TopicPartition, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Received:
        milliseconds = int(self.clock.now().timestamp() * 1000)
        return Received(*at, self._owned[at][1], milliseconds, b"k", value, headers)


def _record(topic: str, message: msgspec.Struct) -> Received:
    return Received(topic, 0, 0, 0, b"k", codec.encode(message))


Make = Callable[..., Awaitable[Matcher]]


@asynccontextmanager
async def matchers(kind: str, dsn: Callable[[], str]) -> AsyncIterator[Make]:
    """Makes matchers that share one store, in memory or in Postgres."""
    if kind == "memory":
        fences = (LocalFence(), LocalFence())
        store = MemoryMatcherStore(*fences)

        async def make(**settings: object) -> Matcher:
            matcher = Matcher(store, MemoryPressing(store), *fences, **settings)  # pyright: ignore
            await matcher.own()
            return matcher

        yield make
        return
    pool = await connect_pool(dsn(), "dispatch", 4, is_reset=False)
    await migrate(pool, "dispatch", migration_files("outlast_trigger_matcher"))

    async def make_real(**settings: object) -> Matcher:
        matcher = Matcher(
            PostgresMatcherStore(pool), PostgresPressing(pool), PostgresFence(pool, INTAKE), PostgresFence(pool, LANES),
            **settings,
        )  # fmt: skip # pyright: ignore
        await matcher.own()
        return matcher

    yield make_real
    await pool.close()
