"""One suite for the run records, in memory and in Postgres: every state, any order, nothing twice, fenced."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Protocol

import msgspec
import pytest
from msgspec import UNSET, Raw
from tests.stores.memory_finalizer import MemoryFinalizerStore

from outlast import ids
from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import (
    Compared,
    EventReference,
    Finished,
    LifecycleMessage,
    Queued,
    Resumed,
    Resuming,
    RunbookReference,
    Started,
    Wait,
    Waiting,
    Withheld,
)
from outlast.contracts.parts import Origin
from outlast.contracts.topics import LIFECYCLE, Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.errors import DataRejected, Fenced
from outlast_control_plane.records import QUERIES
from outlast_finalizer.core.breaker import BreakerState, Key
from outlast_finalizer.core.outcome import latest_rows, outcomes
from outlast_finalizer.outbound import Ended
from outlast_finalizer.silence import Silent
from outlast_finalizer.store import LOOP, Changes, Committed, FinalizerStore, PostgresFinalizerStore

AT = datetime(2026, 1, 5, tzinfo=UTC)
AFTER = AT + timedelta(seconds=1)
PAYLOAD = Raw(b'{"event":{}}')
COLUMNS = (
    "status", "mode", "rank", "seq", "started_at", "finished_at", "payload", "steps", "error", "waits", "reason",
    "detail", "ended_by", "is_degraded", "generation", "started_by", "instead_of",
)  # fmt: skip
ORIGINS = ("is_degraded", "generation", "started_by", "instead_of")


def execution(number: int = 1) -> str:
    return ids.execution_id(1_767_571_200_000 + number, 3, "acme", "s", f"e-{number}", "r")


class Looking(Protocol):
    """Sees what is stored; the stores themselves show no more than their users need."""

    async def __call__(self, execution_id: str) -> dict[str, object] | None: ...


@dataclass
class Rows:
    """A store under test, and how far its partition is."""

    store: FinalizerStore
    fence: Fence
    look: Looking
    epoch: int = 0
    offset: int = 0

    async def own(self) -> None:
        (owned,) = await self.fence.acquire([Claim(TopicPartition(LIFECYCLE, 0), "id")])
        self.epoch, self.offset = owned.epoch, owned.next_offset

    async def commit(self, changes: Changes) -> Committed:
        at = TopicPartition(LIFECYCLE, 0)
        committed = await self.store.commit(changes, [Move(at, self.epoch, self.offset, self.offset + 1)])
        self.offset += 1
        return committed

    async def hear(self, *messages: LifecycleMessage, resets: Sequence[ResetBreaker] = ()) -> Committed:
        compared = {each.execution_id: each for each in messages if isinstance(each, Compared)}
        rows = latest_rows(messages)
        return await self.commit(
            Changes(rows, compared, outcomes=outcomes(messages, rows), resets=list(resets))
        )


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        fence = LocalFence()
        store = MemoryFinalizerStore(fence)

        async def look(execution_id: str) -> dict[str, object] | None:
            row = store.runs.get(execution_id)
            if row is None:
                return None
            kept = {name: getattr(row, name) for name in COLUMNS if name not in ORIGINS}
            comparison = store.comparisons.get(execution_id)
            return {
                **kept,
                **{name: getattr(row.origin, name) for name in ORIGINS},
                "is_compared": bool(comparison),
            }

        yield await owned(Rows(store, fence, look))
        return
    pool = await connect_pool(request.getfixturevalue("postgres"), "records")
    await migrate(pool, "records", migration_files("outlast_finalizer"))

    async def read(execution_id: str) -> dict[str, object] | None:
        row = await pool.fetchrow(
            "select v.*, r.rank, r.seq from records_read.runs_v1 v join runs r using (execution_id)"
            " where execution_id = $1",
            execution_id,
        )
        if row is None:
            return None
        return {**{name: row[name] for name in COLUMNS}, "is_compared": row["comparison"] is not None}

    yield await owned(Rows(PostgresFinalizerStore(pool), PostgresFence(pool, LOOP), read))
    await pool.close()


async def owned(rows: Rows) -> Rows:
    await rows.own()
    return rows


def common(number: int, rank: int, seq: int, **more: object) -> dict[str, object]:
    return {
        "execution_id": execution(number),
        "company_id": "acme",
        "runbook": RunbookReference(id="r", name="r", version=1, sha256="0"),
        "event": EventReference(source="s", id=f"e-{number}", type="finding_created", time=AT),
        "mode": "workflow",
        "lane": 0,
        "rank": rank,
        "seq": seq,
        "at": AT,
        **more,
    }


def queued(number: int = 1, seq: int = 1, **more: object) -> Queued:
    return Queued(**common(number, 0, seq, **{"reason": "slot_taken", "payload": PAYLOAD, **more}))


def withheld(number: int = 1, seq: int = 2, **more: object) -> Withheld:
    told = {"status": "skipped", "reason": "throttled", "detail": "1 in 300 s"}
    return Withheld(**common(number, 0, seq, **{**told, **more}))


def started(number: int = 1, seq: int = 1, **more: object) -> Started:
    return Started(**common(number, 1, seq, **{"payload": PAYLOAD, "at": AFTER, **more}))


def waiting(number: int = 1, seq: int = 4, **more: object) -> Waiting:
    waits = (Wait(activity_id="gate", kind="signal", signal="approved"),)
    return Waiting(**common(number, 1, seq, **{"waits": waits, "started_at": AFTER, **more}))


def resuming(number: int = 1, seq: int = 6, **more: object) -> Resuming:
    return Resuming(**common(number, 1, seq, **{"started_at": AFTER, **more}))


def finished(number: int = 1, seq: int = 9, **more: object) -> Finished:
    told = {"status": "success", "steps": (), "started_at": AFTER}
    return Finished(**common(number, 1, seq, **{**told, **more}))


def compared(number: int = 1, is_agreed: bool = True) -> Compared:
    return Compared(
        execution_id=execution(number), company_id="acme", lane=0, at=AT, is_agreed=is_agreed, steps_compared=1,
        runbook=RunbookReference(id="r", name="r", version=1, sha256="0"),
    )  # fmt: skip


async def test_words_of_every_state_apply_in_their_order_whatever_order_they_come_in(rows: Rows) -> None:
    words = [queued(), started(), waiting(), resuming(), finished()]
    for number, shuffled in enumerate(permutations(words), start=1):
        for word in shuffled:
            event = msgspec.structs.replace(word.event, id=f"e-{number}")
            await rows.hear(msgspec.structs.replace(word, execution_id=execution(number), event=event))
        row = await rows.look(execution(number))
        assert row is not None
        assert (row["status"], row["rank"], row["seq"], row["reason"]) == ("success", 1, 9, "")
        assert (row["started_at"], row["finished_at"], row["payload"]) == (AFTER, AT, bytes(PAYLOAD))


async def test_each_state_is_on_record_with_what_belongs_to_it(rows: Rows) -> None:
    told: list[tuple[LifecycleMessage, dict[str, object]]] = [
        (queued(), {"status": "queued", "reason": "slot_taken", "started_at": None}),
        (started(), {"status": "running", "reason": "", "started_at": AFTER}),
        (waiting(), {"status": "waiting", "reason": ""}),
        (resuming(), {"status": "waiting", "reason": "slot_taken", "waits": None}),
        (
            finished(status="cancelled", by="ana", reason="false positive"),
            {"status": "cancelled", "ended_by": "ana", "reason": "false positive", "finished_at": AT},
        ),
    ]
    for message, expected in told:
        await rows.hear(message)
        row = await rows.look(execution())
        assert row is not None
        assert {name: row[name] for name in expected} == expected


async def test_what_was_withheld_has_ended_and_never_began(rows: Rows) -> None:
    await rows.hear(queued())
    await rows.hear(withheld())
    row = await rows.look(execution())
    assert row is not None
    assert (row["status"], row["reason"], row["detail"]) == ("skipped", "throttled", "1 in 300 s")
    assert (row["started_at"], row["finished_at"], row["payload"]) == (None, AT, bytes(PAYLOAD))
    assert await rows.store.finished([execution()]) == {
        execution(): Ended(0, "acme", "r", has_payload=True, is_engines=False)
    }


async def test_how_a_run_came_to_be_is_what_its_latest_word_says(rows: Rows) -> None:
    await rows.hear(queued(origin=Origin(generation=3)))
    origin = Origin(generation=3, is_degraded=True, started_by="ana", instead_of=execution(2))
    await rows.hear(started(mode="inline", origin=origin))
    row = await rows.look(execution())
    assert row is not None
    assert (row["mode"], row["is_degraded"], row["generation"]) == ("inline", True, 3)
    assert (row["started_by"], row["instead_of"]) == ("ana", execution(2))


async def test_a_payload_that_comes_late_is_kept_and_changes_nothing_else(rows: Rows) -> None:
    assert list((await rows.hear(finished(mode="inline"))).bare) == [execution()]
    before = await rows.look(execution())
    assert before is not None
    assert list((await rows.hear(finished(mode="inline"))).bare) == [execution()], "still none"
    assert not (await rows.store.finished([execution()]))[execution()].is_whole
    for late in (queued(), started(), withheld(payload=PAYLOAD), finished(payload=PAYLOAD)):
        number = {Queued: 1, Started: 2, Withheld: 3, Finished: 4}[type(late)]
        await rows.hear(finished(number, mode="inline"))
        told = msgspec.structs.replace(late, execution_id=execution(number), mode="inline")
        committed = await rows.hear(told)
        assert not committed.bare
        row = await rows.look(execution(number))
        assert row == {**before, "payload": bytes(PAYLOAD)}
    assert not (await rows.hear(finished(mode="inline"))).bare


async def test_a_durable_run_lacks_nothing_without_a_payload_for_its_history_has_it(rows: Rows) -> None:
    await rows.hear(started(payload=UNSET))
    assert not (await rows.hear(finished())).bare
    assert not (await rows.hear(finished())).bare, "told again"
    assert (await rows.store.finished([execution()]))[execution()].is_whole
    row = await rows.look(execution())
    assert row is not None
    assert row["payload"] is None


async def test_the_first_payload_stays(rows: Rows) -> None:
    await rows.hear(queued())
    await rows.hear(started(payload=Raw(b"{}")), finished(payload=Raw(b"[]")))
    row = await rows.look(execution())
    assert row is not None
    assert row["payload"] == bytes(PAYLOAD)


async def test_what_lacks_a_payload_is_named_only_once_it_has_ended(rows: Rows) -> None:
    assert not (await rows.hear(queued(payload=UNSET))).bare
    assert list((await rows.hear(withheld())).bare) == [execution()]
    assert not (await rows.store.finished([execution()]))[execution()].is_whole


async def test_a_comparison_may_come_before_its_run_and_counts_once(rows: Rows) -> None:
    assert list((await rows.hear(compared(is_agreed=False))).new_comparisons) == [execution()]
    assert not (await rows.hear(compared(is_agreed=False), started(mode="shadow"))).new_comparisons
    await rows.hear(finished(mode="shadow"), finished(2, mode="shadow"))
    for number, is_compared in ((1, True), (2, False)):
        row = await rows.look(execution(number))
        assert row is not None
        assert (row["status"], row["is_compared"]) == ("success", is_compared)
    assert list(await rows.store.compared([execution(), execution(2)])) == [execution()]
    assert not (await rows.store.finished([execution()]))[execution()].is_engines


async def test_nothing_is_recorded_by_who_does_not_own_the_partition(rows: Rows) -> None:
    zombie = Rows(rows.store, rows.fence, rows.look, rows.epoch, rows.offset)
    await rows.own()
    with pytest.raises(Fenced):
        await zombie.hear(started(), compared())
    assert await rows.look(execution()) is None
    assert not await rows.store.compared([execution()])


async def test_a_row_that_the_database_refuses_leaves_nothing_of_its_batch(rows: Rows) -> None:
    with pytest.raises(DataRejected):
        await rows.hear(started(), withheld(2, detail="a\x00b"))
    assert await rows.look(execution()) is None


# ---- breakers ----------------------------------------------------------------------------------------------------

KEY = Key("acme", "r")


def failed(number: int, generation: int = 0, **more: object) -> Finished:
    return finished(number, status="failed", origin=Origin(generation=generation), **more)


def reset_order(command_id: str = "c-1") -> ResetBreaker:
    return ResetBreaker(
        command_id=command_id, company_id="acme", runbook_id="r", by="ana", at=AT, lane=0, reason="fixed"
    )


async def fail(rows: Rows, *numbers: int, generation: int = 0) -> Mapping[Key, BreakerState]:
    changed: dict[Key, BreakerState] = {}
    for number in numbers:
        changed |= (await rows.hear(failed(number, generation))).breakers
    return changed


async def test_the_tenth_failure_in_a_row_opens_the_breaker_and_no_other_does(rows: Rows) -> None:
    assert not await fail(rows, *range(1, 10))
    assert await fail(rows, 10) == {KEY: BreakerState(0, 10, AT)}
    assert not await fail(rows, 11), "it is open"


async def test_failures_of_one_batch_count_each(rows: Rows) -> None:
    committed = await rows.hear(*[failed(number) for number in range(1, 13)])
    assert committed.breakers == {KEY: BreakerState(0, 10, AT)}


async def test_a_run_that_is_said_to_have_failed_again_counts_once(rows: Rows) -> None:
    await fail(rows, *range(1, 10))
    for _ in range(3):
        assert not (await rows.hear(failed(9))).breakers
        assert not (await rows.hear(started(9, seq=2), failed(9))).breakers
    assert await fail(rows, 10)


async def test_a_success_clears_the_count_also_within_a_batch(rows: Rows) -> None:
    await fail(rows, *range(1, 10))
    await rows.hear(finished(20))
    await rows.hear(*[failed(number) for number in range(30, 39)], finished(39), failed(40))
    assert not await fail(rows, *range(41, 49))
    assert await fail(rows, 49)


async def test_a_success_of_another_runbook_clears_nothing(rows: Rows) -> None:
    await fail(rows, *range(1, 10))
    await rows.hear(finished(20, runbook=RunbookReference(id="other", name="r", version=1, sha256="0")))
    assert await fail(rows, 10)


async def test_a_reset_closes_raises_the_generation_and_late_failures_do_not_count(rows: Rows) -> None:
    await fail(rows, *range(1, 11))
    committed = await rows.hear(resets=[reset_order()])
    assert committed.breakers == {KEY: BreakerState(1, 0, None)}
    assert not await fail(rows, *range(100, 130))
    assert not await fail(rows, *range(200, 209), generation=1)
    assert await fail(rows, 209, generation=1) == {KEY: BreakerState(1, 10, AT)}


async def test_the_same_reset_again_changes_nothing(rows: Rows) -> None:
    await rows.hear(resets=[reset_order(), reset_order()])
    await fail(rows, *range(1, 11), generation=1)
    assert not (await rows.hear(resets=[reset_order()])).breakers
    assert (await rows.hear(resets=[reset_order("c-2")])).breakers == {KEY: BreakerState(2, 0, None)}


async def test_nothing_is_counted_by_who_does_not_own_the_partition(rows: Rows) -> None:
    zombie = Rows(rows.store, rows.fence, rows.look, rows.epoch, rows.offset)
    await rows.own()
    for number in range(1, 10):
        await rows.hear(failed(number))
    with pytest.raises(Fenced):
        await zombie.hear(failed(10), resets=[reset_order()])
    assert await fail(rows, 11) == {KEY: BreakerState(0, 10, AT)}


# ---- silence -----------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
LATE = AFTER + 30 * HOUR


def resumed(number: int = 1, seq: int = 7, **more: object) -> Resumed:
    return Resumed(**common(number, 1, seq, **{"started_at": AFTER, **more}))


async def silent(rows: Rows, until: datetime, page_max: int = 10) -> list[str]:
    return [each.execution_id for each in await rows.store.silent([0], until, page_max)]


async def test_only_runs_that_run_fall_silent_a_quarter_of_an_hour_after_their_last_word(rows: Rows) -> None:
    await rows.hear(started(1), queued(2), started(3), started(4), started(5))
    await rows.hear(waiting(3), finished(4), waiting(5))
    await rows.hear(resumed(5, at=AT + HOUR))
    due = AFTER + HOUR / 4
    assert await silent(rows, due - timedelta(seconds=1)) == []
    assert await silent(rows, due) == [execution(1)]
    assert await silent(rows, AT + 2 * HOUR) == [execution(1), execution(5)]
    assert await rows.store.silent([1, 2], LATE, 10) == []
    assert await rows.store.silent([0], due, 10) == [
        Silent(execution(1), 0, "acme", "r", "workflow", True, AFTER)
    ]


async def test_a_page_is_the_most_urgent_and_who_is_asked_about_comes_back_later(rows: Rows) -> None:
    await rows.hear(*[started(number, at=AT + number * timedelta(seconds=1)) for number in range(1, 6)])
    page = await silent(rows, LATE, 2)
    assert page == [execution(1), execution(2)]
    await rows.commit(Changes(checked=dict.fromkeys(page, LATE + HOUR)))
    assert await silent(rows, LATE, 2) == [execution(3), execution(4)]
    assert await silent(rows, LATE + HOUR) == [execution(number) for number in (3, 4, 5, 1, 2)]


async def ask(rows: Rows, *numbers: int, at: datetime) -> list[Finished]:
    committed = await rows.commit(Changes(asked={execution(number): at for number in numbers}))
    return list(committed.given_up)


async def test_who_was_asked_about_in_vain_after_a_long_silence_is_given_up_once(rows: Rows) -> None:
    origin = Origin(generation=3, is_slotted=True, is_degraded=True, started_by="ana")
    await rows.hear(started(1, mode="inline", origin=origin, chain=(execution(9),)), started(2), waiting(2))
    assert await ask(rows, 1, 2, 7, at=LATE) == [], "the first question"
    assert await ask(rows, 1, at=LATE + HOUR / 5) == [], "whoever answers it has had no time"
    (said,) = await ask(rows, 1, 2, at=LATE + HOUR)
    assert (said.status, said.rank, said.at, said.origin) == ("failed", 2, LATE + HOUR, origin)
    assert (said.started_at, said.chain, said.mode) == (AFTER, (execution(9),), "inline")
    row = await rows.look(execution(1))
    assert row is not None
    assert (row["status"], row["rank"], row["finished_at"]) == ("failed", 2, LATE + HOUR)
    assert row["payload"] == bytes(PAYLOAD)
    assert list(await rows.store.given_up([execution(1), execution(2), execution(7)])) == [said]
    assert await ask(rows, 1, at=LATE + 2 * HOUR) == []
    assert not (await rows.store.finished([execution(1)]))[execution(1)].is_engines
    assert await silent(rows, LATE + 99 * HOUR) == []
    await rows.hear(finished(1, mode="inline"), said)
    assert (await rows.look(execution(1))) == row


async def test_a_durable_run_is_not_given_up(rows: Rows) -> None:
    await rows.hear(started(1))
    for hours in range(0, 100, 10):
        assert await ask(rows, 1, at=LATE + hours * HOUR) == []


async def test_a_word_makes_the_questions_of_before_void(rows: Rows) -> None:
    await rows.hear(started(1, mode="inline"))
    assert await ask(rows, 1, at=LATE) == []
    await rows.hear(resumed(1, mode="inline", at=AT))
    assert await ask(rows, 1, at=LATE + HOUR) == [], "the first since"
    assert len(await ask(rows, 1, at=LATE + 2 * HOUR)) == 1


async def test_an_end_in_the_batch_of_the_question_is_the_end(rows: Rows) -> None:
    await rows.hear(started(1, mode="inline"))
    await ask(rows, 1, at=LATE)
    end = finished(1, mode="inline")
    committed = await rows.commit(Changes(latest_rows([end]), asked={execution(1): LATE + HOUR}))
    assert not committed.given_up
    row = await rows.look(execution(1))
    assert row is not None
    assert row["status"] == "success"


async def test_the_runs_of_an_event_are_found_by_an_index(postgres: str) -> None:
    pool = await connect_pool(postgres, "records")
    await migrate(pool, "records", migration_files("outlast_finalizer"))
    await pool.execute(
        """insert into runs (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256,
            mode, status, rank, seq, event_source, event_id, event_type, event_time, lane)
        select gen_random_uuid(), 'acme', 'r', 'r', 1, '0', 'workflow', 'running', 1, 1, 's', 'e-' || g,
            'finding_created', now(), 0 from generate_series(1, 2000) g"""
    )
    await pool.execute("analyze runs")
    wanted: list[object] = ["acme", None, None, None, None, None, "e-7", *[None] * 4, 50]
    plan = await pool.fetch(f"explain {QUERIES['runs_page']}", *wanted)
    assert any("runs_by_event" in row[0] for row in plan), plan
    await pool.close()
