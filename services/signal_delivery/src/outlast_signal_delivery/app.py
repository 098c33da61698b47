"""Composition root: the only module that constructs clients."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from datetime import timedelta

import uvicorn

from outlast.clock import Clock, SystemClock
from outlast.contracts import topics
from outlast.db.fence import PostgresFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.errors import TransientError
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast.runtime.loop import FencedLoop
from outlast.runtime.loops import run_loop
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_signal_delivery.access import Keyring
from outlast_signal_delivery.agenda import SignalAgenda
from outlast_signal_delivery.api import make_api
from outlast_signal_delivery.core.delivery import resend_seconds
from outlast_signal_delivery.identities import IdentityDirectory
from outlast_signal_delivery.limits import KEPT_DAYS, POKE_SECONDS, PRUNED_MAX, REQUESTS_AT_ONCE_MAX
from outlast_signal_delivery.poking import Poker
from outlast_signal_delivery.records import RecordedRuns
from outlast_signal_delivery.services import Services
from outlast_signal_delivery.settings import Settings
from outlast_signal_delivery.store import LOOP, Committed, NewSignal, PostgresSignalStore, SignalStore
from outlast_signal_delivery.waiting import Waiting
from outlast_signal_delivery.work import SignalWork

FOLLOWED = (topics.SIGNALS, topics.SUBSCRIPTIONS, topics.VERDICTS)
POOL_MAX = 8
PRUNE_SECONDS = 3_600.0

log = get_logger(__name__)


async def build(settings: Settings, health: Health, stop: Stop) -> App:
    """The API, the loop over signals, subscriptions and verdicts, and the reader of identities."""
    health.ready("api", False)
    health.ready("identities", False)
    clock = SystemClock()
    kafka, instance = settings.loop.kafka, f"signal_delivery-{settings.process.instance}"
    pool = await connect_pool(settings.loop.database_url, "signals", POOL_MAX, is_reset=False)
    await migrate(pool, "signals", migration_files("outlast_signal_delivery"))
    records_pool = await connect_pool(settings.records_url, "records_read", 2)
    store = PostgresSignalStore(pool)
    sink, poke_sink = KafkaSink(kafka, instance), KafkaSink(kafka, f"{instance}-pokes")
    poker, waiting = Poker(poke_sink), Waiting(store)
    agenda = SignalAgenda(store, sink.partition_count, clock)

    def committed(done: Committed) -> None:
        waiting.note(delivery for delivery, _ in done.verdicts)
        if done.new or done.sendings:
            agenda.expect(resend_seconds(1))

    def poke(signal: NewSignal) -> None:
        poker.poke(signal)
        agenda.expect(POKE_SECONDS)

    metrics = LoopMetrics(LOOP)
    loop = FencedLoop(
        service="signal_delivery",
        name=LOOP,
        fence=PostgresFence(pool, LOOP),
        work=SignalWork(store, RecordedRuns(records_pool), sink.partition_count, clock, committed),
        sink=sink,
        metrics=metrics,
        monotonic=clock.monotonic,
        agenda=agenda,
    )
    group = "outlast.signal_delivery"
    loop.attach(KafkaSource(kafka, group, instance, FOLLOWED, loop, client_id=instance, alarm=metrics.alarm))
    directory = IdentityDirectory()
    reader = CompactedReader(
        kafka,
        (topics.IDENTITIES,),
        directory.apply,
        client_id=f"{instance}-identities",
        headed=(topics.IDENTITIES,),
    )
    services = Services(store, Keyring(directory), waiting, clock, poke, lambda: str(uuid.uuid4()))
    return App(
        tasks={
            "api": serve(services, settings, health, stop),
            "loop": run_loop(loop, "loop", health, stop, clock.monotonic),
            "pokes": poker.run(stop),
            "identities": read_identities(reader, directory, health, stop),
            "pruning": prune(store, clock, stop),
        },
        closers=[sink.close, poke_sink.close, records_pool.close, pool.close],
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


async def prune(store: SignalStore, clock: Clock, stop: Stop) -> None:
    """Forget, once an hour, signals that were closed a month ago."""
    while not await stop.wait(PRUNE_SECONDS):
        try:
            while await store.prune(clock.now() - timedelta(days=KEPT_DAYS)) == PRUNED_MAX:
                if await stop.wait(0.1):
                    return
        except TransientError as fault:
            log.warning("prune_postponed", error=str(fault))


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
