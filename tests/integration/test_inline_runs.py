"""Inline runs on the real servers: from the start message to the end, killed in the middle, sent again, retried."""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import Cancel, Finished, Started
from outlast.runbooks.documents import Json

from .executor_world import World, executor_world

CLOSED = "http://127.0.0.1:2/nobody"


@pytest.fixture
async def world(kafka: str, postgres: str, topic_prefix: str) -> AsyncIterator[World]:
    async with executor_world(kafka, postgres, topic_prefix) as world:
        yield world


def sleep(name: str) -> Json:
    return {"id": name, "type": "sleep", "class": "flow", "config": {"duration": "7d"}}


def keys(execution: str, *names: str) -> dict[str, int]:
    return dict.fromkeys((f"{execution}:{name}:main" for name in names), 1)


async def test_a_run_is_done_in_one_go_recorded_and_told(world: World) -> None:
    await world.executor()
    start = world.start(
        world.post("a"), sleep("nap"), world.post("b", when="{{ steps.a.output.status == 200 }}")
    )
    await world.begin(start)
    (end,) = await world.ended(1)
    assert [(step.id, step.status, step.reason) for step in end.steps] == [
        ("a", "success", ""), ("nap", "skipped", "inline"), ("b", "success", "")
    ]  # fmt: skip
    assert (end.status, end.mode, end.rank, end.lane) == ("success", "inline", 1, 1)
    (started,) = [each for each in world.said if isinstance(each, Started)]
    assert (started.payload, started.seq) == (start.payload, 1)
    assert world.keys == keys(start.execution_id, "a", "b")
    rows = await world.rows("select finished, outcome from executor.runs")
    assert [(codec.lifecycle.decode(row["finished"]), row["outcome"]) for row in rows] == [
        (msgspec.structs.replace(end, payload=msgspec.UNSET), None)
    ]
    await world.until("select sum(next_offset) = 1 from executor.partitions")


async def test_a_start_that_is_sent_again_is_answered_with_the_same_end_by_whoever_reads_it(
    world: World,
) -> None:
    first = await world.executor("0")
    start = world.start(world.post("a"))
    await world.begin(start)
    (end,) = await world.ended(1)
    await world.begin(start)
    await world.ended(2)
    await first.stop()
    await world.executor("1")
    await world.begin(start)
    ends = await world.ended(3)
    assert {msgspec.structs.replace(each, payload=msgspec.UNSET) for each in ends} == {
        msgspec.structs.replace(end, payload=msgspec.UNSET)
    }
    assert ends[2].payload == start.payload
    assert world.keys == keys(start.execution_id, "a")


@pytest.mark.parametrize(("dies_at", "repeats"), [("before_settle", 1), ("after_settle", 0)])
async def test_killed_in_the_middle_what_is_recorded_is_not_repeated_and_the_rest_is_resolved(
    world: World, dies_at: str, repeats: int
) -> None:
    """The first life settles two actions and dies around the record of the third."""
    start = world.start(*(world.post(name) for name in "abcd"))
    dying = await world.executor()
    settled = 0
    commit = dying.ledger.commit

    async def count(group: object) -> object:
        nonlocal settled
        settled += len(group.settlements)  # type: ignore[attr-defined]
        if settled == 3:
            dying.ledger.dies_at = dies_at
        return await commit(group)  # type: ignore[arg-type]

    dying.ledger.commit = count  # type: ignore[method-assign,assignment]
    await world.begin(start)
    await dying.died()
    await world.executor()
    (end,) = await world.ended(1)
    assert (end.status, [step.id for step in end.steps]) == ("success", list("abcd"))
    wanted = keys(start.execution_id, *"abcd")
    wanted[f"{start.execution_id}:c:main"] += repeats
    assert world.keys == wanted
    rows = await world.rows("select activity_id, unknown_resolution from executor.claims order by 1")
    assert [row["unknown_resolution"] for row in rows] == [None, None, "retried" if repeats else None, None]


