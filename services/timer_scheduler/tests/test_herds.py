"""Many timers: what they may not starve, and how much of them is held."""

from outlast import limits
from outlast.contracts.messages import StartTimer

from .world import World, after, execution

HERD = 20_000
CROWD = 3 * limits.TIMERS_HELD_MAX
"""More than there is room for."""


EXECUTIONS = [execution(number) for number in range(HERD)]


async def herd(world: World, seconds: float, count: int = HERD) -> None:
    for number, name in enumerate(EXECUTIONS[:count]):
        world.send(
            StartTimer(execution_id=name, timer_id=f"h{number}", fire_at=after(seconds)), name, partition=0
        )
    while len(world.store.timers) < count:
        await world.turns(1)


async def test_a_herd_starves_neither_a_lone_timer_nor_new_commands():
    world = World()
    await herd(world, 10)
    world.start_timer(HERD, 10.5, "lone", partition=1)
    await world.turns(1)
    world.clock.seconds = 10.5
    world.start_timer(HERD + 1, 10.5, "new", partition=2)
    await world.turns(1)
    fired = world.fired()
    assert {"lone", "new"} < set(fired)
    assert len(fired) == limits.TIMERS_FIRED_MAX
    await world.turns(2 * HERD // limits.TIMERS_FIRED_MAX)
    assert len(world.fired()) == len(set(world.fired())) == HERD + 2
    assert world.store.timers == {}


async def test_what_is_held_of_a_herd_is_bounded_and_all_of_it_fires_in_order():
    world = World(partitions=1)
    await herd(world, 10, CROWD)
    assert held(world) <= limits.TIMERS_HELD_MAX * 5 // 4
    world.start()
    await world.turns(1)
    assert held(world) == limits.TIMERS_HELD_MAX
    world.clock.seconds = 10
    turns = 0
    while world.store.timers:
        await world.turns(1)
        turns += 1
        assert held(world) <= limits.TIMERS_HELD_MAX
    assert turns <= CROWD // limits.TIMERS_FIRED_MAX + 1
    assert len(set(world.fired())) == len(world.fired()) == CROWD


async def test_an_earlier_timer_is_not_kept_back_by_a_herd_that_fills_the_memory():
    world = World(partitions=1)
    await herd(world, 20, CROWD)
    world.start_timer(CROWD, 10, "early")
    await world.turns()
    assert world.work.due_seconds(world.loop.owned) == 10
    await world.at(10)
    assert world.fired() == ["early"]


async def test_timers_beyond_the_horizon_are_read_page_by_page():
    world = World(partitions=1)
    for number in range(200):
        world.start_timer(number, number * 10.0, f"t{number}")
    await world.turns()
    assert held(world) == 5  # after 10, ..., 50 s; that of 0 s has fired
    for second in range(0, 2001, 5):
        await world.at(second)
        assert held(world) <= 6
    assert world.fired() == [f"t{number}" for number in range(200)]


async def test_a_timer_started_beyond_the_horizon_is_not_held_yet_and_fires_in_time():
    world = World(partitions=1)
    await world.turns()
    world.start_timer(1, 61, "far")
    world.start_timer(2, 59, "near")
    await world.turns()
    assert held(world) == 1
    await world.at(30)
    assert held(world) == 2
    assert [each.timer_id for each in await world.at(59)] == ["near"]
    assert [each.timer_id for each in await world.at(61)] == ["near", "far"]


def held(world: World) -> int:
    return sum(len(each) for each in world.work._upcoming.values())
