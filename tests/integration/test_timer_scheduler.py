"""The timer scheduler's process on a real broker and database: on time, and killed at any moment."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import CancelTimer, Message, StartTimer, TimerDue
from outlast.contracts.topics import ENGINE_INBOX, TIMER_COMMANDS
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import ensure_topics

SECONDS_MAX = 60.0
WAITING = "select count(*) from timers.timers where execution_id = any($1::uuid[])"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Process:
    """`python -m outlast_timer_scheduler`, started and killed at will."""

    def __init__(self, kafka: str, dsn: str, folder: Path, instance: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = folder / f"timer_scheduler-{instance}.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "TIMER_SCHEDULER_DATABASE_URL": dsn,
            "OUTLAST_HEALTH_PORT": str(self._port),
            "OUTLAST_INSTANCE": str(instance),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_timer_scheduler"],
                env=self._environment,
                stderr=log,
                stdout=log,
            )

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 while it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            contextlib.suppress(OSError),
            opener.open(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer,
        ):
            lines = answer.read().decode().splitlines()
            return sum(
                float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} "))
            )
        return 0.0


class Engine:
    """What the engine would send and receive."""

    def __init__(self, kafka: str) -> None:
        self._sink = KafkaSink(kafka, "test")
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        partitions = self._consumer.list_topics(ENGINE_INBOX, timeout=30).topics[ENGINE_INBOX].partitions
        self._partitions = len(partitions)
        self._consumer.assign(
            [TopicPartition(ENGINE_INBOX, number, OFFSET_BEGINNING) for number in partitions]
        )
        self._source = uuid.uuid4().hex
        self.received: list[tuple[TimerDue, int, datetime, dict[str, bytes]]] = []
        """With partition, the broker's time, and headers; of this test's executions."""
        self.ours: set[str] = set()

    def execution(self, number: int) -> str:
        name = ids.execution_id(
            time.time_ns() // 1_000_000, self._partitions, "acme", self._source, str(number), "rb"
        )
        self.ours.add(name)
        return name

    async def send(self, *commands: Message) -> None:
        self._sink.send([
            Outgoing(TIMER_COMMANDS, codec.encode(each), each.execution_id.encode(), None,  # type: ignore[attr-defined]
                     (("traceparent", TRACE.encode()),))
            for each in commands
        ])  # fmt: skip
        await self._sink.flush()

    async def start_timers(self, count: int, fire_at: datetime, name: str = "t") -> list[StartTimer]:
        started = [
            StartTimer(execution_id=self.execution(number), timer_id=name, fire_at=fire_at)
            for number in range(count)
        ]
        await self.send(*started)
        return started

    def take(self) -> None:
        for message in self._consumer.consume(5000, timeout=0.05):
            assert message.error() is None
            value = message.value()
            if value is None or b"timer_due" not in value:
                continue
            due = codec.inbox.decode(value)
            if isinstance(due, TimerDue) and due.execution_id in self.ours:
                _, at_ms = message.timestamp()
                at = datetime.fromtimestamp(at_ms / 1000, UTC)
                self.received.append((due, message.partition(), at, dict(message.headers() or ())))

    def fired(self) -> Counter[tuple[str, str]]:
        return Counter((due.execution_id, due.timer_id) for due, _, _, _ in self.received)

    async def until_fired(self, count: int) -> None:
        """So many different timers."""
        await until(lambda: (self.take(), len(self.fired()) >= count)[1], f"{count} timers")

    async def close(self) -> None:
        await self._sink.close()
        self._consumer.close()


async def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, f"expected {what}"
        await asyncio.sleep(0.02)


async def until_stored(dsn: str, ours: Collection[str], count: int) -> None:
    """So many of our timers wait; the topic has those of other tests, too."""
    connection = await asyncpg.connect(dsn)
    deadline = time.monotonic() + SECONDS_MAX
    try:
        while True:
            with contextlib.suppress(asyncpg.UndefinedTableError):
                if await connection.fetchval(WAITING, list(ours)) == count:
                    return
            assert time.monotonic() < deadline, f"expected {count} timers to be stored"
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
async def engine(kafka: str):
    await asyncio.to_thread(ensure_topics, kafka)
    made = Engine(kafka)
    yield made
    await made.close()


@pytest.fixture
def processes(kafka: str, postgres: str, tmp_path: Path) -> Iterator[list[Process]]:
    made = [Process(kafka, postgres, tmp_path, instance) for instance in range(2)]
    yield made
    for process in made:
        if process.is_running():
            process.end(signal.SIGKILL)


async def test_a_timer_fires_at_its_instant_and_a_cancelled_one_does_not(
    engine: Engine, processes: list[Process], postgres: str
) -> None:
    process = processes[0]
    process.start()
    (past,) = await engine.start_timers(1, soon(-3600), "past")
    await engine.until_fired(1)
    fire_at = soon(3)
    kept, cancelled = await engine.start_timers(2, fire_at)
    await engine.send(CancelTimer(execution_id=cancelled.execution_id, timer_id=cancelled.timer_id))
    await engine.until_fired(2)
    await until_stored(postgres, engine.ours, 0)
    assert set(engine.fired()) == {(kept.execution_id, "t"), (past.execution_id, "past")}
    due, partition, at, headers = next(each for each in engine.received if each[0].timer_id == "t")
    assert due == TimerDue(execution_id=kept.execution_id, timer_id="t", fire_at=fire_at)
    assert partition == ids.engine_partition(kept.execution_id)
    assert headers["traceparent"] == TRACE.encode()
    assert at >= fire_at - timedelta(milliseconds=1)  # the broker's time has no microseconds
    assert process.end(signal.SIGTERM) == 0


async def test_timers_of_a_killed_process_fire_when_it_is_back(
    engine: Engine, processes: list[Process], postgres: str
) -> None:
    process = processes[0]
    process.start()
    await engine.start_timers(50, soon(3600), "later")
    await until_stored(postgres, engine.ours, 50)
    fire_at = soon(2)
    await engine.start_timers(50, fire_at)
    await until_stored(postgres, engine.ours, 100)
    process.end(signal.SIGKILL)
    await until(lambda: datetime.now(UTC) > fire_at, "the time to pass")
    process.start()
    await engine.until_fired(50)
    await until_stored(postgres, engine.ours, 50)
    assert {timer for _, timer in engine.fired()} == {"t"}


async def test_killed_in_the_middle_of_a_herd_all_of_it_fires(
    engine: Engine, processes: list[Process], postgres: str
) -> None:
    process = processes[0]
    herd = await engine.start_timers(20_000, soon(-1))
    process.start()
    await engine.until_fired(1_000)
    process.end(signal.SIGKILL)
    process.start()
    await engine.until_fired(len(herd))
    await until_stored(postgres, engine.ours, 0)
    assert set(engine.fired()) == {(each.execution_id, each.timer_id) for each in herd}
    assert max(engine.fired().values()) <= 2


async def test_two_instances_share_the_timers_and_the_survivor_takes_over(
    engine: Engine, processes: list[Process], postgres: str
) -> None:
    one, two = processes
    one.start()
    await engine.start_timers(1, soon(-1), "first")
    await engine.until_fired(1)
    two.start()
    await until(lambda: two.metric("outlast_partitions_acquired_total") > 0, "the second to have partitions")
    await engine.start_timers(200, soon(1), "shared")
    await engine.until_fired(201)
    # counted when it is stored, which is after it was said
    await until(lambda: one.metric("outlast_timers_fired_total") > 1, "the first to have fired its share")
    await until(lambda: two.metric("outlast_timers_fired_total") > 0, "the second to have fired its share")
    await engine.start_timers(200, soon(3), "inherited")
    await until_stored(postgres, engine.ours, 200)
    two.end(signal.SIGKILL)
    await engine.until_fired(401)
    await until_stored(postgres, engine.ours, 0)
