"""Composition root: the only module that constructs clients."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from outlast.clock import SystemClock
from outlast.contracts import topics
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Received
from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loops import FOLLOWER_LINGER_SECONDS, run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast.runtime.work import Agenda, Work
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.births import Births, Partitions
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.commands import Commands
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.engines import Engines
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.intake import IntakeWork, Knowledge
from outlast_trigger_matcher.lanes import FOLLOWED, LanesWork
from outlast_trigger_matcher.lookup import PlatformLookup
from outlast_trigger_matcher.pressing import PostgresPressing
from outlast_trigger_matcher.reasking import LanesAgenda
from outlast_trigger_matcher.settings import Settings
from outlast_trigger_matcher.store import INTAKE, LANES, PostgresMatcherStore

log = get_logger(__name__)

WATCH_SECONDS = 1.0
OWN_TOPICS = frozenset({topics.PLATFORM_EVENTS, topics.API_EVENTS, topics.SCHEDULE_FIRED})


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The matcher: events in, executions followed, definitions and producers kept up to date."""
    clock, kafka = SystemClock(), settings.common.kafka
    instance = f"trigger_matcher-{settings.process.instance}"
    pool = await connect_pool(settings.common.database_url, "dispatch", is_reset=False)
    await migrate(pool, "dispatch", migration_files("outlast_trigger_matcher"))
    runbooks, producers, changed = Runbooks(), Producers(OWN_TOPICS), asyncio.Event()
    breakers, engines = Breakers(runbooks), Engines(settings.mode, settings.degrade_after)

    def apply_producer(received: Received) -> None:
        producers.apply(received)
        changed.set()

    known_by = {
        topics.DEFINITIONS: runbooks.apply,
        topics.PRODUCERS: apply_producer,
        topics.BREAKERS: breakers.apply,
        topics.ENGINE_STATUS: engines.apply,
    }

    def apply(received: Received) -> None:
        known_by[received.topic](received)

    headed = [topics.DEFINITIONS, topics.PRODUCERS, topics.BREAKERS]
    reader = CompactedReader(kafka, list(known_by), apply, client_id=instance, headed=headed)
    health.ready("definitions", False)
    reading = asyncio.create_task(reader.run(), name="definitions")
    # Matching before every definition is known would take events in without firing what they should fire.
    await asyncio.wait({reading, asyncio.create_task(reader.ready())}, return_when=asyncio.FIRST_COMPLETED)
    health.ready("definitions", reader.is_ready)

    store, lookup = PostgresMatcherStore(pool), PlatformLookup(settings.platform_url, settings.service_token)
    sinks = [KafkaSink(kafka, f"{instance}-{name}") for name in ("intake", "lanes")]
    partitions = Partitions(
        engine=await sinks[0].partition_count(topics.ENGINE_INBOX),
        lanes=await sinks[0].partition_count(topics.LIFECYCLE),
    )

    flights = Flights(store, settings.company_runs_max, clock.monotonic)
    births = Births(engines, breakers, partitions, flights.take)
    known = Knowledge(runbooks, producers, births, flights, clock)
    commands = Commands(runbooks, births, flights, lookup, clock)
    on = Wiring(pool, kafka, instance)
    intake, events = _loop(INTAKE, IntakeWork(store, known, lookup), producers.topics(), on, sinks[0])
    agenda = LanesAgenda(store, PostgresPressing(pool), known, clock)
    work = LanesWork(store, breakers.standing, commands, clock, agenda.runs_ended)
    lanes, _ = _loop(LANES, work, FOLLOWED, on, sinks[1], agenda)
    changed.clear()

    async def follow_producers() -> None:
        """Read the topic of a producer as soon as it is registered, and no longer than that."""
        while not stop.is_set():
            await stop.wait_for(changed)
            changed.clear()
            if not stop.is_set():
                await events.change_topics(producers.topics())

    async def keep_reading() -> None:
        await asyncio.wait(
            {reading, asyncio.create_task(stop.event.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        await reader.close()
        await reading

    return App(
        tasks={
            "intake": run_loop(intake, "intake", health, stop, clock.monotonic),
            "lanes": run_loop(lanes, "lanes", health, stop, clock.monotonic, FOLLOWER_LINGER_SECONDS),
            "definitions": keep_reading(),
            "producers": follow_producers(),
            "degradation": _watch_engines(engines, health, stop, clock),
        },
        closers=[*(sink.close for sink in sinks), lookup.close, pool.close],
    )


async def _watch_engines(engines: Engines, health: Health, stop: Stop, clock: SystemClock) -> None:
    """Show the mode, and say when new executions begin to run inline for want of an engine, and when no more."""
    health.fact("mode", engines.mode)
    was_degraded = False
    while not stop.is_set():
        is_degraded = engines.is_degraded(clock.now())
        health.fact("is_degraded", is_degraded)
        metrics.IS_DEGRADED.set(is_degraded)
        if is_degraded != was_degraded:
            say = log.warning if is_degraded else log.info
            say(
                "engine_away" if is_degraded else "engine_back",
                new_executions="inline" if is_degraded else engines.mode,
            )
        was_degraded = is_degraded
        await stop.wait(WATCH_SECONDS)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a loop of this process stands on."""

    pool: asyncpg.Pool
    kafka: str
    instance: str


def _loop(
    name: str, work: Work, read: Iterable[str], on: Wiring, sink: KafkaSink, agenda: Agenda | None = None
) -> tuple[FencedLoop, KafkaSource]:
    own = LoopMetrics(name)
    loop = FencedLoop(
        service="trigger_matcher",
        name=name,
        fence=PostgresFence(on.pool, name),
        work=work,
        sink=sink,
        metrics=own,
        monotonic=SystemClock().monotonic,
        agenda=agenda,
    )
    source = KafkaSource(
        on.kafka,
        f"outlast.{name}",
        on.instance,
        read,
        loop,
        client_id=f"{on.instance}-{name.rpartition('.')[2]}",
        alarm=own.alarm,
    )
    loop.attach(source)
    return loop, source
