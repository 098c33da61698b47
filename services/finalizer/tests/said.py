"""Lifecycle messages for the finalizer's tests, and what its work answers to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Raw

from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    Compared,
    EventReference,
    Finished,
    LifecycleMessage,
    Message,
    Queued,
    Resuming,
    RunbookReference,
    Started,
    Withheld,
)
from outlast.db.fence import Move
from outlast.messaging.ports import Outgoing, Received
from outlast_finalizer.outbound import Ended
from outlast_finalizer.silence import Silent
from outlast_finalizer.store import Changes, Committed
from outlast_finalizer.work import FinalizerWork

EXECUTION = "019b8a00-0000-8001-8000-000000000001"
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
PAYLOAD = Raw(b'{"event":{}}')
RUNBOOK = RunbookReference(id="r", name="r", version=1, sha256="0")
COMMON: dict[str, Any] = {
    "execution_id": EXECUTION,
    "company_id": "acme",
    "runbook": RUNBOOK,
    "event": EventReference(source="urn:s", id="e", type="finding_created", time=AT),
    "lane": 2,
    "mode": "workflow",
    "at": AT,
}


def queued(seq: int = 1, **more: Any) -> Queued:
    return Queued(**{**COMMON, "rank": 0, "seq": seq, "reason": "slot_taken", "payload": PAYLOAD, **more})


def withheld(seq: int = 2, **more: Any) -> Withheld:
    given: dict[str, Any] = {
        "rank": 0,
        "seq": seq,
        "status": "skipped",
        "reason": "throttled",
        "detail": "1 in 300 s",
    }
    return Withheld(**{**COMMON, **given, **more})


def started(**more: Any) -> Started:
    return Started(**{**COMMON, "rank": 1, "seq": 1, "payload": PAYLOAD, **more})


def resuming(seq: int = 6, **more: Any) -> Resuming:
    return Resuming(**{**COMMON, "rank": 1, "seq": seq, "started_at": AT, **more})


def finished(seq: int = 9, **more: Any) -> Finished:
    given: dict[str, Any] = {"rank": 1, "seq": seq, "started_at": AT, "status": "success", "steps": ()}
    return Finished(**{**COMMON, **given, **more})


def compared(**more: Any) -> Compared:
    known = {name: COMMON[name] for name in ("execution_id", "company_id", "runbook", "lane")}
    return Compared(
        **{**known, "at": AT + timedelta(seconds=1), "is_agreed": True, "steps_compared": 1, **more}
    )


def received(message: Message, topic: str = topics.LIFECYCLE, offset: int = 0) -> Received:
    return Received(topic, 2, offset, int(AT.timestamp() * 1000), None, codec.encode(message))


@dataclass
class Rows:
    """A store that says what it is told to."""

    bare: Collection[str] = ()
    ended: dict[str, Ended] = field(default_factory=dict)
    comparisons: Collection[str] = ()
    failed: Sequence[Finished] = ()

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
        return Committed(self.bare, list(changes.compared))

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        return self.ended

    async def given_up(self, execution_ids: Collection[str]) -> Sequence[Finished]:
        return self.failed

    async def silent(self, lanes: Sequence[int], until: datetime, page_max: int) -> Sequence[Silent]:
        return ()

    async def compared(self, execution_ids: Collection[str]) -> Collection[str]:
        return self.comparisons


async def said(rows: Rows, *messages: LifecycleMessage) -> list[Outgoing]:
    """What the work says when these have come in one batch."""
    work = FinalizerWork(rows)
    turn = await work.decide([received(message) for message in messages])
    await work.commit(turn, [])
    return turn.outgoing


def places(outgoing: Sequence[Outgoing]) -> list[tuple[str, int | None]]:
    return [(each.topic, each.partition) for each in outgoing]
