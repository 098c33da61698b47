"""One suite for the rows of signals, in memory and in Postgres: recorded once, matched both ways, answered, fenced."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from msgspec import Raw
from tests.stores.memory_signals import MemorySignalStore

from outlast import ids
from outlast.contracts.messages import SignalRequest, Subscribe, Unsubscribe
from outlast.contracts.topics import SIGNALS, Claim, TopicPartition
from outlast.db.fence import Fence, Move, PostgresFence
from outlast.db.local import LocalFence
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.errors import DataRejected, Fenced
from outlast_signal_delivery.core.delivery import NOT_FINAL, RANKS, delivery_id
from outlast_signal_delivery.limits import DUE_MAX, KEPT_FOR_A_WAIT_MAX, SENDINGS_MAX
from outlast_signal_delivery.store import (
    LOOP,
    Changes,
    Committed,
    NewSignal,
    PostgresSignalStore,
    Said,
    Sent,
    SignalStore,
)
from outlast_signal_delivery.work import new_signal

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
AT = TopicPartition(SIGNALS, 0)


def execution(number: int) -> str:
    return ids.execution_id(1_767_571_200_000, 4, "acme", "test", str(number), "rb")


A, B = sorted((execution(1), execution(2)))


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def signal(
    number: int = 1, *, run: str = "", key: str = "", sent: float = 0, expires: float = 3600, company: str = "acme",
    for_future: bool = False, name: str = "approved",
) -> NewSignal:  # fmt: skip
    request = SignalRequest(
        signal_id=f"s{number}", company_id=company, name=name, execution_id=run, key=key, payload=Raw(b'{"a":1}'),
        sent_by="eve", sent_at=after(sent), expires_at=after(expires), for_future=for_future,
    )  # fmt: skip
    return new_signal(request, "")


def wait(
    run: str, *, key: str = "F-1", started: float = -60, activity: str = "a", company: str = "acme"
) -> Subscribe:
    return Subscribe(
        execution_id=run, activity_id=activity, company_id=company, signal="approved", key=key,
        started_at=after(started),
    )  # fmt: skip


def said(each: NewSignal, run: str, verdict: str, rank: int | None = None) -> Said:
    return Said(each.delivery_id, run, verdict, rank or RANKS[verdict])


class Acquiring(Protocol):
    async def acquire(self, claims: list[Claim]) -> object: ...


@dataclass
class Rows:
    """A store under test, and how far its one partition is."""

    store: SignalStore
    fence: Fence
    offset: int = 0
    epoch: int = 0
    seen: list[Committed] = field(default_factory=list)

    async def own(self) -> None:
        (owned,) = await self.fence.acquire([Claim(AT, "id")])
        self.epoch, self.offset = owned.epoch, owned.next_offset

    async def commit(self, at_seconds: float = 0, **changes: object) -> Committed:
        made = Changes(after(at_seconds), **changes)  # pyright: ignore[reportArgumentType] lists by name
        done = await self.store.commit(made, [Move(AT, self.epoch, self.offset, self.offset + 1)])
        self.offset += 1
        return done

    async def verdicts(self, each: NewSignal) -> dict[str, str | None]:
        return {answer.execution_id: answer.verdict for answer in await self.store.answers(each.delivery_id)}

    async def open(self, each: NewSignal) -> list[str]:
        runs = [answer.execution_id for answer in await self.store.answers(each.delivery_id)]
        sent = await self.store.open_targets((), runs)
        return [found.execution_id for found in sent if found.delivery_id == each.delivery_id]


@pytest.fixture(params=["memory", "postgres"])
async def rows(request: pytest.FixtureRequest) -> AsyncIterator[Rows]:
    if request.param == "memory":
        fence = LocalFence()
        made = Rows(MemorySignalStore(fence), fence)
        await made.own()
        yield made
        return
    pool = await connect_pool(request.getfixturevalue("postgres"), "signals", 3, is_reset=False)
    await migrate(pool, "signals", migration_files("outlast_signal_delivery"))
    made = Rows(PostgresSignalStore(pool), PostgresFence(pool, LOOP))
    await made.own()
    yield made
    await pool.close()


async def test_a_signal_to_an_execution_is_sent_when_it_is_stored_and_not_by_the_next_message_about_it(
    rows: Rows,
) -> None:
    each = signal(run=A)
    done = await rows.commit(signals=[each])
    (sending,) = done.sendings
    assert done.new == {each.delivery_id}
    assert (sending.execution_id, sending.attempts, sending.payload) == (A, 1, b'{"a":1}')
    assert (sending.signal_id, sending.company_id, sending.sent_at) == ("s1", "acme", after(0))
    again = await rows.commit(signals=[each])
    assert (again.new, again.sendings) == (set(), [])


async def test_what_a_request_has_recorded_is_sent_when_its_poke_comes(rows: Rows) -> None:
    each = signal(run=A)
    assert await rows.store.accept(each, after(0))
    assert not await rows.store.accept(each, after(0))
    done = await rows.commit(signals=[each])
    assert (done.new, [sending.execution_id for sending in done.sendings]) == (set(), [A])


async def test_without_its_poke_it_is_due_soon(rows: Rows) -> None:
    each = signal(run=A)
    await rows.store.accept(each, after(0))
    early = await rows.store.due(after(0.5), [each.bucket % 4], 4, 10)
    assert (early.sendings, early.next_at) == ([], after(1))
    late = await rows.store.due(after(1), [each.bucket % 4], 4, 10)
    assert [(found.execution_id, found.attempts) for found in late.sendings] == [(A, 0)]


async def test_two_companies_may_choose_the_same_id(rows: Rows) -> None:
    mine, other = signal(run=A), signal(run=A, company="other")
    assert await rows.store.accept(mine, after(0))
    assert await rows.store.accept(other, after(0))
    assert delivery_id("acme", "s1") == mine.delivery_id != other.delivery_id


async def test_a_key_reaches_every_run_that_waits_with_it_and_no_other(rows: Rows) -> None:
    await rows.commit(
        subscribed=[
            wait(A), wait(A, activity="b"), wait(B, key="F-2"), wait(execution(3), company="other"),
            wait(execution(4)),
        ]
    )  # fmt: skip
    each = signal(key="F-1")
    done = await rows.commit(signals=[each])
    assert {sending.execution_id for sending in done.sendings} == {A, execution(4)}


async def test_a_key_that_a_crowd_waits_with_is_sent_to_so_many_at_once_and_to_the_others_when_they_are_due(
    rows: Rows,
) -> None:
    await rows.commit(subscribed=[wait(execution(number)) for number in range(SENDINGS_MAX + 5)])
    each = signal(key="F-1")
    done = await rows.commit(signals=[each])
    assert len(done.sendings) == SENDINGS_MAX
    due = await rows.store.due(after(0), [each.bucket % 4], 4, DUE_MAX)
    assert len(due.sendings) == 5
    assert not {found.execution_id for found in due.sendings} & {sent.execution_id for sent in done.sendings}
    assert len(await rows.store.open_targets([each.delivery_id], ())) == SENDINGS_MAX


async def test_a_run_that_comes_to_wait_gets_the_open_signals_sent_after_it_began(rows: Rows) -> None:
    kept = [signal(number, key="F-1", sent=number) for number in (1, 2)]
    await rows.commit(signals=kept)
    done = await rows.commit(5, subscribed=[wait(A, started=1.5)])
    assert [(sending.signal_id, sending.execution_id) for sending in done.sendings] == [("s2", A)]
    again = await rows.commit(6, subscribed=[wait(A, started=1.5)])
    assert again.sendings == []


async def test_a_run_that_comes_to_wait_gets_the_first_of_many_and_when_it_waits_once_more_others(
    rows: Rows,
) -> None:
    many = [signal(number, key="F-1", sent=number / 10) for number in range(KEPT_FOR_A_WAIT_MAX + 5)]
    await rows.commit(10, signals=many)
    names = [each.delivery_id for each in many]
    done = await rows.commit(11, subscribed=[wait(A)])
    assert [each.delivery_id for each in done.sendings] == names[:KEPT_FOR_A_WAIT_MAX]
    done = await rows.commit(12, subscribed=[wait(A, activity="b")])
    assert [each.delivery_id for each in done.sendings] == names[KEPT_FOR_A_WAIT_MAX:]


async def test_a_signal_for_the_future_reaches_a_run_that_begins_after_it(rows: Rows) -> None:
    await rows.commit(signals=[signal(key="F-1", for_future=True)])
    done = await rows.commit(5, subscribed=[wait(A, started=4)])
    assert len(done.sendings) == 1


async def test_an_expired_signal_reaches_nobody(rows: Rows) -> None:
    each = signal(key="F-1", expires=10)
    await rows.commit(signals=[each])
    done = await rows.commit(10, subscribed=[wait(A)])
    assert (done.sendings, await rows.verdicts(each)) == ([], {})


async def test_a_run_that_waits_no_more_gets_nothing(rows: Rows) -> None:
    await rows.commit(subscribed=[wait(A)])
    gone = Unsubscribe(execution_id=A, activity_id="a", company_id="acme", signal="approved", key="F-1")
    await rows.commit(unsubscribed=[gone])
    assert (await rows.commit(signals=[signal(key="F-1")])).sendings == []


@pytest.mark.parametrize("verdict", ["consumed", "early", "late", "rejected", "unknown"])
async def test_a_verdict_ends_the_sending(rows: Rows, verdict: str) -> None:
    each = signal(run=A)
    await rows.commit(signals=[each])
    done = await rows.commit(1, said=[said(each, A, verdict)])
    assert done.verdicts == [(each.delivery_id, verdict)]
    assert (await rows.verdicts(each), await rows.open(each)) == ({A: verdict}, [])
    shown = (await rows.store.shown([each.delivery_id]))[each.delivery_id]
    assert (shown.is_closed, shown.is_settled, shown.targets, shown.unanswered) == (True, True, 1, 0)
    assert shown.delivered == (verdict in ("consumed", "early"))


async def test_an_unknown_run_that_has_a_record_is_asked_again(rows: Rows) -> None:
    each = signal(run=A)
    await rows.commit(signals=[each])
    await rows.commit(said=[said(each, A, "unknown", NOT_FINAL)])
    assert (await rows.verdicts(each), await rows.open(each)) == ({A: None}, [A])
    assert not (await rows.store.shown([each.delivery_id]))[each.delivery_id].is_settled
    await rows.commit(said=[said(each, A, "early")])
    assert (await rows.verdicts(each), await rows.open(each)) == ({A: "early"}, [])


async def test_a_verdict_is_replaced_by_a_stronger_one_only(rows: Rows) -> None:
    each = signal(run=A)
    await rows.commit(signals=[each])
    for verdict, stands in (
        ("early", "early"),
        ("consumed", "consumed"),
        ("early", "consumed"),
        ("late", "consumed"),
    ):
        await rows.commit(said=[said(each, A, verdict)])
        assert await rows.verdicts(each) == {A: stands}


@pytest.mark.parametrize("verdict", ["late", "unknown"])
async def test_a_run_that_is_over_waits_for_the_key_no_more(rows: Rows, verdict: str) -> None:
    await rows.commit(subscribed=[wait(A), wait(B)])
    each = signal(key="F-1")
    await rows.commit(signals=[each])
    await rows.commit(said=[said(each, A, verdict, NOT_FINAL if verdict == "unknown" else None)])
    assert await rows.open(each) == [B]
    done = await rows.commit(signals=[signal(2, key="F-1")])
    assert [sending.execution_id for sending in done.sendings] == [B]


async def test_a_signal_with_a_key_stays_open_for_others_when_it_was_consumed(rows: Rows) -> None:
    await rows.commit(subscribed=[wait(A)])
    each = signal(key="F-1")
    await rows.commit(signals=[each])
    await rows.commit(said=[said(each, A, "consumed")])
    done = await rows.commit(5, subscribed=[wait(B)])
    assert [sending.execution_id for sending in done.sendings] == [B]


async def test_a_verdict_on_what_nobody_sent_changes_nothing(rows: Rows) -> None:
    each = signal(run=A)
    assert (await rows.commit(said=[said(each, A, "consumed")])).verdicts == []
    await rows.commit(signals=[each])
    assert (await rows.commit(said=[said(each, B, "consumed")])).verdicts == []
    assert await rows.open(each) == [A]


async def test_what_was_sent_again_is_due_later(rows: Rows) -> None:
    each = signal(run=A)
    await rows.commit(signals=[each])
    await rows.commit(2, sent=[Sent(each.delivery_id, A, 2, after(6))])
    mine = [each.bucket % 4]
    assert (await rows.store.due(after(5.9), mine, 4, 10)).sendings == []
    (found,) = (await rows.store.due(after(6), mine, 4, 10)).sendings
    assert found.attempts == 2
    assert (
        await rows.store.due(after(6), [number for number in range(4) if number not in mine], 4, 10)
    ).sendings == []


async def test_an_expired_signal_is_sent_to_nobody_any_more(rows: Rows) -> None:
    each = signal(run=A, expires=10)
    await rows.commit(signals=[each])
    mine = [each.bucket % 4]
    due = await rows.store.due(after(10), mine, 4, 10)
    assert (due.sendings, due.expired) == ([], [(each.delivery_id, each.bucket)])
    await rows.commit(10, expired=[each.delivery_id])
    assert await rows.open(each) == []
    assert (await rows.store.due(after(11), mine, 4, 10)) == ([], [], None)
    assert (await rows.store.shown([each.delivery_id]))[each.delivery_id].is_closed


async def test_the_walk_gives_every_signal_without_an_answer_once(rows: Rows) -> None:
    many = [signal(number, run=execution(number)) for number in range(20)]
    await rows.commit(signals=many)
    await rows.commit(said=[said(many[0], execution(0), "consumed")])
    walked: list[str] = []
    for partition in range(4):
        at = ""
        while page := await rows.store.outstanding_page(partition, 4, at, 3):
            assert list(page) == sorted(page)
            walked += page
            at = page[-1]
    assert sorted(walked) == sorted(each.delivery_id for each in many[1:])


async def test_the_walk_gives_what_came_early_too_because_its_last_word_may_be_lost(rows: Rows) -> None:
    early, over = signal(1, run=A), signal(2, run=A)
    await rows.commit(signals=[early, over])
    await rows.commit(said=[said(early, A, "early"), said(over, A, "late")])
    pages = [await rows.store.outstanding_page(partition, 4, "", 9) for partition in range(4)]
    assert [name for page in pages for name in page] == [early.delivery_id]
    assert [
        each.delivery_id for each in await rows.store.open_targets([early.delivery_id, over.delivery_id], ())
    ] == [early.delivery_id]
    assert await rows.store.open_targets((), [A]) == []


async def test_closed_signals_are_forgotten_and_open_ones_are_not(rows: Rows) -> None:
    closed, left = signal(1, run=A), signal(2, run=A)
    await rows.commit(signals=[closed, left])
    await rows.commit(said=[said(closed, A, "consumed")])
    assert await rows.store.prune(after(0)) == 0
    assert await rows.store.prune(after(1)) == 1
    assert (await rows.store.shown([closed.delivery_id, left.delivery_id])).keys() == {left.delivery_id}
    assert await rows.open(left) == [A]


async def test_a_zombie_stores_nothing(rows: Rows) -> None:
    zombie = Rows(rows.store, rows.fence, rows.offset, rows.epoch)
    await rows.own()
    with pytest.raises(Fenced):
        await zombie.commit(signals=[signal(run=A)])
    assert await rows.store.shown([signal(run=A).delivery_id]) == {}


@pytest.mark.parametrize(
    "bad", [signal(run="not-a-uuid"), signal(key="F\x00"), signal(name="a\x00", key="k")]
)
async def test_a_row_that_cannot_be_stored_is_refused_with_its_batch(rows: Rows, bad: NewSignal) -> None:
    with pytest.raises(DataRejected):
        await rows.commit(signals=[signal(9, run=A), bad])
    assert await rows.store.shown([signal(9).delivery_id]) == {}
    assert (await rows.commit(signals=[signal(9, run=A)])).new


async def test_a_signal_and_a_subscription_that_are_stored_at_once_do_not_miss_each_other(rows: Rows) -> None:
    for number in range(30):
        run, key = execution(100 + number), f"K-{number}"
        each = signal(number, key=key)
        await asyncio.gather(rows.store.accept(each, after(0)), rows.commit(subscribed=[wait(run, key=key)]))
        assert [answer.execution_id for answer in await rows.store.answers(each.delivery_id)] == [run]
