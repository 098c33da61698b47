"""Composition root: the only module that constructs clients."""

import asyncio
import contextlib
from functools import partial

from outlast.clock import SystemClock
from outlast.contracts.topics import GATE_DECISIONS, GATE_REQUESTS, TOPICS, dead_letters
from outlast.errors import OutlastError
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing, Received
from outlast.messaging.topics import TopicAdmin
from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast.runtime.metrics import LoopMetrics
from outlast.runtime.service import App, Stop
from outlast_gate import metrics
from outlast_gate.changelog import read_changelog
from outlast_gate.settings import GateSettings
from outlast_gate.stream import CHANGELOG, Stream, changelog
from outlast_gate.tables import Tables
from outlast_gate.watch import Watch
from outlast_gate.work import GateWork

RESTORE_STALLED_SECONDS = 10.0
"""No row of the tables read for so long: begin with empty ones."""

log = get_logger(__name__)


async def build(settings: GateSettings, health: Health, stop: Stop) -> App:
    """The gate: the stream with its table, and the watch over both."""
    health.ready("stream", False)
    clock = SystemClock()
    instance = settings.process.instance
    admin = TopicAdmin(settings.kafka, f"gate-{instance}")
    needed = [
        topic for topic in TOPICS if topic.name in {GATE_REQUESTS, GATE_DECISIONS, dead_letters("gate")}
    ]
    states = await asyncio.to_thread(admin.ensure, needed)
    lanes = states[GATE_REQUESTS].partitions
    await asyncio.to_thread(admin.ensure, [changelog(lanes)])
    sink = KafkaSink(settings.kafka, f"gate-{instance}")
    stream = Stream(settings.kafka, instance, lanes)
    tables = Tables(stream.table, stream.memory)
    work = GateWork(tables, sink, LoopMetrics("gate.requests"))
    watch = Watch(admin, stream, sink, lanes, clock.monotonic)

    async def handle(received: Received) -> None:
        await work.handle(received)
        watch.progress.done(received.partition, received.offset)

    def recovered(owned: set[int]) -> None:
        watch.progress.forget()
        rows = tables.reload(owned)
        metrics.LANES.set(len(owned))
        metrics.ROWS.set(rows)
        log.info("tables_restored", lanes=sorted(owned), rows=rows)

    def publish(lane: int, key: bytes, value: bytes | None) -> None:
        sink.send([Outgoing(CHANGELOG, value, key, lane)])

    async def restore(owned: set[int]) -> None:
        with contextlib.suppress(OutlastError):  # what is lost now is asked for again
            await sink.flush()
        read = partial(
            read_changelog, settings.kafka, CHANGELOG, owned, RESTORE_STALLED_SECONDS, clock.monotonic
        )
        found = await asyncio.to_thread(read)
        if not found.is_whole:
            log.error("tables_abandoned", lanes=sorted(owned))  # the dispatch knows the rest
        stream.restored(found.rows, found.next_offsets)

    stream.keep_table(publish, restore)
    stream.handle, stream.recovered = handle, recovered
    stream.on_ready = lambda is_ready: health.ready("stream", is_ready)
    health.is_alive = watch.is_alive
    return App(tasks={"stream": stream.run(stop), "watch": watch.run(stop)}, closers=[sink.close])
