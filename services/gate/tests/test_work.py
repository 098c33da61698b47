"""One request after another over the tables: decisions on their lane, rows that come back, and what cannot be read."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from outlast.contracts import codec
from outlast.contracts.guarding import Ask, GateDecision, GateRequest, Release, Slot
from outlast.contracts.topics import GATE_DECISIONS, GATE_REQUESTS, dead_letters
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.metrics import LoopMetrics
from outlast_gate import work as gate_work
from outlast_gate.tables import Owner, Tables
from outlast_gate.work import GateWork

AT = datetime(2026, 3, 1, tzinfo=UTC)


class MemorySink:
    """Keeps what is sent; refuses some flushes."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.refusals = 0

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.sent += messages

    async def flush(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TransientError("away")

    async def partition_count(self, topic: str) -> int:
        return 4

    async def close(self) -> None:
        return None


class Gate:
    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.sink = MemorySink()
        self.tables = Tables(self.rows, self.rows)
        self.work = GateWork(self.tables, self.sink, LoopMetrics("gate.requests", CollectorRegistry()))
        self.offset = 0

    async def send(self, value: bytes | None, lane: int = 2) -> None:
        received = Received(GATE_REQUESTS, lane, self.offset, int(AT.timestamp() * 1000), b"acme/rb", value)
        self.offset += 1
        await self.work.handle(received)

    async def ask(self, *names: str, runbook: str = "rb", lane: int = 2, release: str = "") -> None:
        asks = tuple(Ask(id=name, at=AT, slot=Slot(key="k")) for name in names)
        releases = (Release(id=release, key="k"),) if release else ()
        request = GateRequest(company_id="acme", runbook_id=runbook, lane=lane, asks=asks, releases=releases)
        await self.send(codec.encode(request), lane)

    def words(self) -> dict[str, str]:
        """The last on each, on lane 2."""
        found: dict[str, str] = {}
        for each in self.sink.sent:
            if each.topic == GATE_DECISIONS:
                decision = codec.gate.decode(each.value)
                assert isinstance(decision, GateDecision)
                assert each.partition == decision.lane
                found |= {verdict.id: verdict.verdict for verdict in decision.verdicts}
        return found


async def test_a_decision_goes_to_the_partition_that_its_request_came_from() -> None:
    gate = Gate()
    await gate.ask("a", lane=1)
    await gate.ask("b", lane=3)
    assert [each.partition for each in gate.sink.sent] == [1, 3]
    assert gate.words() == {"a": "admitted", "b": "admitted"}


async def test_a_release_with_nobody_waiting_is_answered_with_nothing() -> None:
    gate = Gate()
    await gate.ask("a")
    await gate.ask(release="a")
    assert len(gate.sink.sent) == 1


async def test_tables_read_back_go_on_where_they_were() -> None:
    gate = Gate()
    await gate.ask("a", "b", "c")
    assert gate.tables.reload({2}) == len(gate.rows)
    await gate.ask(release="a")
    assert gate.words()["b"] == "admitted"


async def test_rows_of_lanes_that_went_elsewhere_and_rows_that_nobody_can_read_are_dropped() -> None:
    gate = Gate()
    await gate.ask("a", lane=1)
    await gate.ask("b", lane=2)
    gate.rows[b"[]"] = b"what is this"
    gate.tables.reload({1})
    assert all(b'[1,"acme"' in key for key in gate.rows)
    assert len(gate.rows) == 1
    assert len(gate.tables.guards(Owner(2, "acme", "rb"))) == 0


@pytest.mark.parametrize("value", [None, b"", b"[]", b'{"type":"gate_request.v1"}', b"\xff"])
async def test_what_cannot_be_read_is_delivered_to_the_dead_letters_before_anything_else(
    value: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_work, "PAUSE_SECONDS", 0.0)
    gate = Gate()
    gate.sink.refusals = 2
    await gate.send(value)
    await gate.ask("a")
    assert [each.topic for each in gate.sink.sent] == [dead_letters("gate")] * 3 + [GATE_DECISIONS]
    assert gate.sink.sent[0].value == value


async def test_a_fault_in_deciding_is_a_dead_letter_and_leaves_no_half_of_it_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    await gate.ask("a")
    admit = gate_work.admit

    def half(*arguments: object) -> object:
        admit(*arguments)  # type: ignore[arg-type]
        raise ZeroDivisionError

    monkeypatch.setattr(gate_work, "admit", half)
    await gate.ask("b", release="a")
    monkeypatch.setattr(gate_work, "admit", admit)
    assert gate.sink.sent[-1].topic == dead_letters("gate")
    await gate.ask("a")
    assert gate.words() == {"a": "admitted"}
