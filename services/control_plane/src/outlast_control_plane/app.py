"""Composition root: the only module that constructs clients."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator

import asyncpg
import httpx
import uvicorn

from outlast.clock import SystemClock
from outlast.db.migrate import migrate, migration_files
from outlast.db.outbox import OutboxPublisher
from outlast.db.pool import connect_pool, transaction
from outlast.errors import TransientError
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.topics import TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast.runtime.service import App, Stop
from outlast_control_plane.access import Keyring, new_key
from outlast_control_plane.api import make_api
from outlast_control_plane.bootstrap import bootstrap
from outlast_control_plane.compacted import Republisher
from outlast_control_plane.identities import PostgresIdentities
from outlast_control_plane.limits import ACCEPTED_EVENT_DAYS, IDEMPOTENCY_DAYS, REQUESTS_AT_ONCE_MAX
from outlast_control_plane.outside import BrokerTopics, PlatformClient
from outlast_control_plane.queries import QUERIES
from outlast_control_plane.readers import CompactedTopics
from outlast_control_plane.records import Records
from outlast_control_plane.services import Services
from outlast_control_plane.settings import Settings

PRUNE_SECONDS = 3_600.0
POOL_MAX = 8
READ_POOL_MAX = 4

log = get_logger(__name__)


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The API, the outbox's publisher, the republisher and the readers of what others say."""
    health.ready("api", False)
    instance = f"control_plane-{settings.process.instance}"
    pool = await connect_pool(settings.database_url, "control", POOL_MAX)
    records_pool = await connect_pool(settings.records_url, "records_read", READ_POOL_MAX)
    engine_pool = await connect_pool(settings.engine_url, "engine_read", READ_POOL_MAX)
    await migrate(pool, "control", migration_files("outlast_control_plane"))
    await bootstrap(pool, settings.admin_key, settings.service_token)
    topics = BrokerTopics(TopicAdmin(settings.kafka_bootstrap, instance))
    sink = KafkaSink(settings.kafka_bootstrap, instance)
    publisher = OutboxPublisher(pool, sink, topics)
    readers = CompactedTopics(settings.kafka_bootstrap, instance, health.fact)
    client = httpx.AsyncClient(trust_env=False)
    services = Services(
        pool=pool,
        records=Records(records_pool, engine_pool),
        keyring=Keyring(PostgresIdentities(pool)),
        catalogue=readers,
        engines=readers,
        breakers=readers,
        topics=topics,
        platform=PlatformClient(client, settings.platform_url, settings.service_token),
        wake_publisher=publisher.wake,
        new_key=new_key,
        new_id=lambda: str(uuid.uuid4()),
        now=SystemClock().now,
        engine_mode=settings.engine_mode,
        degrade_after=settings.degrade_after,
    )
    return App(
        tasks={
            "api": serve(services, settings, health, stop),
            "outbox": publisher.run(stop.event),
            "republisher": Republisher(pool, topics).run(stop),
            "readers": read(readers, stop),
            "pruning": prune(pool, stop),
        },
        closers=[sink.close, client.aclose, records_pool.close, engine_pool.close, pool.close],
    )


async def serve(services: Services, settings: Settings, health: Health, stop: Stop) -> None:
    """The HTTP server until the stop; requests in flight are answered."""
    config = uvicorn.Config(
        make_api(services),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=REQUESTS_AT_ONCE_MAX,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 uvicorn has no event for it
        await asyncio.sleep(0.01)
    health.ready("api", server.started)
    await asyncio.wait({serving, asyncio.create_task(stop.event.wait())}, return_when=asyncio.FIRST_COMPLETED)
    health.ready("api", False)
    server.should_exit = True
    await serving
    if not stop.is_set():
        raise RuntimeError(f"expected to serve on port {settings.http_port}, but the server ended")


class _Server(uvicorn.Server):
    """Signals are the service's to handle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def read(readers: CompactedTopics, stop: Stop) -> None:
    """Read what others say until the stop."""
    reading = asyncio.create_task(readers.run())
    stopping = asyncio.create_task(stop.event.wait())
    await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await readers.close()
    await reading


async def prune(pool: asyncpg.Pool, stop: Stop) -> None:
    """Forget, once an hour, what nobody will ask for again."""
    while not await stop.wait(PRUNE_SECONDS):
        try:
            async with transaction(pool) as connection:
                await connection.execute(QUERIES["prune_idempotency_keys"], IDEMPOTENCY_DAYS)
                await connection.execute(QUERIES["prune_accepted_events"], ACCEPTED_EVENT_DAYS)
        except TransientError as fault:
            log.warning("prune_postponed", error=str(fault))
