"""Timers: when they fire, how often, and what may die meanwhile."""

import pytest

from outlast.contracts import topics
from outlast.contracts.messages import StartTimer, TimerDue
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing
from outlast_timer_scheduler.core.commands import Changes

from .world import TRACE, Death, World, after, execution


def buried(world: World) -> list[str]:
    """Offsets of the dead letters; one may come twice when the batch is halved."""
    letters = world.broker.messages("timer_scheduler.dead_letters")
    return [dict(letter.headers)["dlq-offset"].decode() for letter in letters]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_timer_fires_at_its_instant_and_not_before(world: World):
    world.start_timer(1, 30)
    assert await world.at(29.999) == []
    due = TimerDue(execution_id=execution(1), timer_id="t", fire_at=after(30))
    assert await world.at(30) == [due]
    assert await world.at(3600) == [due]
    assert world.store.timers == {}


async def test_a_firing_goes_to_the_partition_of_its_execution_with_its_trace(world: World):
    for number in range(8):
        world.start_timer(number, 1, trace=TRACE)
    await world.at(1)
    assert {m.partition for m in world.received()} == {int(execution(n)[15:18], 16) for n in range(8)}
    assert all(m.headers == (("traceparent", TRACE.encode()),) for m in world.received())


async def test_the_loop_sleeps_until_the_next_timer(world: World):
    assert world.work.due_seconds([]) is None
    await world.turns()
    assert world.work.due_seconds(world.loop.owned) == 30  # the next page
    world.start_timer(1, 12.5)
    await world.turns()
    assert world.work.due_seconds(world.loop.owned) == 12.5
    world.clock.seconds = 13
    assert world.work.due_seconds(world.loop.owned) == 0


async def test_a_timer_that_is_past_fires_at_once(world: World):
    world.clock.seconds = 100
    world.start_timer(1, 5)
    await world.turns()
    assert world.fired() == ["t"]


async def test_the_same_timer_again_is_no_second_one_and_does_not_move_it(world: World):
    world.start_timer(1, 10)
    world.start_timer(1, 20)
    await world.turns()
    world.start_timer(1, 5)
    assert await world.at(9) == []
    await world.at(10)
    assert await world.at(60) == [TimerDue(execution_id=execution(1), timer_id="t", fire_at=after(10))]


async def test_a_timer_that_is_asked_for_after_it_fired_fires_again(world: World):
    world.start_timer(1, 10)
    await world.at(10)
    world.start_timer(1, 10)
    await world.turns()
    assert world.fired() == ["t", "t"]


@pytest.mark.parametrize("is_in_one_batch", [True, False])
async def test_a_cancelled_timer_does_not_fire(world: World, is_in_one_batch: bool):
    world.start_timer(1, 10)
    world.start_timer(2, 10, "other")
    if not is_in_one_batch:
        await world.turns()
    world.cancel_timer(1)
    await world.at(10)
    assert world.fired() == ["other"]
    assert world.store.timers == {}


async def test_a_timer_cancelled_and_started_anew_has_its_new_instant(world: World):
    world.start_timer(1, 10)
    await world.turns()
    world.cancel_timer(1)
    world.start_timer(1, 20)
    assert await world.at(10) == []
    assert [each.fire_at for each in await world.at(20)] == [after(20)]


async def test_a_cancel_of_a_timer_that_nobody_knows_changes_nothing(world: World):
    world.cancel_timer(1)
    assert await world.at(10) == []


async def test_a_new_process_reads_the_timers_again(world: World):
    world.start_timer(1, 10, "near")
    world.start_timer(2, 100_000, "far")
    await world.turns()
    world.start()
    assert await world.at(9) == []
    await world.at(10)
    assert world.fired() == ["near"]
    world.start()
    await world.at(100_000)
    assert world.fired() == ["near", "far"]


async def test_who_dies_between_the_acknowledgement_and_the_delete_fires_again(world: World):
    world.start_timer(1, 10)
    await world.turns()

    def die(changes: Changes) -> None:
        if changes.fired:
            raise Death

    world.store.before_commit = die
    with pytest.raises(Death):
        await world.at(10)
    assert world.fired() == ["t"]
    world.store.before_commit = lambda _changes: None
    world.start()
    await world.turns()
    assert world.fired() == ["t", "t"]
    assert world.store.timers == {}


