"""The control plane's process on a real broker: orders reach their lane, breakers and views are read as they are."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from msgspec import Raw

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.control import ControlMessage, ResetBreaker, RunSuppressed, TriggerRunbook
from outlast.contracts.messages import Breaker, CatalogueAction
from outlast.contracts.topics import BREAKERS, CATALOGUE, CONTROL_COMMANDS
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import ensure_topics

SECONDS_MAX = 60.0
ADMIN = {"Authorization": "Bearer olk_admin_of_this_test"}
AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
RUNBOOK = "name: {name}\nrules: []\nactions: [{{type: shout, config: {{}}}}]\nactive: true\n"
RUN = "0199f000-0000-8000-8000-000000000001"
ROW = """
insert into records.runs (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
    status, rank, seq, event_source, event_id, event_type, event_time, lane, reason)
values ($1, 'acme', 'held', 'Held', 1, 'x', 'workflow', 'queued', 0, 1, 's', 'e', 'manual', now(), 0, 'slot_taken')
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`python -m outlast_control_plane`, started and killed at will."""

    def __init__(self, kafka: str, dsn: str, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / "control_plane.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "CONTROL_PLANE_DATABASE_URL": dsn,
            "OUTLAST_HTTP_PORT": str(self.port),
            "OUTLAST_HEALTH_PORT": "0",
            "OUTLAST_ADMIN_KEY": "olk_admin_of_this_test",
            "OUTLAST_INSTANCE": uuid.uuid4().hex[:8],
            "PMAP_RUNBOOK_ENGINE": "workflow",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_control_plane"], env=self._environment, stderr=log
            )

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)


@pytest.fixture
async def world(
    kafka: str, postgres: str, tmp_path: Path
) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """The process over the views that the finalizer and the engine really have."""
    ensure_topics(kafka)
    for schema in ("records", "engine"):
        package = {"records": "outlast_finalizer", "engine": "outlast_engine"}[schema]
        pool = await connect_pool(postgres, schema, 2)
        await migrate(pool, schema, migration_files(package))
        if schema == "records":
            await pool.execute(ROW, RUN)
        await pool.close()
    process = Process(kafka, postgres, tmp_path)
    process.start()
    url = f"http://127.0.0.1:{process.port}/api/v1"
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, headers=ADMIN) as api:
        await until(lambda: status_is(api, "/engine", 200))
        yield process, api
    assert process.end(signal.SIGTERM) == 0


async def status_is(api: httpx.AsyncClient, path: str, status: int) -> bool:
    """Whether a GET answers so; nobody there is no."""
    try:
        return (await api.get(path)).status_code == status
    except httpx.TransportError:
        return False


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process does; it has no event for us."""
    async with asyncio.timeout(SECONDS_MAX):
        while not await is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def publish(kafka: str, *messages: tuple[str, str, Any]) -> None:
    """Say something on compacted topics as its owner would: topic, key, message."""
    sink = KafkaSink(kafka, f"test-{uuid.uuid4().hex[:8]}")
    sink.send([Outgoing(topic, codec.encode(message), key.encode()) for topic, key, message in messages])
    await sink.close()


def ordered(kafka: str, company: str, count: int) -> list[tuple[int, ControlMessage]]:
    """Partition and message of the first orders for a company, in each partition's order."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
    try:
        partitions = consumer.list_topics(CONTROL_COMMANDS, timeout=30).topics[CONTROL_COMMANDS].partitions
        consumer.assign([TopicPartition(CONTROL_COMMANDS, number, OFFSET_BEGINNING) for number in partitions])
        found: list[tuple[int, ControlMessage]] = []
        for _ in range(int(SECONDS_MAX)):
            for message in consumer.consume(100, timeout=1.0):
                assert message.error() is None
                decoded = codec.commands.decode(message.value())
                if decoded.company_id == company:
                    found.append((message.partition() or 0, decoded))
            if len(found) >= count:
                return found
        raise AssertionError(f"expected {count} orders, found {found}")
    finally:
        consumer.close()


def lane_count(kafka: str) -> int:
    """How many partitions the topic of orders has."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
    try:
        return len(consumer.list_topics(CONTROL_COMMANDS, timeout=30).topics[CONTROL_COMMANDS].partitions)
    finally:
        consumer.close()


SHOUT = CatalogueAction(
    name="shout", action_class="notify", summary="shout", config_schema=Raw(b'{"type":"object"}'), example=Raw(b"{}"),
    is_idempotent=True,
)  # fmt: skip