async def test_killed_again_and_again_under_load_every_run_ends_once_and_nothing_recorded_is_repeated(
    world: World,
) -> None:
    starts = [world.start(*(world.post(name) for name in "abc")) for _ in range(150)]
    executor = await world.executor()
    for begin in range(0, 150, 30):
        await world.begin(*starts[begin : begin + 30])
        await asyncio.sleep(0.03 * (begin // 30 % 3))
        await executor.kill()
        executor = await world.executor()
    wanted = {each.execution_id for each in starts}
    deadline = time.monotonic() + 60
    while {each.execution_id for each in world.said if isinstance(each, Finished)} < wanted:
        assert time.monotonic() < deadline
        await world.ended(len([each for each in world.said if isinstance(each, Finished)]) + 1)
    ends: dict[str, set[tuple[str, int]]] = {}
    for each in world.said:
        if isinstance(each, Finished):
            ends.setdefault(each.execution_id, set()).add((each.status, each.seq))
    assert all(len(told) == 1 for told in ends.values()), "whatever was told twice was told alike"
    assert {status for told in ends.values() for status, _ in told} == {"success"}
    posted = {key for each in wanted for key in keys(each, "a", "b", "c")}
    assert set(world.keys) == posted
    rows = await world.rows("select coalesce(sum(takeovers), 0) from executor.claims")
    assert sum(world.keys.values()) - len(posted) <= rows[0][0], "a call beyond the first has a take-over"


async def test_a_failure_that_may_pass_is_tried_again_in_process_within_the_budget(world: World) -> None:
    await world.executor()
    refused: Json = {"url": CLOSED, "body": {}}
    policy: Json = {"max_attempts": 3, "initial_backoff": "1s", "max_backoff": "1s", "factor": 1.0}
    long: Json = {"max_attempts": 3, "initial_backoff": "2m", "max_backoff": "2m", "factor": 1.0}
    start = world.start(
        world.post("a", config=refused, retry=policy), world.post("b", config=refused, retry=long)
    )
    began = time.monotonic()
    await world.begin(start)
    (end,) = await world.ended(1)
    assert time.monotonic() - began >= 1.5, "two pauses of 0.75 s at least"
    assert [(step.attempts, step.error and step.error.code) for step in end.steps] == [
        (3, "connection_failed"), (1, "inline_retry_budget")
    ]  # fmt: skip
    rows = await world.rows("select activity_id, attempt from executor.claims order by 1, 2")
    assert [tuple(row) for row in rows] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


async def test_a_cancellation_ends_a_run_when_what_is_in_flight_has_settled(world: World) -> None:
    world.gate.clear()
    await world.executor()
    start = world.start(world.post("a"), world.post("b"))
    await world.begin(start)
    await world.until("select count(*) = 1 from executor.claims")
    cancel = Cancel(
        execution_id=start.execution_id, company_id="acme", by="ana", at=start.event.time, reason="why"
    )
    await world.begin(cancel)
    await asyncio.sleep(0.2)
    world.gate.set()
    (end,) = await world.ended(1)
    assert (end.status, end.by, [step.id for step in end.steps]) == ("cancelled", "ana", ["a"])
    assert world.keys == keys(start.execution_id, "a")
    await world.until("select sum(next_offset) = 2 from executor.partitions")


async def test_a_shadowed_run_tells_its_double_what_each_step_did(world: World) -> None:
    await world.executor()
    start = world.start(world.post("a"), sleep("nap"), mode="shadow")
    await world.begin(start)
    (end,) = await world.ended(1)
    await world.begin(start)
    await world.ended(2)
    assert (end.mode, end.status) == ("shadow", "success")
    (first, partition), (second, _) = world.outcomes
    assert first == second
    assert partition == ids.engine_partition(start.execution_id)
    (told, skipped) = first.steps
    assert msgspec.json.decode(told.input)["body"] == {"n": world.count}  # type: ignore[arg-type]
    assert msgspec.json.decode(told.output)["status"] == 200  # type: ignore[arg-type]
    assert (skipped.status, skipped.reason) == ("skipped", "inline")


async def test_a_stop_leaves_runs_between_two_actions_for_whoever_comes(world: World) -> None:
    world.gate.clear()
    executor = await world.executor()
    start = world.start(world.post("a"), world.post("b"))
    await world.begin(start)
    await world.until("select count(*) = 1 from executor.claims")
    stopping = asyncio.create_task(executor.stop())
    await asyncio.sleep(0.1)
    world.gate.set()
    await stopping
    assert world.keys == keys(start.execution_id, "a")
    await world.executor("1")
    (end,) = await world.ended(1)
    assert end.status == "success"
    assert world.keys == keys(start.execution_id, "a", "b")
