"""Signals on the loop: sent, matched, sent again until answered, whoever dies."""

import msgspec
import pytest

from outlast.contracts import topics
from outlast.contracts.messages import DeliverSignal, SignalRequest, SignalVerdict, Subscribe
from outlast.runtime.partition import moves
from outlast.runtime.tracing import HEADER
from outlast_signal_delivery.core.delivery import delivery_id, resend_seconds, status_of
from outlast_signal_delivery.work import new_signal

from .world import Death, World, after, execution, request

A, B = execution(1), execution(2)
WALK_TURNS = 14
"""A partition that is acquired for the first time is walked over, one in a turn."""


@pytest.fixture
async def world() -> World:
    made = World()
    await made.turns(WALK_TURNS)
    return made


async def verdict_of(world: World, run: str, number: int = 1) -> str | None:
    answers = await world.store.answers(delivery_id("acme", f"s{number}"))
    return {answer.execution_id: answer.verdict for answer in answers}[run]


async def test_a_signal_to_an_execution_goes_to_its_partition_as_it_was_sent(world: World) -> None:
    world.send(request(run=A))
    await world.turns()
    (sent,) = world.delivered()
    assert msgspec.structs.asdict(sent) == msgspec.structs.asdict(
        DeliverSignal(
            execution_id=A, company_id="acme", signal_id="s1", name="approved", payload=sent.payload,
            sent_by="eve", sent_at=after(0),
        )
    )  # fmt: skip
    assert bytes(sent.payload) == b'{"by":"eve"}'
    (received,) = world.broker.messages(topics.ENGINE_INBOX)
    assert dict(received.headers)[HEADER].startswith(b"00-")


async def test_without_an_answer_it_is_sent_again_with_back_off(world: World) -> None:
    world.send(request(run=A))
    await world.turns()
    counts = [len(await world.at(seconds)) for seconds in (1.9, 2, 4, 6, 12, 14)]
    assert counts == [1, 2, 2, 3, 3, 4]


def test_the_back_off_ends_at_a_minute() -> None:
    assert [resend_seconds(attempts) for attempts in (1, 2, 3, 4, 5, 6, 99)] == [2, 4, 8, 16, 32, 60, 60]


async def test_an_answer_ends_the_sending(world: World) -> None:
    world.send(request(run=A))
    await world.turns()
    world.answer(A, "consumed")
    assert len(await world.at(3_600)) == 1
    assert await verdict_of(world, A) == "consumed"


async def test_with_nothing_open_the_database_is_left_alone(world: World) -> None:
    await world.turns()
    looks = world.store.looks
    for seconds in range(1, 29):
        await world.at(seconds)
    assert world.store.looks == looks


async def test_with_something_open_it_is_looked_at_once_a_second_at_most(world: World) -> None:
    for number in range(50):
        world.send(request(number, run=execution(number)))
    await world.turns()
    before = world.store.looks
    for tenth in range(1, 101):
        await world.at(tenth / 10)
    assert world.store.looks - before <= 10


async def test_what_was_recorded_without_a_poke_is_found(world: World) -> None:
    await world.turns()
    await world.store.accept(new_signal(request(run=A), ""), after(0))
    assert await world.at(31) == [("s1", A)]


async def test_a_key_reaches_all_that_wait_and_a_late_one_too(world: World) -> None:
    world.wait(A)
    world.wait(B, started=-1)
    world.wait(execution(3), key="F-2")
    await world.turns()
    world.send(request(key="F-1"))
    await world.turns()
    assert sorted(world.said()) == sorted([("s1", A), ("s1", B)])
    world.wait(execution(4), started=-5)
    world.wait(execution(5), started=5)
    await world.turns()
    assert sorted(world.said()) == sorted([("s1", A), ("s1", B), ("s1", execution(4))])
    assert {each.key for each in world.delivered()} == {"F-1"}


async def test_a_run_that_left_before_gets_nothing(world: World) -> None:
    world.wait(A)
    world.leave(A)
    await world.turns()
    world.send(request(key="F-1"))
    await world.turns()
    assert world.said() == []


@pytest.mark.parametrize("verdict", ["late", "unknown"])
async def test_a_lost_unsubscribe_costs_one_signal(world: World, verdict: str) -> None:
    world.wait(A)
    await world.turns()
    world.send(request(1, key="F-1"))
    await world.turns()
    world.answer(A, verdict)
    await world.turns()
    world.send(request(2, key="F-1"))
    assert await world.at(100) == [("s1", A)]


async def test_a_run_that_nobody_knows_is_answered_for_good(world: World) -> None:
    world.send(request(run=A))
    await world.turns()
    world.answer(A, "unknown")
    assert len(await world.at(3_600)) == 1
    assert await verdict_of(world, A) == "unknown"


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_run_with_a_record_is_tried_again_until_the_engine_knows_it(
    world: World, is_away: bool
) -> None:
    world.runs.pairs.add(("acme", A))
    world.runs.is_away = is_away
    world.send(request(run=A))
    await world.turns()
    world.answer(A, "unknown")
    await world.at(2)
    assert await verdict_of(world, A) is None
    assert len(world.said()) == 2
    world.answer(A, "early")
    await world.turns()
    assert await verdict_of(world, A) == "early"


async def test_another_companys_verdict_is_not_ours(world: World) -> None:
    world.send(request(run=A))
    await world.turns()
    world.answer(A, "consumed", company="other")
    await world.turns()
    assert await verdict_of(world, A) is None


