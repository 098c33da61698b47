"""Composition root: the only module that constructs clients."""

from outlast.clock import SystemClock
from outlast.contracts import codec, topics
from outlast.contracts.messages import EngineStatus
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions, keep_weeks
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


async def build(settings: LoopSettings, health: Health, stop: Stop) -> App:
    """The engine: one loop over its inbox, and the tables of the coming weeks."""
    clock = SystemClock()
    pool = await connect_pool(settings.database_url, "engine", is_reset=False)
    await migrate(pool, "engine", migration_files("outlast_engine"))

    async def make_weeks() -> None:
        await ensure_weekly_partitions(pool, "engine", "history", clock.now())

    await make_weeks()
    instance = f"engine-{settings.process.instance}"
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

    async def announce() -> None:
        """Say that durable work is taken: without it the matcher waits."""
        status = EngineStatus(instance=instance, state="up", at=clock.now())
        sink.send([Outgoing(topics.ENGINE_STATUS, codec.encode(status), instance.encode(), 0)])
        await sink.flush()

    await announce()
    return App(
        tasks={
            "loop": run_loop(loop, "loop", health, stop, clock.monotonic),
            "maintenance": keep_weeks(make_weeks, stop.wait),
        },
        closers=[sink.close, pool.close],
    )
