"""The engine's process with its database away: at its start it says so and stays, later it pauses and says nothing."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from confluent_kafka import Consumer, TopicPartition

from outlast.contracts import codec
from outlast.contracts.messages import EngineStatus
from outlast.contracts.topics import ENGINE_STATUS
from outlast.messaging.topics import ensure_topics

SECONDS_MAX = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


class Engine:
    """`python -m outlast_engine` behind a road."""

    def __init__(self, kafka: str, road: Road, folder: Path) -> None:
        self.instance = uuid.uuid4().hex[:8]
        self.port = free_port()
        self._log = folder / "engine.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "ENGINE_DATABASE_URL": road.dsn,
            "OUTLAST_INSTANCE": self.instance,
            "OUTLAST_HEALTH_PORT": str(self.port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "outlast_engine"], env=self._environment, stderr=log, stdout=log
            )

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def asked(self, path: str) -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""


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


@pytest.fixture
async def engine(kafka: str, postgres: str, tmp_path: Path) -> AsyncIterator[tuple[Engine, Road, Statuses]]:
    ensure_topics(kafka)
    road = Road(postgres)
    made = Engine(kafka, road, tmp_path)
    yield made, road, Statuses(kafka, made.instance)
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    await road.close()


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_database_that_is_away_at_the_start_is_said_and_waited_for(
    engine: tuple[Engine, Road, Statuses],
) -> None:
    process, road, statuses = engine
    process.start()
    await until(lambda: statuses.read() == ["down"])
    assert process.asked("/livez")[0] == 200
    code, body = process.asked("/readyz")
    assert (code, json.loads(body)["parts"]["database"]) == (503, False)
    assert json.loads(body)["durable_backend"].startswith("away: ")
    assert "outlast_engine_durable 0.0" in process.asked("/metrics")[1]
    await road.open()
    await until(lambda: statuses.read() == ["down", "up"])
    await until(lambda: process.asked("/readyz")[0] == 200)
    assert "outlast_engine_durable 1.0" in process.asked("/metrics")[1]


async def test_a_database_that_goes_away_later_is_not_said_and_ends_nothing(
    engine: tuple[Engine, Road, Statuses],
) -> None:
    process, road, statuses = engine
    await road.open()
    process.start()
    await until(lambda: process.asked("/readyz")[0] == 200)
    await until(lambda: statuses.read() == ["up"])
    await road.close()
    await until(lambda: process.asked("/readyz")[0] == 503)
    assert process.asked("/livez")[0] == 200
    await road.open()
    await until(lambda: process.asked("/readyz")[0] == 200)
    assert await asyncio.to_thread(process.end) == 0
    assert await asyncio.to_thread(statuses.read) == ["up"]


async def test_an_engine_that_is_told_to_stop_while_it_waits_for_its_database_ends_in_order(
    engine: tuple[Engine, Road, Statuses],
) -> None:
    process, _, statuses = engine
    process.start()
    await until(lambda: statuses.read() == ["down"])
    assert await asyncio.to_thread(process.end) == 0