@pytest.mark.parametrize(
    "nowhere",
    [
        "019b8a00-0000-8fff-8000-000000000001",  # no such partition
        "00000000-0000-0000-0000-000000000000",  # not of a run: the engine lays it aside and answers nothing
        "7e3c1f62-2c1d-4001-9a0b-3f5d2c4b6a79",
    ],
)
async def test_an_execution_that_cannot_be_is_unknown_and_stops_nobody(world: World, nowhere: str) -> None:
    world.send(request(1, run=nowhere))
    world.send(request(2, run=A))
    await world.turns()
    await world.store.accept(new_signal(request(3, run=nowhere), ""), after(0))
    await world.at(40)
    assert set(world.said()) == {("s2", A)}
    assert await verdict_of(world, nowhere) == "unknown"
    assert await verdict_of(world, nowhere, 3) == "unknown"


async def test_an_expired_signal_is_closed_and_sent_no_more(world: World) -> None:
    world.send(request(run=A, expires=5))
    await world.turns()
    said = len(await world.at(4.9))
    assert len(await world.at(100)) == said
    (shown,) = (await world.store.shown([delivery_id("acme", "s1")])).values()
    assert shown.is_closed


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not json",
        b'{"type":"signal_request.v1"}',
        b'{"type":"other.v1"}',
        request(run="no-uuid"),
        request(run=A.upper()),
        request(),
        request(run=A, key="F-1"),
        request(key="F\x00"),
        request(key="k" * 257),
        request(run=A, company="c" * 129),
        msgspec.structs.replace(request(run=A), signal_id="two words"),
        msgspec.structs.replace(request(run=A), payload=msgspec.Raw(b'"' + b"x" * 65_536 + b'"')),
        msgspec.structs.replace(request(run=A), sent_at=after(0).replace(tzinfo=None)),
        msgspec.structs.replace(request(run=A), payload=msgspec.Raw(b"1e400")),
        msgspec.structs.replace(request(run=A), payload=msgspec.Raw(b'"\xff"')),
        msgspec.structs.replace(request(run=A), payload=msgspec.Raw(b"[" * 65 + b"]" * 65)),
    ],
    ids=range(17),
)
async def test_a_message_that_cannot_be_taken_is_laid_aside_and_stops_nobody(
    world: World, bad: SignalRequest | bytes
) -> None:
    world.append(topics.SIGNALS, bad, "s0")
    world.send(request(2, run=A))
    await world.turns()
    assert (world.dead(), world.said()) == (1, [("s2", A)])


async def test_bad_subscriptions_and_verdicts_are_laid_aside(world: World) -> None:
    bad = Subscribe(
        execution_id="x", activity_id="a", company_id="acme", signal="s", key="k", started_at=after(0)
    )
    world.append(topics.SUBSCRIPTIONS, bad)
    world.append(
        topics.VERDICTS,
        SignalVerdict(signal_id="s1", execution_id=A, company_id="acme", verdict="perhaps"),
    )
    await world.turns()
    assert world.dead() == 2


async def test_a_message_that_comes_twice_is_one_signal(world: World) -> None:
    for _ in range(3):
        world.send(request(run=A))
        world.wait(A)
    await world.turns()
    assert world.said() == [("s1", A)]


async def test_a_process_that_dies_before_it_stores_loses_nothing(world: World) -> None:
    def die(_: object) -> None:
        raise Death

    world.store.before_commit = die
    world.send(request(run=A))
    with pytest.raises(Death):
        await world.turns()
    world.store.before_commit = lambda _: None
    world.start("b")
    world.broker.end_session("signals", "a")
    await world.turns()
    assert world.said() == [("s1", A)]


async def test_what_a_process_stored_and_did_not_say_its_successor_says(world: World) -> None:
    world.wait(B)
    await world.turns()
    world.send(request(1, run=A))
    world.send(request(2, key="F-1"))
    batch = await world.source.poll(100, 0)
    work = world.loop._work
    turn = await work.decide(batch)
    await work.commit(turn, moves(world.loop._owned, batch, turn))
    world.broker.end_session("signals", "a")
    world.start("b")
    await world.turns()
    assert sorted(set(world.said())) == sorted([("s1", A), ("s2", B)])


async def test_all_that_is_unanswered_is_said_again_when_the_brokers_data_is_lost(world: World) -> None:
    for number in range(1, 6):
        world.send(request(number, run=execution(number)))
    await world.turns()
    world.answer(execution(1), "consumed")
    await world.turns()
    world.broker.lose_everything()
    world.ensure_topics()
    world.start("b")
    await world.turns(WALK_TURNS)
    assert {run for _, run in world.said()} == {execution(number) for number in range(2, 6)}


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ((True, 1, 0, 1, False), "pending"),
        ((True, 1, 1, 0, False), "delivered"),
        ((True, 1, 0, 0, False), "undeliverable"),
        ((True, 1, 0, 1, True), "expired"),
        ((True, 1, 1, 0, True), "delivered"),
        ((False, 0, 0, 0, False), "pending"),
        ((False, 3, 0, 0, False), "pending"),
        ((False, 3, 1, 2, False), "delivered"),
        ((False, 0, 0, 0, True), "expired"),
    ],
)
def test_the_status_follows_from_the_verdicts(numbers: tuple[bool, int, int, int, bool], status: str) -> None:
    assert status_of(*numbers) == status
