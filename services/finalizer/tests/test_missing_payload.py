"""A run whose `started` was lost with the broker is not answered until its record has the payload."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec import UNSET, Raw

from outlast.contracts import codec, topics
from outlast.contracts.messages import EventReference, Finished, Message, Probe, RunbookReference, Started
from outlast.db.fence import Move
from outlast.messaging.ports import Received
from outlast_finalizer.core.outcome import RunRow, latest_rows
from outlast_finalizer.store import Ended
from outlast_finalizer.work import FinalizerWork

EXECUTION = "019b8a00-0000-8001-8000-000000000001"
AT = datetime(2026, 1, 5, tzinfo=UTC)
RUNBOOK = RunbookReference(id="r", name="r", version=1, sha256="0")
EVENT = EventReference(source="urn:s", id="e", type="finding_created", time=AT)
PAYLOAD = Raw(b'{"event":{}}')


def started() -> Started:
    return Started(
        execution_id=EXECUTION, company_id="acme", runbook=RUNBOOK, event=EVENT, mode="workflow", lane=2, rank=1,
        seq=1, at=AT, payload=PAYLOAD,
    )  # fmt: skip


def finished(has_payload: bool = False) -> Finished:
    return Finished(
        execution_id=EXECUTION, company_id="acme", runbook=RUNBOOK, event=EVENT, mode="workflow", lane=2, rank=1,
        seq=4, at=AT, started_at=AT, status="success", steps=(), payload=PAYLOAD if has_payload else UNSET,
    )  # fmt: skip


@dataclass
class Rows:
    bare: Collection[str] = ()
    ended: dict[str, Ended] = field(default_factory=dict)

    async def commit(self, rows: Sequence[RunRow], moves: Sequence[Move]) -> Collection[str]:
        return self.bare

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        return self.ended


def received(message: Message) -> Received:
    return Received(topics.LIFECYCLE, 2, 0, 0, None, codec.encode(message))


async def said(rows: Rows, *messages: Message) -> list[object]:
    work = FinalizerWork(rows)
    turn = await work.decide([received(message) for message in messages])
    await work.commit(turn, [])
    return [(each.topic, each.partition) for each in turn.outgoing]


async def test_an_ended_run_is_answered_to_the_engine_and_to_the_matcher():
    assert await said(Rows(), finished()) == [(topics.ENGINE_INBOX, 1), (topics.RECORDED, 2)]


async def test_an_ended_run_without_a_payload_in_its_record_is_asked_about_instead():
    work = FinalizerWork(Rows(bare=[EXECUTION]))
    turn = await work.decide([received(finished())])
    await work.commit(turn, [])
    (probe,) = turn.outgoing
    assert (probe.topic, probe.partition) == (topics.ENGINE_INBOX, 1)
    assert codec.inbox.decode(probe.value) == Probe(
        execution_id=EXECUTION, company_id="acme", runbook_id="r", lane=2
    )
    assert turn.pending == {received(finished()).at: [EXECUTION]}


async def test_a_new_owner_asks_again_what_the_old_one_may_not_have_asked():
    rows = Rows(ended={EXECUTION: Ended(2, "acme", "r", has_payload=False)})
    (probe,) = await FinalizerWork(rows).derive(received(finished()).at, [EXECUTION])
    assert isinstance(codec.inbox.decode(probe.value), Probe)


def test_a_payload_is_kept_whichever_message_of_the_batch_brought_it():
    for messages in (
        [started(), finished()],
        [finished(), started()],
        [finished(), finished(has_payload=True)],
    ):
        (row,) = latest_rows(messages)
        assert (row.status, row.payload) == ("success", bytes(PAYLOAD))
