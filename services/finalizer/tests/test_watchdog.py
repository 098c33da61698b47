"""Runs that go on without a word: who is asked about them, how often, and when they have failed."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.memory_finalizer import MemoryFinalizerStore

from outlast import limits
from outlast.contracts.parts import Origin
from outlast.db.fence import Move
from outlast.testing.world import BEGIN
from outlast_finalizer.core.watchdog import is_given_up, next_check
from outlast_finalizer.settings import read_settings
from outlast_finalizer.store import Changes, Committed, FinalizerStore

from .world import LANE, PATIENCE, Death, World, execution

DAY = 24 * 60


@pytest.fixture
def world() -> World:
    return World()


# ---- asking ------------------------------------------------------------------------------------------------------


async def test_a_silent_run_is_asked_about_after_a_quarter_of_an_hour_and_not_before(world: World):
    world.start_run(1)
    await world.at(14.9)
    assert world.probed() == []
    await world.at(15.6)
    assert world.probed() == [execution(1)]
    assert world.run(1).status == "running"


async def test_the_engine_is_asked_about_its_runs_and_the_matcher_about_all_others(world: World):
    world.start_run(1)
    world.start_run(2, "inline")
    world.start_run(3, "shadow")
    await world.at(16)
    assert (world.probed(), set(world.asked())) == ([execution(1)], {execution(2), execution(3)})


async def test_a_run_that_waits_or_has_ended_is_never_asked_about(world: World):
    for number in (1, 2, 3):
        world.start_run(number)
    world.wait(1)
    world.end(2)
    world.wait(3)
    await world.at(1)
    world.end(3)
    for minutes in (20, DAY, 30 * DAY):
        await world.at(minutes)
    assert (world.probed(), world.asked()) == ([], [])
    assert world.run(1).status == "waiting"


async def test_a_word_begins_the_silence_anew(world: World):
    world.start_run(1)
    world.wait(1)
    await world.at(40)
    world.resume(1)
    await world.at(54)
    assert world.probed() == []
    await world.at(56)
    assert world.probed() == [execution(1)]


async def test_the_pauses_between_questions_grow_to_six_hours(world: World):
    world.start_run(1)
    asked_at: list[int] = []
    for minutes in range(0, 2 * DAY, 5):
        await world.at(minutes, turns=2)
        asked_at += [minutes] * (len(world.probed()) - len(asked_at))
    pauses = [later - earlier for earlier, later in zip([0, *asked_at], asked_at, strict=False)]
    assert len(asked_at) <= 14
    assert all(later >= earlier for earlier, later in pairwise(pauses))
    assert max(pauses) <= 6 * 60 + 10


async def test_one_turn_asks_about_a_page(world: World):
    count = 2 * limits.OPEN_PAGE_MAX + 7
    for number in range(count):
        world.start_run(number)
    await world.at(1, turns=30)
    said = [0]
    while said[-1] < count and len(said) < 10:
        await world.at(16, turns=1)
        said.append(len(world.probed()))
    assert max(later - earlier for earlier, later in pairwise(said)) == limits.OPEN_PAGE_MAX
    assert len(set(world.probed())) == said[-1] == count


async def test_what_was_stored_but_not_asked_is_asked_after_the_next_pause(world: World):
    world.start_run(1)
    await world.at(1)
    world.start(store=deadly(world.store))
    with pytest.raises(Death):
        await world.at(16)
    world.start("b")
    world.broker.end_session("finalizer", "a")
    await world.at(20)
    assert world.probed() == []
    await world.at(33)
    assert world.probed() == [execution(1)]


# ---- giving up ---------------------------------------------------------------------------------------------------


async def let_a_day_pass(world: World, until: int = 2 * DAY) -> None:
    for minutes in range(10, until, 30):
        await world.at(minutes)


async def test_an_inline_run_that_nothing_is_heard_of_for_a_day_has_failed(world: World):
    origin = Origin(generation=3, is_slotted=True)
    world.start_run(1, "inline", origin=origin)
    await let_a_day_pass(world, DAY)
    assert world.run(1).status == "running"
    await let_a_day_pass(world)
    (said,) = world.given_up()
    assert (said.status, said.rank, said.lane, said.origin) == ("failed", 2, LANE, origin)
    assert said.error is not None
    assert said.error.code == "watchdog"
    row = world.run(1)
    assert (row.status, row.rank, row.finished_at) == ("failed", 2, said.at)
    assert said.at - BEGIN >= timedelta(hours=24)
    assert world.recorded() == [execution(1)], "its own word is answered like any other"
    assert world.store.breakers == {}, "no failure of the runbook"


async def test_a_durable_run_is_never_failed_only_asked_about(world: World):
    world.start_run(1)
    await let_a_day_pass(world, 5 * DAY)
    assert world.given_up() == []
    assert world.run(1).status == "running"


async def test_what_the_run_says_after_it_was_given_up_changes_nothing_and_is_answered(world: World):
    world.start_run(1, "inline")
    await let_a_day_pass(world)
    world.end(1, "inline")
    await world.at(2 * DAY + 5)
    assert world.run(1).status == "failed"
    assert world.recorded() == [execution(1)] * 2


async def test_an_end_that_lies_unread_behind_the_beginning_is_read_before_anything_is_decided(world: World):
    """The finalizer was down for two days: all that it has read of the run is old."""
    world.start_run(1, "inline")
    world.clock.seconds = 60.0
    world.end(1, "inline")
    world.start("a", batch_max=1)
    for _ in range(12):
        await world.at(2 * DAY, turns=1)
    assert world.asked() == [execution(1)], "asked, since its beginning was old when it was read"
    assert world.given_up() == []
    assert world.run(1).status == "success"


async def test_an_answer_to_the_first_question_has_time_to_come(world: World):
    world.start_run(1, "inline")
    world.clock.seconds = 2 * DAY * 60.0
    await world.at(2 * DAY)
    assert len(world.asked()) == 1
    await world.at(2 * DAY + 10)
    assert world.given_up() == []
    world.end(1, "inline")
    await let_a_day_pass(world, 4 * DAY)
    assert (world.given_up(), world.run(1).status) == ([], "success")


async def test_an_end_that_was_stored_but_not_said_is_said_by_the_next_owner(world: World):
    world.start_run(1, "inline")
    world.start(store=deadly(world.store, of_asking=False))
    with pytest.raises(Death):
        await let_a_day_pass(world)
    assert (world.run(1).status, world.given_up()) == ("failed", [])
    world.start("b")
    world.broker.end_session("finalizer", "a")
    await world.at(3 * DAY)
    (said,) = world.given_up()
    assert said == world.run(1).message
    assert set(world.recorded()) == {execution(1)}


def deadly(store: MemoryFinalizerStore, *, of_asking: bool = True) -> FinalizerStore:
    """Rows whose owner dies when it has stored that somebody was asked about, or was given up."""

    class Deadly:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def commit(self, changes: Changes, moves: Sequence[Move]) -> Committed:
            committed = await store.commit(changes, moves)
            if committed.given_up or (changes.checked and of_asking):
                raise Death
            return committed

    return cast("FinalizerStore", Deadly())


# ---- the rules ---------------------------------------------------------------------------------------------------

minutes = st.integers(0, 3 * DAY).map(lambda number: BEGIN + timedelta(minutes=number))


@given(minutes, minutes)
def test_the_next_question_is_never_sooner_than_the_first_nor_later_than_six_hours(told_at, now):
    pause = next_check(min(told_at, now), now, PATIENCE) - now
    assert PATIENCE.silent_after <= pause <= timedelta(hours=6)


@given(minutes, st.none() | minutes, minutes)
def test_nobody_is_given_up_who_was_not_asked_about_and_silent_for_a_day(told_at, asked_at, heard_at):
    if is_given_up(told_at, asked_at, heard_at, PATIENCE):
        assert asked_at is not None
        assert heard_at - asked_at >= PATIENCE.silent_after
        assert heard_at - told_at >= PATIENCE.give_up_after


def test_both_times_are_settings():
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "b:1", "FINALIZER_DATABASE_URL": "postgresql://x"}
    assert read_settings(environment).patience == PATIENCE
    chosen = read_settings(
        environment | {"OUTLAST_FINALIZER_SILENT_SECONDS": "60", "OUTLAST_FINALIZER_GIVE_UP_SECONDS": "7200"}
    )
    assert chosen.patience.silent_after == timedelta(minutes=1)
    assert chosen.patience.give_up_after == timedelta(hours=2)
    with pytest.raises(SystemExit):
        read_settings(environment | {"OUTLAST_FINALIZER_SILENT_SECONDS": "0"})
