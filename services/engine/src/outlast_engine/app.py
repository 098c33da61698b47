"""Composition root: the only module that constructs clients."""

import asyncio

import asyncpg

from outlast.clock import SystemClock
from outlast.contracts import topics
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions, keep_weeks
from outlast.db.pool import connect_pool
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.topics import TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loop_settings import LoopSettings
from outlast.runtime.loops import run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_engine.backend import construct
from outlast_engine.metrics import DURABLE
from outlast_engine.status import StatusSpeaker
from outlast_engine.store import HISTORY_STORAGE, LOOP, PostgresEngineStore
from outlast_engine.work import EngineWork

CONNECT_SECONDS_MAX = 5.0
"""So long a server that does not answer is a start like any other; then the backend is away."""


async def build(settings: LoopSettings, health: Health, stop: Stop) -> App:
    """The engine: one loop over its inbox, and the tables of the coming weeks. Says `down` until the database is
    there, and `up` when the loop is built."""
    clock = SystemClock()
    instance = f"engine-{settings.process.instance}"
    status = _status(settings.kafka, instance, clock)
    speaking = asyncio.create_task(status.speak(stop), name="status")

    async def attempt() -> asyncpg.Pool:
        return await _open(settings.database_url, clock)

    pool = await construct(attempt, status, health)
    sink = KafkaSink(settings.kafka, instance)
    metrics = LoopMetrics(LOOP)
    loop = FencedLoop(
        service="engine",
        name=LOOP,
        fence=PostgresFence(pool, LOOP),
        work=EngineWork(PostgresEngineStore(pool)),
        sink=sink,
        metrics=metrics,
        monotonic=clock.monotonic,
    )
    inbox = [topics.ENGINE_INBOX]
    loop.attach(
        KafkaSource(
            settings.kafka, "outlast.engine", instance, inbox, loop, client_id=instance, alarm=metrics.alarm
        )
    )
    status.change("up")
    DURABLE.set(1)

    async def make_weeks() -> None:
        await _make_weeks(pool, clock)

    async def speak() -> None:
        await speaking

    return App(
        tasks={
            "loop": run_loop(loop, "loop", health, stop, clock.monotonic),
            "maintenance": keep_weeks(make_weeks, stop.wait),
            "status": speak(),
        },
        closers=[sink.close, pool.close],
    )


def _status(kafka: str, instance: str, clock: SystemClock) -> StatusSpeaker:
    client = f"{instance}-status"
    admin = TopicAdmin(kafka, client)

    async def topic_id() -> str:
        found = await asyncio.to_thread(admin.describe, [topics.ENGINE_STATUS])
        state = found.get(topics.ENGINE_STATUS)
        return "" if state is None else state.topic_id

    return StatusSpeaker(instance, KafkaSink(kafka, client), topic_id, clock.now)


async def _open(database_url: str, clock: SystemClock) -> asyncpg.Pool:
    """Connections to a schema that is up to date, with tables for the coming weeks."""
    async with asyncio.timeout(CONNECT_SECONDS_MAX):
        pool = await connect_pool(database_url, "engine", is_reset=False)
    try:
        await migrate(pool, "engine", migration_files("outlast_engine"))
        await _make_weeks(pool, clock)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def _make_weeks(pool: asyncpg.Pool, clock: SystemClock) -> None:
    await ensure_weekly_partitions(pool, "engine", "history", clock.now(), storage=HISTORY_STORAGE)
