"""The engine as a process of its own, killed at will, with what stands around it and its way to its database."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import Compared, EngineStatus, Message, Recorded
from outlast.contracts.topics import ENGINE_INBOX, ENGINE_STATUS, LIFECYCLE
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing

SECONDS_MAX = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EngineProcess:
    """`python -m outlast_engine`."""

    def __init__(
        self, kafka: str, dsn: str, folder: Path, more: Mapping[str, str] | None = None, instance: str = ""
    ) -> None:
        self.instance = instance or uuid.uuid4().hex[:8]
        self.port = free_port()
        self._log = folder / "engine.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "ENGINE_DATABASE_URL": dsn,
            "OUTLAST_INSTANCE": self.instance,
            "OUTLAST_HEALTH_PORT": str(self.port),
            **(more or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Not running before."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_engine"], env=self._environment, stderr=log, stdout=log
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def ensure_ended(self) -> None:
        """Whatever state the test left it in."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def asked(self, path: str) -> tuple[int, str]:
        """What its health server answers; 0 if it does not."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""


async def until(is_so: Callable[[], bool]) -> None:
    """Look again and again, beside the event loop, for a bounded time."""
    deadline = time.monotonic() + SECONDS_MAX
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


class Road:
    """The way to the database: a port that refuses until it is opened."""

    def __init__(self, dsn: str) -> None:
        self._to = urlsplit(dsn)
        self.port = free_port()
        credentials = self._to.netloc.rpartition("@")[0]
        self.dsn = urlunsplit(self._to._replace(netloc=f"{credentials}@127.0.0.1:{self.port}"))
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for each in self._pipes:
            each.close()
        self._pipes.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._pipes |= {writer, back}
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


class Statuses:
    """What `engine.status` holds about one instance."""

    def __init__(self, kafka: str, instance: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        self._consumer.assign([TopicPartition(ENGINE_STATUS, 0, 0)])
        self._key = f"engine-{instance}"
        self.said: list[str] = []

    def read(self) -> list[str]:
        for message in self._consumer.consume(100, 0.05):
            if message.error() is None and message.value() is not None:
                status = codec.compacted.decode(message.value())
                if isinstance(status, EngineStatus) and status.instance == self._key:
                    self.said.append(status.state)
        return self.said


class System:
    """What stands around the engine: everybody who sends to its inbox and reads its lifecycle messages."""

    def __init__(self, kafka: str) -> None:
        self._sink = KafkaSink(kafka, "test")
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        topics = self._consumer.list_topics(timeout=30).topics
        self._partitions = len(topics[ENGINE_INBOX].partitions)
        lanes = topics[LIFECYCLE].partitions
        self._consumer.assign([TopicPartition(LIFECYCLE, number, OFFSET_BEGINNING) for number in lanes])
        self._source = uuid.uuid4().hex
        self.ours: set[str] = set()
        self.said: list[Message] = []

    def execution(self, number: int) -> str:
        name = ids.execution_id(
            time.time_ns() // 1_000_000, self._partitions, "acme", self._source, str(number), "rb"
        )
        self.ours.add(name)
        return name

    async def send(self, *messages: Message) -> None:
        outgoing = []
        for each in messages:
            name = each.executions[0] if isinstance(each, Recorded) else each.execution_id  # type: ignore[attr-defined]
            outgoing.append(
                Outgoing(ENGINE_INBOX, codec.encode(each), name.encode(), ids.engine_partition(name))
            )
        self._sink.send(outgoing)
        await self._sink.flush()

    def read(self) -> list[Message]:
        for message in self._consumer.consume(1_000, 0.05):
            if message.error() is None and message.value() is not None:
                said = codec.lifecycle.decode(message.value())
                if said.execution_id in self.ours:
                    self.said.append(said)
        return self.said

    def compared(self) -> dict[str, Compared]:
        return {each.execution_id: each for each in self.read() if isinstance(each, Compared)}

    async def until(self, is_so: Callable[[], bool], *again: Message) -> None:
        """Look until it is so; what nobody has answered is sent again now and then."""
        deadline, sent = time.monotonic() + SECONDS_MAX, time.monotonic()
        while not await asyncio.to_thread(is_so):
            assert time.monotonic() < deadline, [type(each).__name__ for each in self.said[-5:]]
            if again and time.monotonic() > sent + 1:
                await self.send(*again)
                sent = time.monotonic()

    async def close(self) -> None:
        await self._sink.close()
        self._consumer.close()
