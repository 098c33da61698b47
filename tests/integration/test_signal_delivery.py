"""Signal delivery's process on a real broker and database: what was accepted arrives, whoever is killed."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from msgspec import Raw

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    DeliverSignal,
    Head,
    Identity,
    Message,
    SignalRequest,
    SignalVerdict,
    Subscribe,
    Unsubscribe,
)
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing, Received
from outlast.messaging.topics import ensure_topics

SECONDS_MAX = 60.0
PATH = "/api/v1/signals"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`python -m outlast_signal_delivery`, started and killed at will."""

    def __init__(self, kafka: str, dsn: str, folder: Path, instance: int = 0) -> None:
        self.port = free_port()
        self._log = folder / f"signal_delivery-{instance}.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SIGNAL_DELIVERY_DATABASE_URL": dsn,
            "OUTLAST_HTTP_PORT": str(self.port),
            "OUTLAST_HEALTH_PORT": str(free_port()),
            "OUTLAST_INSTANCE": str(instance),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.api = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=40, trust_env=False)

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "outlast_signal_delivery"]
            self._process = subprocess.Popen(command, env=self._environment, stderr=log)

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    async def until_up(self, key: str) -> None:
        async def is_up() -> bool:
            try:
                answer = await self.api.get(f"{PATH}/none", headers=bearer(key))
            except httpx.TransportError:
                return False
            return answer.status_code == 404

        await until(is_up)


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not await is_so():  # noqa: ASYNC110 another process has no event for us
            await asyncio.sleep(0.05)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Outside:
    """The engine and the control plane, as signal delivery meets them on the broker."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._sink = KafkaSink(kafka, f"test-{uuid.uuid4().hex[:8]}")
        self.company = f"c{uuid.uuid4().hex[:12]}"
        self._revision = int(time.time() * 1_000)

    def execution(self, number: int) -> str:
        """A run of ours."""
        return ids.execution_id(1_767_571_200_000, 4, self.company, "test", str(number), "rb")

    async def send(self, topic: str, message: Message | bytes, key: str) -> None:
        value = message if isinstance(message, bytes) else codec.encode(message)
        self._sink.send([Outgoing(topic, value, key.encode())])
        await self._sink.flush()

    async def identity(
        self, role: str, company: str | None = None, scopes: tuple[str, ...] = (), revoke: str = ""
    ) -> str:
        """Publish a key, or that it is revoked."""
        key = revoke or f"olk_{uuid.uuid4().hex}"
        self._revision += 1
        digest = hashlib.sha256(key.encode()).hexdigest()
        message = Identity(
            id=f"id-{digest[:12]}", key_sha256=digest, name=role, company_id=company or self.company, role=role,
            scopes=scopes, is_revoked=bool(revoke), revision=self._revision,
        )  # fmt: skip
        await self.send(topics.IDENTITIES, message, message.id)
        await self.send(topics.IDENTITIES, Head(revision=self._revision, count=1), "head")
        return key

    async def answer(self, signal_id: str, run: str, verdict: str) -> None:
        """What the engine says of a signal."""
        message = SignalVerdict(
            signal_id=signal_id, execution_id=run, company_id=self.company, verdict=verdict
        )
        await self.send(topics.VERDICTS, message, signal_id)

    async def wait(self, run: str, key: str, started: datetime) -> None:
        """A run comes to wait."""
        message = Subscribe(
            execution_id=run, activity_id="a", company_id=self.company, signal="approved", key=key, started_at=started
        )  # fmt: skip
        await self.send(topics.SUBSCRIPTIONS, message, f"{self.company}/approved/{key}")

    async def leave(self, run: str, key: str) -> None:
        """A run waits no more."""
        message = Unsubscribe(
            execution_id=run, activity_id="a", company_id=self.company, signal="approved", key=key
        )
        await self.send(topics.SUBSCRIPTIONS, message, f"{self.company}/approved/{key}")

    async def delivered(self, is_enough: Callable[[list[DeliverSignal]], bool]) -> list[DeliverSignal]:
        """What came to the engine for this company, until it is enough. Each in the partition of its run."""

        def read(received: Received) -> DeliverSignal | None:
            message = codec.inbox.decode(received.value)
            if not isinstance(message, DeliverSignal) or message.company_id != self.company:
                return None
            assert received.partition == ids.engine_partition(message.execution_id)
            return message

        return await asyncio.to_thread(self._read, topics.ENGINE_INBOX, read, is_enough)

    async def dead(self, is_enough: Callable[[list[bytes]], bool]) -> list[bytes]:
        """What was laid aside."""
        topic = topics.dead_letters("signal_delivery")
        return await asyncio.to_thread(self._read, topic, lambda received: received.value, is_enough)

    def _read(
        self, topic: str, read: Callable[[Received], Any], is_enough: Callable[[list[Any]], bool]
    ) -> list[Any]:
        consumer = Consumer({"bootstrap.servers": self._kafka, "group.id": uuid.uuid4().hex})
        try:
            partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
            found: list[Any] = []
            deadline = time.monotonic() + SECONDS_MAX
            while time.monotonic() < deadline:
                for message in consumer.consume(500, timeout=0.3):
                    assert message.error() is None
                    partition, offset = message.partition(), message.offset()
                    assert partition is not None
                    assert offset is not None
                    each = read(Received(topic, partition, offset, 0, message.key(), message.value()))
                    found += [] if each is None else [each]
                if is_enough(found):
                    return found
            raise AssertionError(f"expected more on {topic}, found {found}")
        finally:
            consumer.close()

    async def close(self) -> None:
        await self._sink.close()


@pytest.fixture
async def outside(kafka: str) -> AsyncIterator[Outside]:
    ensure_topics(kafka)
    made = Outside(kafka)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def database(module_postgres: str) -> str:
    """The rows of this service, and the view of the finalizer that it reads."""
    pool = await connect_pool(module_postgres, "records", 1)
    await migrate(pool, "records", migration_files("outlast_finalizer"))
    await pool.close()
    return module_postgres


@pytest.fixture(scope="module")
async def process(
    kafka: str, database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Process]:
    ensure_topics(kafka)
    made = Process(kafka, database, tmp_path_factory.mktemp("signal_delivery"))
    made.start()
    yield made
    await made.api.aclose()
    assert made.end(signal.SIGTERM) == 0


@pytest.fixture
async def analyst(process: Process, outside: Outside) -> str:
    key = await outside.identity("soc_analyst")
    await process.until_up(key)
    return key


async def post(process: Process, key: str, body: Mapping[str, object], **query: str) -> httpx.Response:
    return await process.api.post(PATH, json=body, headers=bearer(key), params=query)


async def status_of(process: Process, key: str, signal_id: str) -> tuple[str, list[str | None]]:
    shown = (await process.api.get(f"{PATH}/{signal_id}", headers=bearer(key))).json()
    return shown["status"], [each["verdict"] for each in shown["deliveries"]]


def name() -> str:
    return uuid.uuid4().hex


async def test_a_signal_reaches_its_run_and_its_sender_waits_for_the_verdict(
    process: Process, outside: Outside, analyst: str
) -> None:
    run, signal_id = outside.execution(1), name()
    body = {"name": "approved", "execution_id": run, "id": signal_id, "payload": {"by": "eve"}}
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(post(process, analyst, body, wait="30s"))
        (sent, *_) = await outside.delivered(bool)
        assert (sent.signal_id, sent.execution_id, bytes(sent.payload)) == (signal_id, run, b'{"by":"eve"}')
        await outside.answer(signal_id, run, "early")
    assert (asking.result().status_code, asking.result().json()["status"]) == (200, "delivered")
    await outside.answer(signal_id, run, "consumed")

    async def is_consumed() -> bool:
        return await status_of(process, analyst, signal_id) == ("delivered", ["consumed"])

    await until(is_consumed)


async def test_what_was_accepted_arrives_although_the_process_is_killed(
    process: Process, outside: Outside, analyst: str
) -> None:
    accepted: set[str] = set()
    for number in range(4):
        signal_ids = [name() for _ in range(5)]
        answers = await asyncio.gather(
            *(
                post(
                    process,
                    analyst,
                    {"name": "approved", "execution_id": outside.execution(number), "id": each},
                )
                for each in signal_ids
            )
        )
        assert {answer.status_code for answer in answers} == {202}
        process.end(signal.SIGKILL)  # before the poke, while it is taken, or after it was sent
        accepted |= set(signal_ids)
        process.start()
        await process.until_up(analyst)
    found = await outside.delivered(lambda all_: {each.signal_id for each in all_} >= accepted)
    for each in found:
        await outside.answer(each.signal_id, each.execution_id, "consumed")

    async def are_all_delivered() -> bool:
        states = [await status_of(process, analyst, each) for each in accepted]
        return states == [("delivered", ["consumed"])] * len(accepted)

    await until(are_all_delivered)


async def test_without_an_answer_it_is_sent_again_also_after_a_kill(
    process: Process, outside: Outside, analyst: str
) -> None:
    run, signal_id = outside.execution(1), name()
    await post(process, analyst, {"name": "approved", "execution_id": run, "id": signal_id})
    first = len(await outside.delivered(bool))
    process.end(signal.SIGKILL)
    process.start()
    await process.until_up(analyst)
    await outside.delivered(lambda all_: len(all_) > first)


async def test_one_id_is_one_signal_however_often_and_at_once_it_is_sent(
    process: Process, outside: Outside, analyst: str
) -> None:
    run, signal_id = outside.execution(1), name()
    body = {"name": "approved", "execution_id": run, "id": signal_id}
    answers = await asyncio.gather(*(post(process, analyst, body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    other = await post(process, analyst, body | {"payload": 1})
    assert (other.status_code, other.json()["code"]) == (409, "signal_id_taken")
    found = await outside.delivered(bool)
    assert {(each.signal_id, each.execution_id) for each in found} == {(signal_id, run)}


async def test_a_key_reaches_runs_that_wait_and_runs_that_come_to_wait(
    process: Process, outside: Outside, analyst: str
) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    waits, left, late, young = (outside.execution(number) for number in range(4))
    await outside.wait(left, "F-1", long_ago)
    await outside.leave(left, "F-1")
    await outside.wait(waits, "F-1", long_ago)  # after those before it, in one partition
    signal_id = name()

    async def has_the_last() -> bool:
        probe = await post(process, analyst, {"name": "approved", "key": "F-1", "id": signal_id + "-probe"})
        return waits in {each["execution_id"] for each in probe.json()["deliveries"]}

    await until(has_the_last)
    answer = await post(process, analyst, {"name": "approved", "key": "F-1", "id": signal_id})
    assert [each["execution_id"] for each in answer.json()["deliveries"]] == [waits]
    await outside.wait(young, "F-1", datetime.now(UTC) + timedelta(hours=1))
    await outside.wait(late, "F-1", long_ago)

    def is_enough(all_: list[DeliverSignal]) -> bool:
        return {each.execution_id for each in all_ if each.signal_id == signal_id} >= {waits, late}

    found = await outside.delivered(is_enough)
    assert {each.execution_id for each in found if each.signal_id == signal_id} == {waits, late}


async def test_an_unknown_run_is_final_unless_it_has_a_record_and_is_not_over(
    process: Process, outside: Outside, analyst: str, database: str
) -> None:
    unborn, recorded, over = outside.execution(1), outside.execution(2), outside.execution(3)
    pool = await connect_pool(database, "records", 1)
    await pool.executemany(
        "insert into runs (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256,"
        " mode, status, rank, seq, event_source, event_id, event_type, event_time, lane, finished_at)"
        " values ($1, $2, 'r', 'r', 1, '0', 'workflow', $3, 0, 1, 's', 'e', 'finding_created', now(), 0, $4)",
        [(recorded, outside.company, "queued", None), (over, outside.company, "success", datetime.now(UTC))],
    )
    await pool.close()
    names = {run: name() for run in (unborn, recorded, over)}
    for run, signal_id in names.items():
        await post(process, analyst, {"name": "approved", "execution_id": run, "id": signal_id})
        await outside.answer(signal_id, run, "unknown")

    async def is_told() -> bool:
        told = [await status_of(process, analyst, names[run]) for run in (unborn, over)]
        return told == [("undeliverable", ["unknown"])] * 2

    await until(is_told)
    await outside.delivered(lambda all_: [each.execution_id for each in all_].count(recorded) >= 3)
    assert await status_of(process, analyst, names[recorded]) == ("pending", [None])
    await outside.answer(names[recorded], recorded, "consumed")

    async def is_delivered() -> bool:
        return (await status_of(process, analyst, names[recorded]))[0] == "delivered"

    await until(is_delivered)


async def test_services_of_ours_send_through_the_topic_and_a_bad_message_stops_nobody(
    process: Process, outside: Outside, analyst: str
) -> None:
    good, bad = name(), name()
    now = datetime.now(UTC)
    request = SignalRequest(
        signal_id=good, company_id=outside.company, name="approved", execution_id=outside.execution(1),
        payload=Raw(b"1"), sent_by="gate", sent_at=now, expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    await outside.send(topics.SIGNALS, b'{"type":"signal_request.v1","signal_id":"%s"}' % bad.encode(), good)
    await outside.send(topics.SIGNALS, request, good)
    (sent, *_) = await outside.delivered(bool)
    assert (sent.signal_id, sent.sent_by) == (good, "gate")
    await outside.dead(lambda all_: any(bad.encode() in each for each in all_))
    assert (await status_of(process, analyst, good))[0] == "pending"


async def test_another_company_sees_and_changes_nothing(
    process: Process, outside: Outside, analyst: str
) -> None:
    run, signal_id = outside.execution(1), name()
    await post(process, analyst, {"name": "approved", "execution_id": run, "id": signal_id})
    stranger = await outside.identity("security_engineer", company=f"{outside.company}x")
    await process.until_up(stranger)
    seen = await process.api.get(f"{PATH}/{signal_id}", headers=bearer(stranger))
    never = await process.api.get(f"{PATH}/{name()}", headers=bearer(stranger))
    assert (seen.status_code, seen.content) == (404, never.content)
    query = {"company": outside.company}
    named = await process.api.get(f"{PATH}/{signal_id}", headers=bearer(stranger), params=query)
    posted = await post(process, stranger, {"name": "approved", "execution_id": run}, **query)
    assert (named.status_code, posted.status_code) == (404, 404)
    own = await post(process, stranger, {"name": "approved", "execution_id": run, "id": signal_id})
    assert (own.status_code, own.json()["sent_by"]) == (202, "security_engineer")
    assert (await process.api.get(f"{PATH}/{signal_id}", headers=bearer(analyst))).json()[
        "sent_by"
    ] == "soc_analyst"


async def test_a_revoked_key_ends(process: Process, outside: Outside) -> None:
    key = await outside.identity("service", scopes=("send_signal:approved",))
    await process.until_up(key)
    body = {"name": "approved", "execution_id": outside.execution(1)}
    assert (await post(process, key, body)).status_code == 202
    assert (await post(process, key, body | {"name": "denied"})).status_code == 403
    await outside.identity("service", revoke=key)

    async def is_refused() -> bool:
        return (await post(process, key, body)).status_code == 401

    await until(is_refused)


async def test_hostile_requests_are_refused_and_the_process_goes_on(
    process: Process, outside: Outside, analyst: str
) -> None:
    run = outside.execution(1)
    headers = bearer(analyst) | {"Content-Type": "application/json"}

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"name":"approved","payload":"'
        for _ in range(100):
            yield b"x" * 65_536

    before = '{"name":"approved","execution_id":"' + run + '","payload":'
    bodies: list[tuple[int, bytes | AsyncIterator[bytes]]] = [
        (422, b'{"name":"a\\u0000","execution_id":"%s"}' % run.encode()),
        (422, b'{"name":"\\ud800","execution_id":"%s"}' % run.encode()),
        (422, b'{"name":"a","key":"\\udfff"}'),
        (422, (before + '"\\ud800"}').encode()),
        (422, (before + "NaN}").encode()),
        (413, (before + '"' + "x" * 70_000 + '"}').encode()),
        (413, (before + '"' + "x" * 10_000_000 + '"}').encode()),
        (413, chunks()),
        (400, (before + "[" * 100_000 + "]" * 100_000 + "}").encode()),
    ]
    for status, content in bodies:
        answer = await process.api.post(PATH, content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    for wanted in ("%00", "%ED%A0%80", "x" * 5_000):
        assert (await process.api.get(f"{PATH}/{wanted}", headers=headers)).status_code == 422
    nowhere = "019b8a00-0000-8fff-8000-000000000001"  # a partition that the inbox does not have
    answer = await post(process, analyst, {"name": "approved", "execution_id": nowhere}, wait="30s")
    assert (answer.status_code, answer.json()["status"]) == (200, "undeliverable")
    assert (
        await post(process, analyst, {"name": "approved", "execution_id": run, "payload": "\0"})
    ).status_code == 202
    (sent, *_) = await outside.delivered(bool)
    assert bytes(sent.payload) == b'"\\u0000"'


async def test_who_waits_at_one_process_hears_of_a_verdict_that_another_stores(
    process: Process, outside: Outside, kafka: str, database: str, tmp_path: Path, analyst: str
) -> None:
    second = Process(kafka, database, tmp_path, instance=1)
    second.start()
    try:
        await second.until_up(analyst)
        for asked in (process, second):
            run, signal_id = outside.execution(1), name()
            async with asyncio.TaskGroup() as group:
                body = {"name": "approved", "execution_id": run, "id": signal_id}
                asking = group.create_task(post(asked, analyst, body, wait="30s"))
                await outside.delivered(
                    lambda all_, named=signal_id: named in {each.signal_id for each in all_}
                )
                await outside.answer(signal_id, run, "consumed")
            assert asking.result().status_code == 200
    finally:
        await second.api.aclose()
        assert second.end(signal.SIGTERM) == 0
