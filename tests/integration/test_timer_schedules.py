"""Schedules in the timer scheduler's process on a real broker and database: saved, fired, and killed in between."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from msgspec import Raw

from outlast.contracts import codec
from outlast.contracts.messages import Definition, Head, RunbookReference
from outlast.contracts.topics import DEFINITIONS, SCHEDULE_FIRED
from outlast.messaging.kafka import KafkaSink
from outlast.messaging.ports import Outgoing
from outlast.messaging.topics import ensure_topics
from outlast.runbooks.catalogue import Catalogue
from outlast.runbooks.pinned import pin
from outlast.runbooks.reading import parse_runbook

SECONDS_MAX = 60.0
COMPANY = f"company-{uuid.uuid4().hex[:8]}"
"""The topics are shared with other tests."""


class Scheduler:
    """`python -m outlast_timer_scheduler`, and what it reads and says."""

    def __init__(self, kafka: str, dsn: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log = folder / "timer_scheduler.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "TIMER_SCHEDULER_DATABASE_URL": dsn,
            "OUTLAST_HEALTH_PORT": str(port),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._sink = KafkaSink(kafka, "test")
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
        numbers = self._consumer.list_topics(SCHEDULE_FIRED, timeout=30).topics[SCHEDULE_FIRED].partitions
        self._consumer.assign(
            [TopicPartition(SCHEDULE_FIRED, number, OFFSET_BEGINNING) for number in numbers]
        )
        self._revision = time.time_ns()
        self.events: list[dict[str, Any]] = []

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outlast_timer_scheduler"],
                env=self._environment,
                stderr=log,
                stdout=log,
            )

    def end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)

    async def save(self, runbook: str, *rules: dict[str, Any], is_active: bool = True) -> None:
        """The control plane publishes a version, and its head."""
        self._revision += 1
        document = {"name": runbook, "rules": list(rules), "actions": [{"type": "resolve_owner"}]}
        message = Definition(
            company_id=COMPANY,
            runbook=RunbookReference(id=runbook, name=runbook, version=1, sha256="0" * 64),
            is_active=is_active,
            revision=self._revision,
            definition=Raw(pin(parse_runbook(document, Catalogue([])))),
        )
        self._sink.send([
            Outgoing(DEFINITIONS, codec.encode(message), f"{COMPANY}/{runbook}".encode()),
            Outgoing(DEFINITIONS, codec.encode(Head(revision=self._revision, count=1)), b"head"),
        ])  # fmt: skip
        await self._sink.flush()

    async def has_fired(self, runbook: str, count: int) -> bool:
        """Whether so many events of a runbook have been said."""
        for message in self._consumer.consume(500, timeout=0.05):
            assert message.error() is None
            event = json.loads(message.value() or b"{}")
            if event["companyid"] == COMPANY:
                self.events.append(event)
        return sum(event["data"]["runbook_id"] == runbook for event in self.events) >= count

    async def close(self) -> None:
        self.end(signal.SIGKILL)
        self._consumer.close()
        await self._sink.close()


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not await is_so():
        assert time.monotonic() < deadline, f"expected {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def scheduler(kafka: str, postgres: str, tmp_path: Path) -> AsyncIterator[Scheduler]:
    await asyncio.to_thread(ensure_topics, kafka)
    made = Scheduler(kafka, postgres, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def rows(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres)
    yield connection
    await connection.close()


def entry(rows: asyncpg.Connection, runbook: str) -> Callable[[], Awaitable[bool]]:
    async def is_there() -> bool:
        try:
            return await rows.fetchval(
                "select exists (select from timers.cron_entries where runbook_id = $1)", runbook
            )
        except asyncpg.UndefinedTableError:
            return False

    return is_there


def gone(rows: asyncpg.Connection, runbook: str) -> Callable[[], Awaitable[bool]]:
    async def is_gone() -> bool:
        return not await entry(rows, runbook)()

    return is_gone


async def miss(rows: asyncpg.Connection, runbook: str, minutes: int) -> None:
    """Let it be so many minutes since the schedule was last dealt with."""
    await rows.execute(
        "update timers.cron_entries set last_at = last_at - make_interval(mins => $2),"
        " next_at = last_at - make_interval(mins => $2) + interval '1 second' where runbook_id = $1",
        runbook,
        minutes,
    )


EVERY_MINUTE = {"event": "schedule", "cron": "* * * * *"}


async def test_a_saved_schedule_is_live_and_what_was_missed_while_it_was_down_is_made_up_for(
    scheduler: Scheduler, rows: asyncpg.Connection
) -> None:
    for runbook, policy in (("all", "all"), ("last", "last"), ("none", "none")):
        await scheduler.save(runbook, EVERY_MINUTE | {"catch_up": {"policy": policy, "window": "2h"}})
    scheduler.start()
    for runbook in ("all", "last", "none"):
        await until(entry(rows, runbook), f"{runbook} to be live")
    # one that is saved while it runs is live at once, and not when it is saved as inactive
    await scheduler.save("later", EVERY_MINUTE)
    await until(entry(rows, "later"), "a schedule that is saved to be live")
    await scheduler.save("later", EVERY_MINUTE, is_active=False)
    await until(gone(rows, "later"), "the schedule of an inactive runbook to be gone")
    scheduler.end(signal.SIGKILL)
    for runbook in ("all", "last", "none"):
        await miss(rows, runbook, 30)
    scheduler.start()
    await until(lambda: scheduler.has_fired("all", 30), "thirty firings to be made up for")
    await until(lambda: scheduler.has_fired("last", 1), "the last firing to be made up for")
    fired = [event["data"] for event in scheduler.events]
    assert sum(each["is_catch_up"] for each in fired if each["runbook_id"] == "none") == 0
    assert sum(each["is_catch_up"] for each in fired if each["runbook_id"] == "last") <= 1
    of_all = [datetime.fromisoformat(each["scheduled_at"]) for each in fired if each["runbook_id"] == "all"]
    assert of_all == sorted(set(of_all))
    assert of_all[-1] <= datetime.now(UTC)


async def test_killed_between_saying_and_storing_there_is_one_event(
    scheduler: Scheduler, rows: asyncpg.Connection
) -> None:
    await scheduler.save("killed", {"event": "schedule", "cron": "0 0 * * *", "catch_up": {"window": "7d"}})
    scheduler.start()
    await until(entry(rows, "killed"), "the schedule to be live")
    scheduler.end(signal.SIGTERM)
    await miss(rows, "killed", 2 * 24 * 60)
    async with rows.transaction():
        await rows.execute("lock table timers.cron_firings in share mode")  # a commit that fired waits for us
        scheduler.start()
        await until(lambda: scheduler.has_fired("killed", 1), "a firing that cannot be stored")
        scheduler.end(signal.SIGKILL)
        # what was in the way of storing it is still there: nothing can have been
        assert (
            await rows.fetchval("select count(*) from timers.cron_firings where runbook_id = 'killed'") == 0
        )
    scheduler.start()
    await until(lambda: scheduler.has_fired("killed", 2), "the firing again")
    (first, second) = [event for event in scheduler.events if event["data"]["runbook_id"] == "killed"][:2]
    assert second == first  # what an event is known by, and all the rest of it
    assert first["id"].startswith("cron:killed:0:")
