"""The platform's process: what it accepted reaches Kafka although it is killed, and keys come and go by a topic."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from outlast.contracts.codec import encode
from outlast.contracts.messages import Head, Identity
from outlast.contracts.topics import IDENTITIES, PLATFORM_EVENTS
from outlast.messaging.cloudevents import CloudEvent, parse
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing, Received
from outlast.messaging.topics import ensure_topics

SECONDS_MAX = 60.0
REPORT = Path(__file__).parents[2] / "samples" / "reports" / "trivy.json"
TOKEN = {"Authorization": "Bearer token-of-this-test"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`python -m outlast_platform`, started and killed at will."""

    def __init__(self, kafka: str, dsn: str, folder: Path) -> None:
        self.port, health = free_port(), free_port()
        self._log = folder / "platform.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "PLATFORM_DATABASE_URL": dsn,
            "OUTLAST_HTTP_PORT": str(self.port),
            "OUTLAST_HEALTH_PORT": str(health),
            "OUTLAST_SERVICE_TOKEN": "token-of-this-test",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_platform"], env=self._environment, stderr=log
            )

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)


@pytest.fixture
def kafka_with_topics(kafka: str) -> str:
    ensure_topics(kafka)
    return kafka


@pytest.fixture
async def platform(
    kafka_with_topics: str, postgres: str, tmp_path: Path
) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    process = Process(kafka_with_topics, postgres, tmp_path)
    process.start()
    base_url = f"http://127.0.0.1:{process.port}"
    async with httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as api:
        await until_up(api)
        yield process, api
    assert process.end(signal.SIGTERM) == 0


async def until_up(api: httpx.AsyncClient) -> None:
    async def is_up() -> bool:
        try:
            return (await api.get("/api/v1/companies", headers=TOKEN)).status_code == 200
        except httpx.TransportError:
            return False

    async with asyncio.timeout(SECONDS_MAX):
        while not await is_up():  # noqa: ASYNC110 another process has no event for us
            await asyncio.sleep(0.05)


def events_of(kafka: str, company: str, is_enough: Callable[[list[CloudEvent]], bool]) -> list[CloudEvent]:
    """The company's events on the topic from its beginning, until there are enough of them."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
    try:
        partitions = consumer.list_topics(PLATFORM_EVENTS, timeout=30).topics[PLATFORM_EVENTS].partitions
        consumer.assign([TopicPartition(PLATFORM_EVENTS, number, OFFSET_BEGINNING) for number in partitions])
        found: list[CloudEvent] = []
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            for message in consumer.consume(500, timeout=1.0):
                assert message.error() is None
                event = parse(
                    Received(
                        PLATFORM_EVENTS,
                        0,
                        0,
                        0,
                        message.key(),
                        message.value(),
                        tuple(message.headers() or ()),
                    )
                )
                if event.company_id == company:
                    found.append(event)
            if is_enough(found):
                return found
        raise AssertionError(f"expected more events, found {len(found)}")
    finally:
        consumer.close()


async def test_what_was_accepted_reaches_kafka_although_the_process_is_killed(
    platform: tuple[Process, httpx.AsyncClient], kafka: str
) -> None:
    process, api = platform
    company = f"c{uuid.uuid4().hex[:12]}"
    await api.put(f"/api/v1/companies/{company}", json={"name": company}, headers=TOKEN)
    created = 0
    for target in ("one", "two", "three"):
        answer = await api.post(
            "/api/v1/imports",
            content=REPORT.read_bytes(),
            params={"company": company, "target": target},
            headers=TOKEN,
        )
        assert answer.status_code == 200, answer.text
        created += answer.json()["created"]
        process.end(signal.SIGKILL)  # between the commit and the events, or while they are sent
        process.start()
        await until_up(api)
    expected = created + 3 + 3  # each finding, each asset, each scan

    def is_enough(events: list[CloudEvent]) -> bool:
        return len({event.id for event in events}) >= expected

    events = await asyncio.to_thread(events_of, kafka, company, is_enough)
    kinds = {event.id: event.type for event in events}
    counts = {kind: list(kinds.values()).count(kind) for kind in set(kinds.values())}
    assert counts == {"finding_created": created, "asset_created": 3, "scan_finished": 3}


async def test_a_key_that_is_published_works_and_a_revoked_one_ends(
    platform: tuple[Process, httpx.AsyncClient], kafka: str
) -> None:
    _, api = platform
    company, key = f"c{uuid.uuid4().hex[:12]}", f"olk_{uuid.uuid4().hex}"
    sink = KafkaSink(kafka, f"test-{company}")

    async def publish(revision: int, is_revoked: bool) -> None:
        identity = Identity(
            id=company,
            key_sha256=hashlib.sha256(key.encode()).hexdigest(),
            name="analyst",
            company_id=company,
            role="soc_analyst",
            is_revoked=is_revoked,
            revision=revision,
        )
        head = Outgoing(IDENTITIES, encode(Head(revision=revision, count=1)), b"head")
        sink.send([Outgoing(IDENTITIES, encode(identity), company.encode()), head])
        await sink.flush()

    async def until_status(status: int) -> httpx.Response:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                answer = await api.get("/api/v1/findings", headers={"Authorization": f"Bearer {key}"})
                if answer.status_code == status:
                    return answer
                await asyncio.sleep(0.05)

    try:
        await publish(1, is_revoked=False)
        assert (await until_status(200)).json() == {"items": [], "next": None}
        await publish(2, is_revoked=True)
        assert (await until_status(401)).json()["code"] == "unauthenticated"
    finally:
        await sink.close()
