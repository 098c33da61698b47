"""What the engine keeps in memory: bounded, and never at the cost of a run that is being decided over."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import pytest
from msgspec import Raw

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    ActivityResult,
    DeliverSignal,
    EventReference,
    Finished,
    Message,
    RunActivity,
    RunbookReference,
    Start,
)
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.history.events import Recorded as Stored
from outlast.messaging.ports import Received
from outlast.runbooks.documents import canonical
from outlast.runtime.work import Turn
from outlast.testing.spec import notify
from outlast_engine import work
from outlast_engine.store import Changes
from outlast_engine.work import EngineWork

AT = datetime(2026, 1, 5, tzinfo=UTC)


class Rows:
    """The engine's rows, without a fence."""

    def __init__(self) -> None:
        self.histories: dict[str, list[Stored]] = {}
        self.bodies: dict[str, bytes] = {}

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Stored]]:
        return {each: list(self.histories[each]) for each in execution_ids if each in self.histories}

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        return {each: self.bodies[each] for each in digests if each in self.bodies}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None:
        self.bodies |= changes.definitions
        for execution_id, recorded in changes.events:
            self.histories.setdefault(execution_id, []).append(recorded)

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        return ()


class Engine:
    """The work on its rows; what it says is kept."""

    def __init__(self) -> None:
        self.work = EngineWork(Rows())

    async def take(self, *messages: Message) -> Turn:
        turn = await self.work.decide([
            Received(topics.ENGINE_INBOX, 0, offset, 0, None, codec.encode(each))
            for offset, each in enumerate(messages)
        ])  # fmt: skip
        await self.work.commit(turn, [])
        return turn

    def kept(self) -> int:
        return len(self.work._states)


def execution(number: int) -> str:
    return ids.execution_id(number, 1, "acme", "s", str(number), "r")


def start(number: int, definition: int = 0, payload_bytes: int = 0) -> Start:
    actions = [notify(f"a{definition}"), notify("b")]
    body = canonical({"name": "r", "rules": [{"event": "finding_created"}], "actions": actions})
    return Start(
        execution_id=execution(number),
        company_id="acme",
        runbook=RunbookReference(id="r", name="r", version=1, sha256=f"digest-{definition}"),
        event=EventReference(source="s", id=str(number), type="finding_created", time=AT),
        mode="workflow",
        lane=0,
        payload=Raw(b'{"event":{},"x":"' + b"x" * payload_bytes + b'"}'),
        definition=Raw(body),
    )


def result(number: int, activity_id: str) -> ActivityResult:
    return ActivityResult(
        execution_id=execution(number), activity_id=activity_id, attempt=1, started_at=AT, duration_ms=1.0
    )


def signal(number: int, payload_bytes: int) -> DeliverSignal:
    return DeliverSignal(
        execution_id=execution(number),
        company_id="acme",
        signal_id=f"s-{number}",
        name="approved",
        payload=Raw(b'"' + b"x" * payload_bytes + b'"'),
        sent_by="ana",
        sent_at=AT,
    )


def said(turn: Turn) -> list[object]:
    decoders = {topics.LIFECYCLE: codec.lifecycle}
    return [decoders.get(each.topic, codec.activities).decode(each.value) for each in turn.outgoing]


async def test_room_is_made_at_the_cost_of_other_runs_than_those_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(work, "STATES_MAX", 3)
    engine = Engine()
    await engine.take(start(1), start(2), start(3))
    turn = await engine.take(result(1, "a0"), start(4))  # 1 is the oldest, and in the batch
    assert len(said(turn)) == 3  # the next activity of 1; `started` and the first activity of 4
    assert engine.kept() == 3


async def test_a_definition_that_is_forgotten_for_another_fails_no_run_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(work, "DEFINITIONS_MAX", 2)
    engine = Engine()
    await engine.take(start(1, definition=1), start(2, definition=2))
    turn = await engine.take(result(1, "a1"), start(3, definition=3), result(2, "a2"))
    assert not any(isinstance(each, Finished) for each in said(turn))
    assert [each.activity_id for each in said(turn) if isinstance(each, RunActivity)] == ["b", "a3", "b"]


async def test_large_payloads_are_not_all_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "PAYLOADS_BYTES_MAX", 10_000)
    engine = Engine()
    for number in range(100):
        await engine.take(start(number, payload_bytes=1_000))
    assert engine.kept() <= 12
    turn = await engine.take(result(0, "a0"))  # folded again from its history
    assert [each.activity_id for each in said(turn) if isinstance(each, RunActivity)] == ["b"]


async def test_what_signals_carry_is_not_all_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "PAYLOADS_BYTES_MAX", 10_000)
    engine = Engine()
    await engine.take(*(start(number) for number in range(100)))
    for number in range(100):
        await engine.take(signal(number, payload_bytes=1_000))
    assert engine.kept() <= 12
    turn = await engine.take(result(0, "a0"))  # folded again from its history
    assert [each.activity_id for each in said(turn) if isinstance(each, RunActivity)] == ["b"]


async def test_what_is_forgotten_counts_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "PAYLOADS_BYTES_MAX", 10_000)
    engine = Engine()
    for number in range(100):
        await engine.take(start(number, payload_bytes=1_000))
        engine.work.forget([TopicPartition(topics.ENGINE_INBOX, 0)])
    for number in range(200, 205):
        await engine.take(start(number, payload_bytes=1_000))
    assert engine.kept() == 5


async def test_the_answer_to_a_start_that_came_twice_outlives_a_crash_after_the_commit():
    engine = Engine()
    await engine.take(start(1))
    turn = await engine.take(start(1))
    assert turn.pending == {TopicPartition(topics.ENGINE_INBOX, 0): [execution(1)]}
