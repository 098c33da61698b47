"""Composition root: the only module that constructs clients."""

from outlast.clock import SystemClock
from outlast.contracts import codec, topics
from outlast.contracts.messages import EngineStatus
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions
from outlast.db.pool import connect_pool
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Outgoing
from outlast.runtime.health import Health
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loop_settings import LoopSettings
from outlast.runtime.loops import run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_engine.store import LOOP, PostgresEngineStore
from outlast_engine.work import EngineWork

MAINTENANCE_SECONDS = 6 * 3600.0


async def build(settings: LoopSettings, health: Health, stop: Stop) -> App:
    """The engine: one loop over its inbox, and the tables of the coming weeks."""
    clock = SystemClock()
    pool = await connect_pool(settings.database_url, "engine", is_reset=False)
    await migrate(pool, "engine", migration_files("outlast_engine"))
    await ensure_weekly_partitions(pool, "engine", "history", clock.now())
    instance = f"engine-{settings.process.instance}"
    sink = KafkaSink(settings.kafka, instance)
    work = EngineWork(PostgresEngineStore(pool))
    loop = FencedLoop(
        service="engine",
        name=LOOP,
        fence=PostgresFence(pool, LOOP),
        work=work,
        sink=sink,
        metrics=LoopMetrics(LOOP),
        monotonic=clock.monotonic,
    )
    source = KafkaSource(
        settings.kafka, "outlast.engine", instance, [topics.ENGINE_INBOX], loop, client_id=instance
    )
    loop.attach(source)

    async def announce() -> None:
        """Say that durable work is taken: without it the matcher waits."""
        status = EngineStatus(instance=instance, state="up", at=clock.now())
        sink.send([Outgoing(topics.ENGINE_STATUS, codec.encode(status), instance.encode(), 0)])
        await sink.flush()

    async def maintain() -> None:
        while not await stop.wait(MAINTENANCE_SECONDS):
            await ensure_weekly_partitions(pool, "engine", "history", clock.now())

    await announce()
    return App(
        tasks={"loop": run_loop(loop, "loop", health, stop, clock.monotonic), "maintenance": maintain()},
        closers=[sink.close, pool.close],
    )
