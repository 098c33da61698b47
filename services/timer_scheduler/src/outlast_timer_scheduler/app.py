"""Composition root: the only module that constructs clients."""

import asyncio

from outlast.clock import SystemClock
from outlast.contracts import topics
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.runtime.health import Health
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loop_settings import LoopSettings
from outlast.runtime.loops import run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_timer_scheduler.cron_store import PostgresCronStore
from outlast_timer_scheduler.cron_work import CronWork
from outlast_timer_scheduler.definitions import Definitions
from outlast_timer_scheduler.duties import Duties
from outlast_timer_scheduler.store import LOOP, PostgresTimerStore
from outlast_timer_scheduler.work import TimerWork


async def build(settings: LoopSettings, health: Health, stop: Stop) -> App:
    """The timer scheduler: one loop over the commands, which fires between them what is due."""
    clock = SystemClock()
    pool = await connect_pool(settings.database_url, "timers", is_reset=False)
    await migrate(pool, "timers", migration_files("outlast_timer_scheduler"))
    instance = f"timer_scheduler-{settings.process.instance}"
    sink = KafkaSink(settings.kafka, instance)
    metrics = LoopMetrics(LOOP)
    definitions = Definitions()
    headed = [topics.DEFINITIONS]
    reader = CompactedReader(settings.kafka, headed, definitions.apply, client_id=instance, headed=headed)
    schedules = CronWork(
        PostgresCronStore(pool),
        clock,
        lambda: sink.partition_count(topics.TIMER_COMMANDS),
        lambda: reader.is_ready,
    )
    definitions.on_change = schedules.want
    work = Duties(TimerWork(PostgresTimerStore(pool), clock), schedules)
    loop = FencedLoop(
        service="timer_scheduler",
        name=LOOP,
        fence=PostgresFence(pool, LOOP),
        work=work,
        agenda=work,
        sink=sink,
        metrics=metrics,
        monotonic=clock.monotonic,
    )
    loop.attach(
        KafkaSource(
            settings.kafka,
            "outlast.timer_scheduler",
            instance,
            [topics.TIMER_COMMANDS],
            loop,
            client_id=instance,
            alarm=metrics.alarm,
        )
    )
    return App(
        tasks={
            "loop": run_loop(loop, "loop", health, stop, clock.monotonic),
            "definitions": _follow(reader, stop),
        },
        closers=[sink.close, pool.close],
    )


async def _follow(reader: CompactedReader, stop: Stop) -> None:
    """Read definitions until the stop. Timers do not wait for them: a process without any is no worse for runs."""
    reading = asyncio.create_task(reader.run(), name="reading")
    stopping = asyncio.create_task(stop.event.wait(), name="stopping")
    await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await reader.close()
    await reading
