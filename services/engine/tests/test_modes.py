"""Runs that are cancelled, that ask for their slot, that are doubles: what the engine stores and says of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import Raw, structs

from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    Cancel,
    Compared,
    EventReference,
    Finished,
    InlineOutcome,
    Message,
    Origin,
    OutcomeStep,
    Probe,
    Recorded,
    Resuming,
    RunbookReference,
    SlotGranted,
    Start,
    StartTimer,
    TimerDue,
)
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.history import codec as history_codec
from outlast.history.events import ActivityCompleted, Event
from outlast.history.events import Recorded as Stored
from outlast.messaging.ports import Outgoing, Received
from outlast.runbooks.documents import Json, canonical
from outlast.runtime.work import Turn
from outlast.testing.spec import notify
from outlast_engine import metrics
from outlast_engine.store import Changes
from outlast_engine.work import EngineWork

EXECUTION = "019b8a00-0000-8001-8000-000000000001"
AT = TopicPartition(topics.ENGINE_INBOX, 1)
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
NAP: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "5m"}}


class Rows:
    """The engine's rows, as bytes, without a fence."""

    def __init__(self) -> None:
        self.histories: dict[str, list[tuple[int, datetime, bytes]]] = {}
        self.bodies: dict[str, bytes] = {}
        self.loads = 0
        self.compared: list[str] = []

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Stored]]:
        self.loads += 1
        return {
            name: [Stored(seq, at, history_codec.decode(data)) for seq, at, data in self.histories[name]]
            for name in execution_ids
            if name in self.histories
        }

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        return {each: self.bodies[each] for each in digests if each in self.bodies}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None:
        self.bodies |= changes.definitions
        self.compared += changes.compared
        for execution_id, recorded in changes.events:
            row = (recorded.sequence, recorded.at, history_codec.encode(recorded.event))
            self.histories.setdefault(execution_id, []).append(row)

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        return ()

    def kinds(self) -> list[str]:
        return [type(history_codec.decode(data)).__name__ for _, _, data in self.histories[EXECUTION]]


