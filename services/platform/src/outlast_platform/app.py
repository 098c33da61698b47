"""Composition root: the only module that constructs clients."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator

import uvicorn

from outlast.clock import SystemClock
from outlast.contracts.topics import IDENTITIES, PLATFORM_EVENTS
from outlast.db.outbox import OutboxPublisher
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.topics import BrokerTopicIds, TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.service import App, Stop
from outlast_platform.access import Keyring
from outlast_platform.api import make_application
from outlast_platform.identities import IdentityDirectory
from outlast_platform.limits import IMPORTS_IN_FLIGHT_MAX
from outlast_platform.services import Services
from outlast_platform.settings import Settings
from outlast_platform.tenancy import open_pools

OURS = (PLATFORM_EVENTS,)


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The API, the outbox's publisher and the reader of identities."""
    health.ready("api", False)
    health.ready("identities", False)
    instance = f"platform-{settings.process.instance}"
    pools = await open_pools(settings.database_url)
    sink = KafkaSink(settings.kafka_bootstrap, instance)
    publisher = OutboxPublisher(
        pools.service, sink, BrokerTopicIds(TopicAdmin(settings.kafka_bootstrap, instance), OURS)
    )
    directory = IdentityDirectory()
    reader = CompactedReader(
        settings.kafka_bootstrap,
        (IDENTITIES,),
        directory.apply,
        client_id=f"{instance}-identities",
        headed=(IDENTITIES,),
    )
    services = Services(
        pools=pools,
        keyring=Keyring(directory, settings.service_token),
        clock=SystemClock(),
        new_id=new_id,
        wake_publisher=publisher.wake,
        reading_reports=asyncio.Semaphore(IMPORTS_IN_FLIGHT_MAX),
    )
    return App(
        tasks={
            "api": serve(services, settings, health, stop),
            "outbox": publisher.run(stop.event),
            "identities": read_identities(reader, directory, health, stop),
        },
        closers=[sink.close, pools.close],
    )


async def read_identities(
    reader: CompactedReader, directory: IdentityDirectory, health: Health, stop: Stop
) -> None:
    """Keep the identities current until the stop."""

    async def note_readiness() -> None:
        await reader.ready()
        directory.is_ready = True
        health.ready("identities", True)

    reading = asyncio.create_task(reader.run())
    noting = asyncio.create_task(note_readiness())
    stopping = asyncio.create_task(stop.event.wait())
    await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    noting.cancel()
    await reader.close()
    await reading


async def serve(services: Services, settings: Settings, health: Health, stop: Stop) -> None:
    """The HTTP server until the stop; requests in flight are answered."""
    config = uvicorn.Config(
        make_application(services),
        host=settings.http_host,
        port=settings.http_port,
        http="httptools",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
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


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): sorts by the millisecond in which it was made."""
    random = secrets.randbits(74)
    number = (
        (time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (random >> 62) << 64
        | 0b10 << 62
        | random & 0x3FFFFFFFFFFFFFFF
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
