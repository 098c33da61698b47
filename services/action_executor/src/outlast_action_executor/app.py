"""Composition root: the only module that constructs clients."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import asyncpg

from outlast.clock import SystemClock
from outlast.contracts.topics import ACTION_CLASSES, CATALOGUE, INLINE, activities
from outlast.db.migrate import migrate, migration_files
from outlast.db.partitioning import ensure_weekly_partitions, keep_weeks
from outlast.errors import TransientError
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.topics import TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast.runtime.service import App, Stop
from outlast_action_executor.catalogue import catalogue_messages
from outlast_action_executor.concurrency import Tasks
from outlast_action_executor.guard import Guard, take_apart
from outlast_action_executor.loop import LOOP, ExecutorLoop
from outlast_action_executor.mail import SmtpMailer
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.platform import PlatformFindings
from outlast_action_executor.ports import Ports
from outlast_action_executor.registry import Registry, load_registry
from outlast_action_executor.runner import ActionRunner
from outlast_action_executor.settings import Settings
from outlast_action_executor.store import CLAIMS_STORAGE, SCHEMA, PostgresLedger, connect_ledger
from outlast_action_executor.web import Web

CATALOGUE_CHECK_SECONDS = 5.0
STUCK_SECONDS = 120.0

log = get_logger(__name__)


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The executor: its loop, its catalogue, the ledger's tables of the coming weeks."""
    clock = SystemClock()
    registry = load_registry()
    pool = await connect_ledger(settings.loop.database_url)
    await migrate(pool, SCHEMA, migration_files("outlast_action_executor"))
    await _make_weeks(pool, clock)
    ledger = PostgresLedger(pool, LOOP)
    me = await ledger.incarnate(settings.loop.process.instance)
    instance = f"action_executor-{me.ordinal}"

    tls = await asyncio.to_thread(ssl.create_default_context)
    guard = Guard(settings.egress_allow)
    web = Web(guard, tls=tls)
    mailer = None
    if settings.relay is not None and settings.senders is not None:
        mailer = SmtpMailer(settings.relay, settings.senders, guard, tls=tls)
    platform = take_apart(settings.platform_url)
    inside = Web(Guard([f"{platform.host}:{platform.port}"]))
    findings = PlatformFindings(settings.platform_url, settings.service_token, inside)

    sink = KafkaSink(settings.loop.kafka, instance)
    concurrency = Tasks()
    runner = ActionRunner(registry, web, findings, clock, mailer)
    metrics = ExecutorMetrics(registry.names)
    loop = ExecutorLoop(me, Ports(ledger, sink, runner, concurrency, clock), metrics)
    loop.attach(
        KafkaSource(
            settings.loop.kafka,
            "outlast.action_executor",
            instance,
            [*(activities(name) for name in ACTION_CLASSES), INLINE],
            loop,
            client_id=instance,
            alarm=metrics.alarm,
        )
    )
    health.ready("loop", False)
    health.is_alive = lambda: clock.monotonic() - loop.turned_at < STUCK_SECONDS
    loop.on_turn = lambda is_fine: health.ready("loop", is_fine)

    async def run() -> None:
        await loop.run(stop.is_set, settings.grace_seconds)

    async def wake_at_stop() -> None:
        await stop.event.wait()
        concurrency.wake()

    async def make_weeks() -> None:
        await _make_weeks(pool, clock)

    return App(
        tasks={
            "loop": run(),
            "stop": wake_at_stop(),
            "maintenance": keep_weeks(make_weeks, stop.wait),
            "catalogue": _publish_catalogue(settings.loop.kafka, instance, registry, stop.wait),
        },
        closers=[sink.close, web.close, inside.close, ledger.close, pool.close],
    )


async def _make_weeks(pool: asyncpg.Pool, clock: SystemClock) -> None:
    """The ledger's tables of this and the coming weeks."""
    await ensure_weekly_partitions(pool, SCHEMA, "runs", clock.now())
    await ensure_weekly_partitions(pool, SCHEMA, "claims", clock.now(), storage=CLAIMS_STORAGE)


async def _publish_catalogue(
    kafka: str, instance: str, registry: Registry, wait: Callable[[float], Awaitable[bool]]
) -> None:
    """Publish at start, and again when the topic has become another one."""
    sink = KafkaSink(kafka, f"{instance}-catalogue")
    admin = TopicAdmin(kafka, f"{instance}-catalogue")
    messages = catalogue_messages(registry.catalogue())
    published_to = ""
    while True:
        try:
            found = (await asyncio.to_thread(admin.describe, [CATALOGUE])).get(CATALOGUE)
            if found is None or found.topic_id != published_to:
                await sink.partition_count(CATALOGUE)
                sink.send(messages)
                await sink.flush()
                published_to = found.topic_id if found is not None else ""
                log.info("catalogue_published", actions=len(messages) - 1)
        except TransientError as fault:
            log.warning("catalogue_not_published", error=str(fault))
        if await wait(CATALOGUE_CHECK_SECONDS):
            await sink.close()
            return