class Engine:
    """The work on its rows, one life after the other."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.work = EngineWork(self.rows)

    async def take(self, *messages: Message) -> Turn:
        turn = await self.work.decide([
            Received(topics.ENGINE_INBOX, 1, offset, 0, None, codec.encode(each))
            for offset, each in enumerate(messages)
        ])  # fmt: skip
        await self.work.commit(turn, [])
        return turn

    async def derived(self) -> list[Outgoing]:
        """What another life says of the run."""
        return await EngineWork(self.rows).derive(AT, [EXECUTION])


def said(outgoing: Sequence[Outgoing]) -> list[Message]:
    decoders = {topics.LIFECYCLE: codec.lifecycle, topics.TIMER_COMMANDS: codec.timer_commands}
    return [decoders.get(each.topic, codec.activities).decode(each.value) for each in outgoing]


def start(*actions: Json, mode: str = "workflow", origin: Origin | None = None) -> Start:
    body = canonical({"name": "r", "rules": [{"event": "finding_created"}], "actions": list(actions)})
    return Start(
        execution_id=EXECUTION,
        company_id="acme",
        runbook=RunbookReference(id="r", name="r", version=1, sha256="d"),
        event=EventReference(source="s", id="1", type="finding_created", time=NOW),
        mode=mode,
        lane=3,
        payload=Raw(b'{"finding": {"id": "f-1", "title": "SQL injection"}}'),
        definition=Raw(body),
        origin=origin or Origin(),
    )


def cancel(execution_id: str = EXECUTION) -> Cancel:
    return Cancel(execution_id=execution_id, company_id="acme", by="ana", at=NOW, reason="a drill")


PAGE = notify("page", config={"text": "{{ finding.title | upper }}"})
TELL = notify("tell", config={"n": "{{ steps.page.output.n }}"})


def outcome(text: str = "SQL INJECTION") -> InlineOutcome:
    page, tell = (
        OutcomeStep(
            activity_id=name,
            action="http_request",
            action_class="notify",
            status="success",
            input=Raw(msgspec.json.encode(rendered)),
            output=Raw(b'{"n":7}'),
        )
        for name, rendered in (("page", {"text": text}), ("tell", {"n": 7}))
    )
    return InlineOutcome(
        execution_id=EXECUTION, company_id="acme", status="success", at=NOW, steps=(page, tell)
    )


# ---- cancel


async def test_a_cancelled_run_says_how_it_ended_and_by_whom_also_in_another_life() -> None:
    engine = Engine()
    await engine.take(start(NAP))
    turn = await engine.take(cancel())
    finished = said(turn.outgoing)[-1]
    assert isinstance(finished, Finished)
    assert (finished.status, finished.by, finished.reason) == ("cancelled", "ana", "a drill")
    assert turn.outgoing[-1].partition == 3
    assert turn.pending == {AT: [EXECUTION]}
    again = said(await engine.derived())[-1]
    assert isinstance(again, Finished)
    assert again.status == "cancelled"


async def test_a_cancel_for_a_run_that_nobody_knows_is_counted_and_changes_nothing() -> None:
    engine = Engine()
    counted = metrics.REJECTED.labels("unknown_execution")._value
    before = counted.get()
    turn = await engine.take(cancel())
    assert (turn.outgoing, turn.answers, turn.pending, turn.dead) == ([], [], {}, [])
    assert counted.get() == before + 1


async def test_a_cancel_twice_in_one_batch_counts_once() -> None:
    engine = Engine()
    await engine.take(start(notify("a")), cancel(), cancel())
    assert engine.rows.kinds().count("CancelRequested") == 1


# ---- slots


async def test_a_run_that_gave_its_slot_back_asks_on_its_lane_and_goes_on_when_it_is_granted() -> None:
    engine = Engine()
    await engine.take(start(NAP, notify("a"), origin=Origin(is_slotted=True, releases_slot=True)))
    turn = await engine.take(TimerDue(execution_id=EXECUTION, timer_id="nap", fire_at=NOW))
    (resuming,) = said(turn.outgoing)
    assert isinstance(resuming, Resuming)
    assert (turn.outgoing[0].topic, turn.outgoing[0].partition) == (topics.LIFECYCLE, 3)
    assert resuming in said(await engine.derived())
    await engine.take(SlotGranted(execution_id=EXECUTION, seq=resuming.seq))
    assert engine.rows.kinds()[-2:] == ["SlotTaken", "ActivityScheduled"]


async def test_the_definition_of_a_run_that_is_granted_its_slot_in_another_life_is_loaded() -> None:
    engine = Engine()
    await engine.take(start(NAP, notify("a"), origin=Origin(is_slotted=True, releases_slot=True)))
    turn = await engine.take(TimerDue(execution_id=EXECUTION, timer_id="nap", fire_at=NOW))
    (resuming,) = said(turn.outgoing)
    assert isinstance(resuming, Resuming)
    engine.work = EngineWork(engine.rows)
    await engine.take(SlotGranted(execution_id=EXECUTION, seq=resuming.seq))
    assert engine.rows.kinds()[-1] == "ActivityScheduled"


# ---- shadow


async def test_a_double_says_nothing_but_its_timers_and_its_comparison() -> None:
    engine = Engine()
    first = await engine.take(start(PAGE, NAP, TELL, mode="shadow"))
    assert [type(each) for each in said(first.outgoing)] == [StartTimer]
    await engine.take(outcome())
    last = await engine.take(TimerDue(execution_id=EXECUTION, timer_id="nap", fire_at=NOW))
    (compared,) = said(last.outgoing)
    assert isinstance(compared, Compared)
    assert compared.differences[0].what == "extra"  # the outcome here knows no nap
    assert last.outgoing[0].partition == 3
    assert engine.rows.compared == [EXECUTION]


async def test_a_comparison_is_said_again_to_whoever_asks_until_it_is_recorded() -> None:
    engine = Engine()
    await engine.take(start(PAGE, TELL, mode="shadow"), outcome())
    (compared,) = said(await engine.derived())
    assert isinstance(compared, Compared)
    assert compared.is_agreed
    probe = Probe(execution_id=EXECUTION, company_id="acme", runbook_id="r", lane=3)
    assert said((await engine.take(probe)).outgoing) == [compared]
    assert said((await engine.take(start(PAGE, TELL, mode="shadow"))).outgoing) == [compared]
    assert (await engine.take(Recorded(executions=(EXECUTION,)))).outgoing == []


async def test_an_outcome_before_its_start_is_stored_and_compared_in_whatever_life_the_start_comes() -> None:
    engine = Engine()
    turn = await engine.take(outcome(), outcome())
    assert turn.outgoing == []
    assert engine.rows.kinds() == ["InlineRecorded"]
    engine.work = EngineWork(engine.rows)
    turn = await engine.take(start(PAGE, TELL, mode="shadow"))
    (compared,) = said(turn.outgoing)
    assert isinstance(compared, Compared)
    assert compared.is_agreed


async def test_an_outcome_and_its_start_may_come_in_one_batch_in_any_order() -> None:
    for messages in (
        (outcome(), start(PAGE, TELL, mode="shadow")),
        (start(PAGE, TELL, mode="shadow"), outcome()),
    ):
        engine = Engine()
        turn = await engine.take(*messages)
        assert [type(each) for each in said(turn.outgoing)][-1] is Compared


async def test_nothing_of_a_double_is_kept_in_memory() -> None:
    engine = Engine()
    await engine.take(start(PAGE, TELL, mode="shadow"))
    assert engine.work._states == {}
    loads = engine.rows.loads
    await engine.take(outcome())
    assert engine.rows.loads == loads + 1
    assert engine.work._states == {}
    assert engine.work._bytes == 0


async def test_what_storage_does_to_a_history_shows_in_the_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The double's steps are decided on what was encoded and decoded, not on what was in memory."""
    decode = history_codec.decode

    def lossy(data: bytes) -> Event:
        event = decode(data)
        if isinstance(event, ActivityCompleted):
            return structs.replace(event, output=Raw(b'{"n":8}'))
        return event

    monkeypatch.setattr(history_codec, "decode", lossy)
    engine = Engine()
    turn = await engine.take(start(PAGE, TELL, mode="shadow"), outcome())
    compared = said(turn.outgoing)[-1]
    assert isinstance(compared, Compared)
    assert ("tell", "input") in {(each.activity_id, each.what) for each in compared.differences}


