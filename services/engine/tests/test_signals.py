"""What the engine answers to a signal: to its sender, once more if it is asked once more."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Raw, structs

from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    DeliverSignal,
    EventReference,
    Message,
    RunbookReference,
    SignalVerdict,
    Start,
    StartTimer,
    Subscribe,
    TimerDue,
    Waiting,
)
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.history.events import Recorded as Stored
from outlast.messaging.ports import Outgoing, Received
from outlast.runbooks.documents import Json, canonical
from outlast.runtime.work import Turn
from outlast_engine.store import Changes
from outlast_engine.work import EngineWork

EXECUTION = "019b8a00-0000-8001-8000-000000000001"

AT = TopicPartition(topics.ENGINE_INBOX, 1)
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
GATE: Json = {
    "id": "gate",
    "type": "await_signal",
    "class": "flow",
    "config": {"signal": "approved", "key": "{{ finding.id }}"},
}
DEFINITION = canonical({"name": "r", "rules": [{"event": "finding_created"}], "actions": [GATE]})
START = Start(
    execution_id=EXECUTION,
    company_id="acme",
    runbook=RunbookReference(id="r-1", name="r", version=1, sha256="d"),
    event=EventReference(source="s", id="e-1", type="finding_created", time=NOW),
    mode="workflow",
    lane=3,
    payload=Raw(b'{"finding": {"id": "f-1"}}'),
    definition=Raw(DEFINITION),
)


class Nothing:
    """A database that keeps nothing: the runs of one life are in memory."""

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Stored]]:
        return {}

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        return {}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None: ...

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        return ()


def signal(signal_id: str = "s-1", company_id: str = "acme") -> DeliverSignal:
    return DeliverSignal(
        execution_id=EXECUTION,
        company_id=company_id,
        signal_id=signal_id,
        name="approved",
        payload=Raw(b"null"),
        sent_by="ana",
        sent_at=NOW,
    )


async def told(work: EngineWork, *messages: Message) -> Turn:
    """One batch, committed."""
    received = [
        Received(topics.ENGINE_INBOX, 1, n, 0, None, codec.encode(message))
        for n, message in enumerate(messages)
    ]
    turn = await work.decide(received)
    await work.commit(turn, [])
    return turn


def verdicts(outgoing: Sequence[Outgoing]) -> list[str]:
    said = [codec.signals.decode(each.value) for each in outgoing if each.topic == topics.VERDICTS]
    return [each.verdict for each in said if isinstance(each, SignalVerdict)]


async def test_a_waiting_run_says_its_timer_its_subscription_and_what_it_waits_for() -> None:
    turn = await told(EngineWork(Nothing()), START)
    by_topic = {each.topic: each for each in turn.outgoing}
    timer = codec.timer_commands.decode(by_topic[topics.TIMER_COMMANDS].value)
    assert isinstance(timer, StartTimer)
    assert timer.timer_id == "gate:timeout"
    subscription = by_topic[topics.SUBSCRIPTIONS]
    assert subscription.key == b"acme/approved/f-1"
    assert isinstance(codec.signals.decode(subscription.value), Subscribe)
    waiting = [
        codec.lifecycle.decode(each.value) for each in turn.outgoing if each.topic == topics.LIFECYCLE
    ][-1]
    assert isinstance(waiting, Waiting)
    assert [(each.kind, each.signal, each.key) for each in waiting.waits] == [("signal", "approved", "f-1")]


async def test_a_signal_that_was_stored_is_answered_after_the_commit_and_again_by_whoever_comes_later() -> (
    None
):
    work = EngineWork(Nothing())
    await told(work, START)
    turn = await told(work, signal())
    assert verdicts(turn.outgoing) == ["consumed"]
    again = await told(work, signal())
    assert verdicts(again.outgoing) == ["consumed"]
    assert again.pending == {AT: [EXECUTION]}
    assert again.answers == []


async def test_a_signal_that_comes_twice_in_one_batch_is_not_confirmed_before_it_is_stored() -> None:
    work = EngineWork(Nothing())
    turn = await told(work, START, signal(), signal())
    assert turn.answers == []
    assert set(verdicts(turn.outgoing)) == {"consumed"}


async def test_a_signal_that_changes_nothing_is_answered_before_the_commit() -> None:
    work = EngineWork(Nothing())
    assert verdicts((await told(work, signal())).answers) == ["unknown"]
    await told(work, START, signal())
    assert verdicts((await told(work, signal("s-2"))).answers) == ["late"]


async def test_another_companys_signal_is_answered_as_if_there_were_no_run() -> None:
    work = EngineWork(Nothing())
    await told(work, START)
    turn = await told(work, signal(company_id="globex"))
    assert verdicts(turn.answers) == ["unknown"]
    await told(work, signal())
    assert verdicts((await told(work, signal(company_id="globex"))).answers) == ["unknown"]


async def test_a_timer_that_comes_late_is_met_with_silence_because_nobody_waits_for_an_answer() -> None:
    work = EngineWork(Nothing())
    await told(work, START, signal())
    turn = await told(work, TimerDue(execution_id=EXECUTION, timer_id="gate:timeout", fire_at=NOW))
    assert (turn.outgoing, turn.answers, turn.pending) == ([], [], {})


async def test_a_timer_of_a_run_that_nobody_knows_changes_nothing() -> None:
    turn = await told(EngineWork(Nothing()), TimerDue(execution_id=EXECUTION, timer_id="x", fire_at=NOW))
    assert (turn.outgoing, turn.answers, turn.pending) == ([], [], {})


async def test_a_signal_whose_payload_cannot_be_decoded_is_not_kept_for_a_step_that_would_fail_on_it() -> (
    None
):
    work = EngineWork(Nothing())
    await told(work, START)
    for payload in (b"1e400", b'"\xff"'):
        early = structs.replace(signal(), name="later", payload=Raw(payload))
        turn = await told(work, early)
        assert len(turn.dead) == 1
        assert verdicts([*turn.outgoing, *turn.answers]) == []