async def test_orders_reach_the_lane_of_their_runbook_in_their_order_although_the_process_is_killed(
    world: tuple[Process, httpx.AsyncClient], kafka: str
) -> None:
    process, api = world
    company = f"c{uuid.uuid4().hex[:12]}"
    await publish(kafka, (CATALOGUE, "shout", SHOUT))
    await until(lambda: status_is(api, "/actions", 200))
    names = [f"r{number}" for number in range(6)]
    for name in names:
        saved = await api.put(
            f"/runbooks/{name}", content=RUNBOOK.format(name=name), params={"company": company},
            headers={"Content-Type": "application/yaml"},
        )  # fmt: skip
        assert saved.status_code == 201, saved.text
        answer = await api.post(f"/runbooks/{name}/trigger", json={}, params={"company": company})
        assert answer.status_code == 202, answer.text
    body = {"reason": "it is back", "suppressed": "run"}
    answer = await api.post("/runbooks/r0/breaker/reset", json=body, params={"company": company})
    assert answer.status_code == 202, answer.text
    process.end(signal.SIGKILL)  # between the commit and the broker, or while it is sent
    process.start()
    await until(lambda: status_is(api, "/engine", 200))
    found = await asyncio.to_thread(ordered, kafka, company, len(names) + 2)
    lanes = await asyncio.to_thread(lane_count, kafka)
    first: dict[str, tuple[int, ControlMessage]] = {}
    for partition, message in found:
        first.setdefault(message.command_id, (partition, message))  # sent twice is no second order
    assert {partition for partition, _ in first.values()} == {
        ids.lane(company, name, lanes) for name in names
    }
    triggers = {m.runbook_id: (p, m.lane) for p, m in first.values() if isinstance(m, TriggerRunbook)}
    expected = {name: ids.lane(company, name, lanes) for name in names}
    assert triggers == {name: (lane, lane) for name, lane in expected.items()}
    kinds = [
        type(m) for p, m in first.values() if p == expected["r0"] and getattr(m, "runbook_id", "") == "r0"
    ]
    assert kinds == [TriggerRunbook, ResetBreaker, RunSuppressed]


async def test_a_breaker_that_trips_or_closes_is_heard(
    world: tuple[Process, httpx.AsyncClient], kafka: str
) -> None:
    _, api = world
    company = f"c{uuid.uuid4().hex[:12]}"
    query = {"company": company}
    await publish(kafka, (CATALOGUE, "shout", SHOUT))
    await until(lambda: status_is(api, "/actions", 200))
    headers = {"Content-Type": "application/yaml"}
    await api.put("/runbooks/held", content=RUNBOOK.format(name="held"), params=query, headers=headers)

    async def is_active() -> bool:
        return (await api.get("/runbooks/held", params=query)).json()["is_active"]

    assert await is_active()
    opened = Breaker(
        company_id=company,
        runbook_id="held",
        generation=0,
        is_open=True,
        failures=10,
        tripped_at=AT,
        revision=4,
    )
    await publish(kafka, (BREAKERS, f"{company}/held", opened))

    async def is_tripped() -> bool:
        return not await is_active()

    await until(is_tripped)
    refused = await api.post("/runbooks/held/trigger", json={}, params=query)
    assert (refused.status_code, refused.json()["code"]) == (409, "breaker_open")

    closed = Breaker(
        company_id=company, runbook_id="held", generation=1, is_open=False, failures=0, revision=5
    )
    await publish(kafka, (BREAKERS, f"{company}/held", closed))
    await until(is_active)


async def test_runs_are_read_from_the_views_that_their_owners_have(
    world: tuple[Process, httpx.AsyncClient],
) -> None:
    _, api = world
    query = {"company": "acme", "reason": "slot_taken", "is_degraded": "false", "mode": "workflow"}
    (item,) = (await api.get("/executions", params=query)).json()["items"]
    assert (item["id"], item["status"], item["reason"], item["comparison"]) == (
        RUN,
        "queued",
        "slot_taken",
        None,
    )
    assert (await api.get(f"/executions/{RUN}")).json()["steps"] == []
    assert (await api.get(f"/executions/{RUN}/history")).json() == {"items": [], "next": None}
    answer = await api.post(f"/executions/{RUN}/cancel", json={"reason": "a drill"})
    assert (answer.status_code, answer.json()["company"]) == (202, "acme")
    unknown = await api.post(
        "/executions/0199f000-0000-8000-8000-000000000009/cancel", json={"reason": "a drill"}
    )
    assert unknown.status_code == 404
