"""Composition root: the only module that constructs clients."""

from outlast.clock import SystemClock
from outlast.contracts import topics
from outlast.db.compacted import Republisher
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.outbox import OutboxPublisher
from outlast.db.pool import connect_pool
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.topics import BrokerTopicIds, TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loops import FOLLOWER_LINGER_SECONDS, run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_finalizer.breakers import BreakersTopic
from outlast_finalizer.settings import Settings
from outlast_finalizer.store import LOOP, PostgresFinalizerStore
from outlast_finalizer.watchdog import WatchdogAgenda
from outlast_finalizer.work import FinalizerWork


async def build(configured: Settings, health: Health, stop: Stop) -> App:
    """The finalizer: one loop over what becomes of executions and what people order, and a publisher of breakers."""
    settings, patience = configured.loop, configured.patience
    clock = SystemClock()
    pool = await connect_pool(settings.database_url, "records", is_reset=False)
    await migrate(pool, "records", migration_files("outlast_finalizer"))
    instance = f"finalizer-{settings.process.instance}"
    sink = KafkaSink(settings.kafka, instance)
    metrics = LoopMetrics(LOOP)
    store = PostgresFinalizerStore(pool)
    loop = FencedLoop(
        service="finalizer",
        name=LOOP,
        fence=PostgresFence(pool, LOOP),
        work=FinalizerWork(store, patience),
        agenda=WatchdogAgenda(store, clock, patience),
        sink=sink,
        metrics=metrics,
        monotonic=clock.monotonic,
    )
    followed = [topics.LIFECYCLE, topics.CONTROL_COMMANDS]
    topic_ids = BrokerTopicIds(TopicAdmin(settings.kafka, instance), (topics.BREAKERS,))
    publisher_sink = KafkaSink(settings.kafka, f"{instance}-outbox")
    loop.attach(
        KafkaSource(
            settings.kafka,
            "outlast.finalizer",
            instance,
            followed,
            loop,
            client_id=instance,
            alarm=metrics.alarm,
        )
    )
    return App(
        tasks={
            "loop": run_loop(loop, "loop", health, stop, clock.monotonic, FOLLOWER_LINGER_SECONDS),
            "outbox": OutboxPublisher(pool, publisher_sink, topic_ids).run(stop.event),
            "republisher": Republisher(pool, topic_ids, (BreakersTopic(),)).run(stop),
        },
        closers=[sink.close, publisher_sink.close, pool.close],
    )