async def test_differences_are_counted_by_what_differs() -> None:
    counted = metrics.SHADOW_DIFFERENCES.labels("input", "false")._value
    differs = metrics.SHADOW_COMPARED.labels("differs")._value
    before = (counted.get(), differs.get())
    await Engine().take(start(PAGE, TELL, mode="shadow"), outcome("sql injection"))
    assert (counted.get(), differs.get()) == (before[0] + 1, before[1] + 1)


async def test_what_agrees_is_counted_and_is_no_run_that_ended() -> None:
    agreed = metrics.SHADOW_COMPARED.labels("agreed")._value
    ended = metrics.EXECUTIONS_ENDED.labels("success")._value
    begun = metrics.EXECUTIONS_STARTED.labels("shadow")._value
    before = (agreed.get(), ended.get(), begun.get())
    await Engine().take(start(PAGE, TELL, mode="shadow"), outcome())
    assert (agreed.get(), ended.get(), begun.get()) == (before[0] + 1, before[1], before[2] + 1)


async def test_an_outcome_for_a_workflow_run_is_counted_and_changes_nothing() -> None:
    engine = Engine()
    await engine.take(start(PAGE, TELL))
    counted = metrics.REJECTED.labels("not_a_shadow_run")._value
    before = counted.get()
    turn = await engine.take(outcome())
    assert (turn.outgoing, turn.dead) == ([], [])
    assert counted.get() == before + 1


async def test_an_inline_run_is_not_the_engines_and_is_laid_aside() -> None:
    engine = Engine()
    turn = await engine.take(start(PAGE, mode="inline"))
    assert (turn.outgoing, engine.rows.histories) == ([], {})
    ((_, fault),) = turn.dead
    assert "inline" in str(fault)
