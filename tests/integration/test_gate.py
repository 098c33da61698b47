"""The gate's process on a real broker: asked, killed, robbed of its tables, fed poison, and beside a second one."""

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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.guarding import Ask, GateDecision, GateRequest, Release, Slot, Verdict, Window
from outlast.contracts.topics import GATE_DECISIONS, GATE_REQUESTS, dead_letters
from outlast.errors import TransientError
from outlast.messaging.dead_letter import origin_of
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.member import to_received
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import TopicAdmin, ensure_topics

SECONDS_MAX = 60.0
RESTART_SECONDS_MAX = 5.0
CHANGELOG = "outlast.gate-shelves-changelog"

pytestmark = pytest.mark.xdist_group("gate")  # one group of consumers: one process of ours at a time


class Process:
    """`python -m outlast_gate`, started and killed at will."""

    def __init__(self, kafka: str, folder: Path, instance: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.log = folder / f"gate-{instance}.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "OUTLAST_HEALTH_PORT": str(self._port),
            "OUTLAST_INSTANCE": str(instance),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_gate"], env=self._environment, stderr=log, stdout=log
            )

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def status(self, path: str) -> int:
        """Of a page of its health server; 0 while it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            return 0

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


class Matcher:
    """What the matcher would send and receive."""

    def __init__(self, kafka: str) -> None:
        self._sink = KafkaSink(kafka, "test")
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        topics = self._consumer.list_topics(timeout=30).topics
        self.lanes = len(topics[GATE_REQUESTS].partitions)
        followed = [GATE_DECISIONS, dead_letters("gate")]
        admin = TopicAdmin(kafka)
        self._consumer.assign(
            [
                TopicPartition(name, number, end)
                for name in followed
                for number, end in admin.ends(name, topics[name].partitions).items()
            ]
        )
        self.company = f"acme-{uuid.uuid4().hex[:8]}"
        self.decisions: list[tuple[int, GateDecision]] = []
        """With the partition that they came on; of this test's company."""
        self.buried: list[tuple[bytes | None, str]] = []
        """Value and error."""

    def lane(self, runbook: str) -> int:
        return ids.lane(self.company, runbook, self.lanes)

    async def send(self, runbook: str, *asks: Ask, releases: tuple[Release, ...] = ()) -> None:
        lane = self.lane(runbook)
        request = GateRequest(
            company_id=self.company, runbook_id=runbook, lane=lane, asks=asks, releases=releases
        )
        key = f"{self.company}/{runbook}".encode()
        self._sink.send([Outgoing(GATE_REQUESTS, codec.encode(request), key, lane)])
        await self._sink.flush()

    async def send_bytes(self, value: bytes | None, lane: int) -> None:
        self._sink.send([Outgoing(GATE_REQUESTS, value, self.company.encode(), lane)])
        await self._sink.flush()

    def take(self) -> None:
        for message in self._consumer.consume(5000, timeout=0.05):
            assert message.error() is None
            received = to_received(message)
            if received.topic != GATE_DECISIONS:
                if received.key == self.company.encode():
                    self.buried.append((received.value, origin_of(received).error_class))
                continue
            decision = codec.gate.decode(received.value)
            if isinstance(decision, GateDecision) and decision.company_id == self.company:
                self.decisions.append((received.partition, decision))

    def verdicts(self, execution_id: str) -> list[Verdict]:
        return [
            each for _, decision in self.decisions for each in decision.verdicts if each.id == execution_id
        ]

    def word(self, execution_id: str) -> str:
        """The last one."""
        found = self.verdicts(execution_id)
        return (found[-1].reason or found[-1].verdict) if found else ""

    async def until(self, is_so: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not is_so():
            assert time.monotonic() < deadline, f"expected {what}; decisions: {self.decisions[-5:]}"
            self.take()
            await asyncio.sleep(0.01)

    async def until_said(self, execution_id: str, word: str) -> None:
        await self.until(lambda: self.word(execution_id) == word, f"{execution_id} to be {word}")

    async def close(self) -> None:
        await self._sink.close()
        self._consumer.close()


def slotted(name: str, key: str = "k") -> Ask:
    return Ask(id=name, at=datetime.now(UTC), slot=Slot(key=key))


def ready_matcher(kafka: str) -> Matcher:
    """Topics that were made this moment may have no leader for another one."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        try:
            return Matcher(kafka)
        except TransientError:
            assert time.monotonic() < deadline, "expected the topics to be served"


@pytest.fixture
async def matcher(kafka: str):
    await asyncio.to_thread(ensure_topics, kafka)
    made = await asyncio.to_thread(ready_matcher, kafka)
    yield made
    await made.close()


@pytest.fixture
def processes(kafka: str, tmp_path: Path) -> Iterator[list[Process]]:
    made = [Process(kafka, tmp_path, instance) for instance in range(2)]
    yield made
    for process in made:
        if process.is_running():
            process.end(signal.SIGKILL)


async def test_asks_are_answered_on_their_lane_and_the_same_ask_gets_the_same_answer(
    matcher: Matcher, processes: list[Process]
) -> None:
    gate = processes[0]
    gate.start()
    window = (Window(key="w", limit=1, seconds=60),)
    asks = [Ask(id=name, at=datetime.now(UTC), windows=window) for name in ("a", "b")]
    waits = [slotted("c"), slotted("d")]
    for _ in range(2):
        await matcher.send("rb", *asks, *waits)
    await matcher.until(lambda: len(matcher.verdicts("d")) == 2, "both requests to be answered")
    words = {name: [each.reason or each.verdict for each in matcher.verdicts(name)] for name in "abcd"}
    assert words == {
        "a": ["admitted"] * 2,
        "b": ["throttled"] * 2,
        "c": ["admitted"] * 2,
        "d": ["queued"] * 2,
    }
    assert {partition for partition, _ in matcher.decisions} == {matcher.lane("rb")}
    assert {decision.lane for _, decision in matcher.decisions} == {matcher.lane("rb")}
    await matcher.send("rb", releases=(Release(id="c", key="k"),))
    await matcher.until_said("d", "admitted")
    assert (gate.status("/readyz"), gate.status("/livez")) == (200, 200)
    assert gate.metric("outlast_gate_asks_total") >= 8
    assert gate.end(signal.SIGTERM) == 0


async def test_killed_it_goes_on_with_its_tables_within_five_seconds(
    matcher: Matcher, processes: list[Process]
) -> None:
    gate = processes[0]
    gate.start()
    runbooks = [f"rb{number}" for number in range(8)]
    for runbook in runbooks:
        await matcher.send(runbook, *(slotted(f"{runbook}-{number}") for number in range(100)))
    await matcher.until(
        lambda: all(matcher.word(f"{each}-99") == "queued" for each in runbooks), "all to wait"
    )
    for number in range(3):
        gate.end(signal.SIGKILL)
        began = time.monotonic()
        gate.start()
        for runbook in runbooks:
            await matcher.send(runbook, releases=(Release(id=f"{runbook}-{number}", key="k"),))
        next_ones = [f"{runbook}-{number + 1}" for runbook in runbooks]
        await matcher.until(lambda each=next_ones: any(map(matcher.verdicts, each)) and any(
            matcher.word(one) == "admitted" for one in each), "progress")  # fmt: skip
        seconds = time.monotonic() - began
        print(f"restart to first answer: {seconds:.1f} s")
        for one in next_ones:
            await matcher.until_said(one, "admitted")
        assert seconds <= RESTART_SECONDS_MAX * (3 if _is_busy() else 1)


def _is_busy() -> bool:
    """Others have more to do here than there are processors: the clock then says nothing of us."""
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


async def test_with_its_changelog_deleted_it_comes_up_empty_and_goes_on(
    matcher: Matcher, processes: list[Process], kafka: str
) -> None:
    gate = processes[0]
    gate.start()
    await matcher.send("rb", slotted("a"), slotted("b"))
    await matcher.until_said("b", "queued")
    assert gate.end(signal.SIGTERM) == 0  # its offsets are committed: nothing is read again
    await asyncio.to_thread(TopicAdmin(kafka).delete, [CHANGELOG])
    gate.start()
    await matcher.send("rb", slotted("c"))
    await matcher.until_said("c", "admitted")
    await matcher.send("rb", slotted("d"))
    await matcher.until_said("d", "queued")


async def test_a_changelog_that_ends_without_a_row_does_not_hold_it_up(
    matcher: Matcher, processes: list[Process], kafka: str
) -> None:
    gate = processes[0]
    gate.start()
    await matcher.send("rb", slotted("a"), slotted("b"))
    await matcher.until_said("b", "queued")
    assert gate.end(signal.SIGTERM) == 0
    await asyncio.to_thread(end_with_a_marker, kafka, matcher.lanes)
    gate.start()
    await matcher.send("rb", releases=(Release(id="a", key="k"),))
    await matcher.until_said("b", "admitted")


def end_with_a_marker(kafka: str, lanes: int) -> None:
    """The last offset of each partition is a transaction's marker, which no consumer is ever given."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    for lane in range(lanes):
        producer.produce(CHANGELOG, key=b"[]", value=b"[]", partition=lane)
    producer.commit_transaction(30)


async def test_a_request_that_nobody_can_read_is_a_dead_letter_and_the_lane_goes_on(
    matcher: Matcher, processes: list[Process]
) -> None:
    gate = processes[0]
    gate.start()
    lane = matcher.lane("rb")
    decision = GateDecision(company_id="x", runbook_id="rb", lane=lane, verdicts=())
    poison = [b"not json", None, b'{"type":"gate_request.v1","company_id":7}', codec.encode(decision)]
    for value in poison:
        await matcher.send_bytes(value, lane)
    await matcher.send("rb", slotted("a"))
    await matcher.until_said("a", "admitted")
    await matcher.until(lambda: len(matcher.buried) == len(poison), "the dead letters")
    assert [value for value, _ in matcher.buried if value] == [each for each in poison if each]
    assert {error for _, error in matcher.buried} == {"ContractError"}


async def test_two_instances_share_the_lanes_and_the_survivor_has_the_others_tables(
    matcher: Matcher, processes: list[Process]
) -> None:
    one, two = processes
    one.start()
    await matcher.until(
        lambda: one.metric("outlast_gate_lanes") == matcher.lanes, "the first to have all lanes"
    )
    two.start()
    await matcher.until(
        lambda: (
            (one.metric("outlast_gate_lanes"), two.metric("outlast_gate_lanes"))
            == (matcher.lanes / 2, matcher.lanes / 2)
        ),
        "each to have half of the lanes",
    )
    runbooks = [f"rb{number}" for number in range(4 * matcher.lanes)]
    for runbook in runbooks:
        await matcher.send(runbook, slotted(f"{runbook}-a"), slotted(f"{runbook}-b"))
    await matcher.until(
        lambda: all(matcher.word(f"{each}-b") == "queued" for each in runbooks), "all answers"
    )
    assert one.metric("outlast_gate_asks_total") > 0
    assert two.metric("outlast_gate_asks_total") > 0
    two.end(signal.SIGKILL)
    for runbook in runbooks:
        await matcher.send(runbook, releases=(Release(id=f"{runbook}-a", key="k"),))
    await matcher.until(
        lambda: all(matcher.word(f"{each}-b") == "admitted" for each in runbooks), "all to go on"
    )