async def test_nothing_is_deleted_that_the_broker_has_not_acknowledged(world: World):
    world.start_timer(1, 10)
    await world.turns()
    world.broker.is_up = False
    await world.at(10)
    assert len(world.store.timers) == 1
    world.broker.is_up = True
    await world.at(11)
    assert world.fired() == ["t"]
    assert world.store.timers == {}


async def test_a_commit_of_unknown_outcome_is_followed_by_reading_anew(world: World):
    world.start_timer(1, 10)
    await world.turns()

    def fail(_changes: Changes) -> None:
        world.store.before_commit = lambda _changes: None
        raise TransientError("away")

    world.store.before_commit = fail
    await world.at(10)
    await world.turns(3)
    assert world.fired() == ["t", "t"]
    assert world.store.timers == {}


async def test_what_a_refused_commit_would_have_started_is_not_held(world: World):
    await world.turns()
    world.start_timer(1, 10)

    def fence(_changes: Changes) -> None:
        world.store.before_commit = lambda _changes: None
        for row in world.fence.rows.values():
            row.epoch += 1

    world.store.before_commit = fence
    await world.turns(1)
    assert world.work.due_seconds(world.loop.owned) != 10
    assert world.store.timers == {}
    await world.at(10)
    await world.turns()
    assert world.fired() == ["t"]


async def test_a_zombie_deletes_nothing_of_its_successor(world: World):
    world.start_timer(1, 10)
    await world.turns()
    zombie, blind = world.loop, world.source
    world.broker.end_session("timers", "a")
    world.start("b")
    await world.turns()
    rows = {at: (row.epoch, row.next_offset) for at, row in world.fence.rows.items()}

    async def nothing(messages_max: int, timeout_seconds: float) -> list[Outgoing]:
        return []

    blind.poll = nothing  # type: ignore[method-assign]
    world.clock.seconds = 10
    await zombie.turn()
    assert world.fired() == ["t"]  # said by the zombie: nobody can take that back
    assert len(world.store.timers) == 1
    assert {at: (row.epoch, row.next_offset) for at, row in world.fence.rows.items()} == rows
    await world.turns()
    assert world.fired() == ["t", "t"]
    assert world.store.timers == {}


async def test_two_instances_fire_each_timer_once(world: World):
    first = world.loop
    await first.turn()
    second = world.start("b")
    for number in range(40):
        world.start_timer(number, 10, f"t{number}")
    world.clock.seconds = 5
    for _ in range(4):
        await first.turn()
        await second.turn()
    assert len(first.owned) == len(second.owned) == 2
    world.clock.seconds = 10
    await first.turn()
    await second.turn()
    assert sorted(world.fired()) == sorted(f"t{number}" for number in range(40))


async def test_what_cannot_be_read_is_buried_and_stops_nobody(world: World):
    world.broker.append(Outgoing(topics.TIMER_COMMANDS, b"{", b"k", 0))
    world.send(StartTimer(execution_id="no id", timer_id="t", fire_at=after(1)), "k", 0)
    world.send(
        StartTimer(execution_id=execution(1), timer_id="t", fire_at=after(1).replace(tzinfo=None)), "k", 0
    )
    world.send(StartTimer(execution_id=execution(1), timer_id="\x00", fire_at=after(1)), "k", 0)
    world.start_timer(2, 1, partition=0)
    await world.at(1)
    assert set(map(str, buried(world))) == {"0", "1", "2", "3"}
    assert world.fired() == ["t"]


async def test_a_topic_created_anew_keeps_the_timers_of_the_old_one(world: World):
    world.start_timer(1, 10)
    await world.turns()
    world.broker.delete_topic(topics.TIMER_COMMANDS)
    await world.turns(3)
    await world.at(10)
    assert world.fired() == ["t"]


async def test_a_timer_follows_the_partition_that_speaks_for_it(world: World):
    world.start_timer(1, 10, partition=0)
    await world.turns()
    world.start_timer(1, 10, partition=3)
    await world.turns()
    (placed,) = world.store.timers.values()
    assert placed.partition == 3
    world.start()
    await world.at(10)
    assert world.fired() == ["t"]
