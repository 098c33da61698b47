"""The stream processor around the decision: Faust, one agent, one table. All that knows Faust is here.

What it is told, and why: no exactly_once (it is broken), no web server (ours says more), no topics of its own (they
exist before it starts), a static member (a restarted instance is back in its group at once), the table in memory: it is
small, a changelog restores it in a moment, and a database on disk would be one more thing that can be wrong with it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.types import EventT

from outlast.contracts.topics import GATE_REQUESTS, Topic
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger
from outlast.runtime.service import Stop
from outlast_gate.recovery import Publish, PublishedTable, Restore, RestoringTableManager

GROUP = "outlast.gate"
TABLE = "shelves"
CHANGELOG = f"{GROUP}-{TABLE}-changelog"
STOP_SECONDS_MAX = 10.0
CRASH_POLL_SECONDS = 0.25

Handle = Callable[[Received], Awaitable[None]]
Recovered = Callable[[set[int]], None]

log = get_logger(__name__)


def changelog(lanes: int) -> Topic:
    """The changelog of the table: as many partitions as there are lanes, in small segments, since only closed ones are
    compacted and all that is there is read at a start.
    """
    small = {"segment.bytes": str(8 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.1"}
    return Topic(CHANGELOG, "gate", partitions=lanes, is_compacted=True, extra=small)


class _App(faust.App):
    """Faust, without the folder that it would make where it is started: that may be read-only, and nothing is in it."""

    def _create_directories(self) -> None:
        pass


class Stream:
    """The running Faust app. Give it `handle` and `recovered` before it runs."""

    def __init__(self, kafka: str, instance: str, lanes: int) -> None:
        _forward_logs()
        self._app = _App(
            GROUP,
            broker=[f"kafka://{each.strip()}" for each in kafka.split(",")],
            processing_guarantee="at_least_once",
            store="memory://",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            canonical_url=f"http://gate-{instance}",
            broker_client_id=f"gate-{instance}",
            consumer_group_instance_id=f"gate-{instance}",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=1.0,
            stream_recovery_delay=0.0,
            Table=PublishedTable,
            TableManager=RestoringTableManager,
            stream_buffer_maxsize=256,
            key_serializer="raw",
            value_serializer="raw",
        )
        self.handle: Handle = _nobody
        self.recovered: Recovered = _nothing
        self.on_ready: Callable[[bool], None] = _nothing_more
        self._is_ready = False
        requests = self._app.topic(GATE_REQUESTS, key_type=bytes, value_type=bytes)
        self.table: Any = self._app.Table(TABLE, partitions=lanes, key_type=bytes, value_type=bytes)
        self.table.restored_to = {}
        self.table.on_recover(self._on_recover)
        self._app.agent(requests, concurrency=1, name="gate")(self._decide)
        self._app.on_partitions_revoked.connect(self._on_revoked)

    @property
    def is_ready(self) -> bool:
        """Whether the tables are restored and the lanes dealt."""
        return self._is_ready

    @property
    def memory(self) -> dict[bytes, bytes]:
        """What the table holds here."""
        return self.table.data.data

    def keep_table(self, publish: Publish, restore: Restore) -> None:
        """Where changes of the table go, and how it is restored."""
        tables: Any = self._app.tables
        self.table.publish, tables.restore = publish, restore

    def restored(self, rows: dict[bytes, bytes], next_offsets: dict[int, int]) -> None:
        """These rows are the table now: the library has nothing to read below these offsets."""
        self.memory.clear()
        self.memory.update(rows)
        self.table.restored_to = {each: end - 1 for each, end in next_offsets.items() if end > 0}

    @property
    def lanes(self) -> set[int]:
        """The lanes of this instance."""
        return {each.partition for each in self._app.consumer.assignment() if each.topic == GATE_REQUESTS}

    async def run(self, stop: Stop) -> None:
        """Until the stop. Raises when the app has crashed."""
        self._app.finalize()
        starting = asyncio.ensure_future(self._app.start())  # returns when the table is restored
        try:
            while not await stop.wait(CRASH_POLL_SECONDS):
                if starting.done() and starting.exception() is not None:
                    raise RuntimeError("expected the stream processor to start") from starting.exception()
                if self._app.crashed:
                    raise RuntimeError("expected the stream processor to run on") from self._app.crash_reason
        finally:
            self._ready(False)
            starting.cancel()
            await self._end()

    async def _end(self) -> None:
        try:
            await asyncio.wait_for(self._app.stop(), STOP_SECONDS_MAX)
        except Exception as fault:  # noqa: BLE001 the process ends; what was not committed is read again
            log.warning("stream_did_not_stop", error=f"{type(fault).__name__}: {fault}")

    async def _decide(self, stream: Any) -> None:
        event: EventT[bytes]
        async for event in stream.events():
            await self.handle(_received(event.message))

    async def _on_recover(self) -> None:
        self.recovered(self.lanes)
        self._ready(True)

    async def _on_revoked(self, *_: object, **__: object) -> None:
        self._ready(False)

    def _ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready
        self.on_ready(is_ready)


def _received(message: Any) -> Received:
    timestamp_ms = round((message.timestamp or 0.0) * 1000)
    headers = tuple((name, value or b"") for name, value in message.headers or ())
    return Received(
        message.topic, message.partition, message.offset, timestamp_ms, message.key, message.value, headers
    )


async def _nobody(received: Received) -> None:
    raise NotImplementedError("give the stream its `handle`")


def _nothing(lanes: set[int]) -> None:
    """Nobody wants to know."""


def _nothing_more(is_ready: bool) -> None:
    """Nobody wants to know."""


class _Forward(logging.Handler):
    """The library's warnings as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        getattr(log, level)(
            "stream_processor_said", logger=record.name, text=record.getMessage()[:2_000],
            error=f"{type(error).__name__}: {error}" if error else None,
        )  # fmt: skip


def _forward_logs() -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Forward(logging.WARNING)]
    root.setLevel(logging.WARNING)
