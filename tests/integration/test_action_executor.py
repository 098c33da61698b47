"""The executor on the real servers: an activity in, its result out, and every place where a process can die."""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from outlast import ids
from outlast.contracts import codec

from .executor_world import TRACEPARENT, World, executor_world


@pytest.fixture
async def world(kafka: str, postgres: str, topic_prefix: str) -> AsyncIterator[World]:
    async with executor_world(kafka, postgres, topic_prefix) as world:
        yield world


async def test_an_activity_is_claimed_called_recorded_and_answered(world: World) -> None:
    await world.executor()
    activity = world.activity()
    await world.send(activity)
    (result,) = await world.received(1)
    assert result.activity_id == "tell"
    assert result.error is None
    assert msgspec.json.decode(result.output) == {"status": 200, "body": {"ok": True}}  # type: ignore[arg-type]
    _, partition, headers = world.results[0]
    assert partition == ids.engine_partition(activity.execution_id)
    assert headers["traceparent"] == TRACEPARENT.encode()
    assert world.keys == {f"{activity.execution_id}:tell:main": 1}
    rows = await world.rows("select succeeded, result, unknown_resolution from executor.claims")
    assert [(row["succeeded"], codec.inbox.decode(row["result"])) for row in rows] == [(True, result)]


async def resolutions(world: World) -> list[str | None]:
    return [
        row["unknown_resolution"]
        for row in await world.rows("select unknown_resolution from executor.claims")
    ]


@pytest.mark.parametrize(
    ("dies_at", "posts_before", "posts", "resolved"),
    [
        ("before_claim", 0, 1, ""),
        ("after_claim", 0, 1, "retried"),
        ("before_settle", 1, 2, "retried"),
        ("after_settle", 1, 1, ""),
    ],
)
async def test_a_death_at_any_point_ends_in_one_result(
    world: World, dies_at: str, posts_before: int, posts: int, resolved: str
) -> None:
    """Only an answer that was not recorded is asked for twice, and then under the same key."""
    activity = world.activity()
    key = f"{activity.execution_id}:tell:main"
    dying = await world.executor(dies_at=dies_at)
    await world.send(activity)
    await dying.died()
    assert world.keys.get(key, 0) == posts_before
    await world.executor()
    (result,) = await world.received(1)
    assert (result.error, result.resolved) == (None, resolved)
    assert world.keys == {key: posts}
    assert await resolutions(world) == [resolved or None]


async def test_an_unrepeatable_action_cut_off_fails_rather_than_repeats(world: World) -> None:
    config = msgspec.Raw(msgspec.json.encode({"url": world.url}))
    activity = world.activity(action="http_request", input=config, on_unknown="fail")
    dying = await world.executor(dies_at="before_settle")
    await world.send(activity)
    await dying.died()
    await world.executor()
    (result,) = await world.received(1)
    assert result.error is not None
    assert (result.error.code, result.resolved) == ("outcome_unknown", "failed")
    assert list(world.keys.values()) == [1]


async def test_what_was_answered_and_not_delivered_is_answered_again(world: World) -> None:
    """Dead after the commit of the results and before their delivery: the ledger answers, nothing is called."""
    activities = [world.activity() for _ in range(20)]
    dying = await world.executor(dies_at="after_settle")
    await world.send(*activities)
    await dying.died()
    assert world.results == []
    await world.executor()
    results = await world.received(20)
    assert {result.execution_id for result in results} == {each.execution_id for each in activities}
    rows = await world.rows("select count(*) from executor.claims where succeeded")
    assert rows[0][0] == 20


async def test_a_call_in_flight_at_a_kill_is_resolved_by_the_other_instance(world: World) -> None:
    """The other ordinal leaves the live claim alone; a new life of the dead one lets it go at once."""
    world.gate.clear()
    activity = world.activity(timeout_seconds=2.0)
    first = await world.executor("0")
    await world.send(activity)
    await world.until("select count(*) = 1 from executor.claims")
    await first.kill()
    await world.executor("1")
    world.gate.set()
    await world.executor("0")
    (result,) = await world.received(1)
    assert result.resolved == "retried"
    (row,) = await world.rows("select takeovers, attempt from executor.claims")
    assert (row["takeovers"], row["attempt"]) == (1, 1)
    assert set(world.keys) == {f"{activity.execution_id}:tell:main"}


async def test_killed_again_and_again_under_load_nothing_is_lost_or_repeated_after_its_record(
    world: World,
) -> None:
    activities = [world.activity() for _ in range(400)]
    executor = await world.executor()
    for begin in range(0, 400, 50):
        await world.send(*activities[begin : begin + 50])
        await asyncio.sleep(0.02 * (begin // 50 % 3))
        await executor.kill()
        executor = await world.executor()
    deadline = time.monotonic() + 60
    wanted = {each.execution_id for each in activities}
    while {result.execution_id for result, _, _ in world.results} < wanted:
        assert time.monotonic() < deadline
        await world.received(len(world.results) + 1)
    assert set(world.keys) == {f"{execution}:tell:main" for execution in wanted}
    repeats = sum(world.keys.values()) - len(wanted)
    rows = await world.rows("select coalesce(sum(takeovers), 0) from executor.claims")
    assert repeats <= rows[0][0], "a call beyond the first has a take-over that explains it"
    rows = await world.rows("select count(*) from executor.claims where result is null")
    assert rows[0][0] == 0


async def test_two_executors_share_the_partitions_and_call_everything_once(world: World) -> None:
    first = await world.executor("0")
    activities = [world.activity() for _ in range(200)]
    await world.send(*activities[:100])
    second = await world.executor("1")
    await world.send(*activities[100:])
    await world.received(200)
    deadline = time.monotonic() + 30
    while not (first.loop.owned and second.loop.owned):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert set(world.keys) == {f"{each.execution_id}:tell:main" for each in activities}
    assert set(world.keys.values()) == {1}
    await first.stop()
    await second.stop()


async def test_a_stop_lets_calls_finish_and_stores_the_offsets(world: World) -> None:
    world.gate.clear()
    executor = await world.executor()
    await world.send(world.activity(), world.activity())
    await world.until("select count(*) = 2 from executor.claims")
    stopping = asyncio.create_task(executor.stop())
    await asyncio.sleep(0)
    late = world.activity()
    await world.send(late)
    world.gate.set()
    await stopping
    assert len(await world.received(2)) == 2
    rows = await world.rows("select sum(next_offset) from executor.partitions")
    assert rows[0][0] == 2
    rows = await world.rows("select count(*) from executor.claims")
    assert rows[0][0] == 2, "nothing is claimed while draining"
    await world.executor()
    results = await world.received(3)
    assert results[-1].execution_id == late.execution_id


async def test_a_database_that_was_away_costs_time_only(world: World) -> None:
    await world.executor()
    await world.send(world.activity())
    await world.received(1)
    await world.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    await world.send(*[world.activity() for _ in range(20)])
    await world.received(21)
    assert set(world.keys.values()) == {1}
