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
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loops import run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast.runtime.work import Work
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.intake import IntakeWork, Partitions
from outlast_trigger_matcher.lanes import LanesWork
from outlast_trigger_matcher.lookup import PlatformLookup
from outlast_trigger_matcher.settings import Settings
from outlast_trigger_matcher.store import INTAKE, LANES, PostgresMatcherStore

OWN_TOPICS = frozenset({topics.PLATFORM_EVENTS, topics.API_EVENTS})


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The matcher: events in, executions followed, definitions and producers kept up to date."""
    clock, kafka = SystemClock(), settings.common.kafka
    instance = f"trigger_matcher-{settings.process.instance}"
    pool = await connect_pool(settings.common.database_url, "dispatch", is_reset=False)
    await migrate(pool, "dispatch", migration_files("outlast_trigger_matcher"))
    runbooks, producers, changed = Runbooks(), Producers(OWN_TOPICS), asyncio.Event()

    def apply(received: Received) -> None:
        if received.topic == topics.PRODUCERS:
            producers.apply(received)
            changed.set()
        else:
            runbooks.apply(received)

    headed = [topics.DEFINITIONS, topics.PRODUCERS]
    reader = CompactedReader(kafka, headed, apply, client_id=instance, headed=headed)
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

    intake, events = _loop(
        INTAKE,
        IntakeWork(store, runbooks, producers, lookup, partitions),
        producers.topics(),
        Wiring(pool, kafka, instance, sinks[0]),
    )
    lanes, _ = _loop(
        LANES, LanesWork(store), [topics.LIFECYCLE, topics.RECORDED], Wiring(pool, kafka, instance, sinks[1])
    )
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
            "lanes": run_loop(lanes, "lanes", health, stop, clock.monotonic),
            "definitions": keep_reading(),
            "producers": follow_producers(),
        },
        closers=[*(sink.close for sink in sinks), lookup.close, pool.close],
    )


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a loop of this process stands on."""

    pool: asyncpg.Pool
    kafka: str
    instance: str
    sink: KafkaSink


def _loop(name: str, work: Work, read: Iterable[str], on: Wiring) -> tuple[FencedLoop, KafkaSource]:
    metrics = LoopMetrics(name)
    loop = FencedLoop(
        service="trigger_matcher",
        name=name,
        fence=PostgresFence(on.pool, name),
        work=work,
        sink=on.sink,
        metrics=metrics,
        monotonic=SystemClock().monotonic,
    )
    source = KafkaSource(
        on.kafka,
        f"outlast.{name}",
        on.instance,
        read,
        loop,
        client_id=f"{on.instance}-{name.rpartition('.')[2]}",
        alarm=metrics.alarm,
    )
    loop.attach(source)
    return loop, source
