"""Where a firing is sent, in memory and in Postgres: three modes, an engine that is away, and everything said again."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.matcher_world import EVENTS, Make, Said, matchers

from outlast import ids
from outlast.contracts import topics
from outlast.contracts.control import CancelExecution
from outlast.contracts.messages import Compared, Probe, Queued, Start, Unknown, Withheld
from outlast.contracts.topics import TopicPartition


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


def lane_of(start: Start) -> TopicPartition:
    return TopicPartition(topics.LIFECYCLE, start.lane)


def start_of(said: Said, topic: str) -> Start:
    (start,) = said.of(Start, topic)
    return start


async def test_a_durable_firing_goes_to_the_engine_and_is_asked_about_when_everything_is_said_again(
    make: Make,
) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    said = await matcher.events("e1")
    start = start_of(said, topics.ENGINE_INBOX)
    assert (said.topics, start.mode) == ([topics.ENGINE_INBOX], "workflow")
    again = await matcher.says_again()
    assert [probe.execution_id for probe in again.of(Probe)] == [start.execution_id]
    assert len(again) == 1


async def test_an_inline_firing_goes_to_the_executor_alone_and_is_sent_again_until_it_is_recorded(
    make: Make,
) -> None:
    matcher = await make(mode="inline")
    matcher.define()
    said = await matcher.events("e1")
    start = start_of(said, topics.INLINE)
    assert (said.topics, start.mode, said[0].partition) == ([topics.INLINE], "inline", None)
    assert said[0].key == start.execution_id.encode()
    assert start_of(await matcher.says_again(), topics.INLINE) == start
    await matcher.records(start.execution_id)
    assert await matcher.says_again() == []


async def test_a_shadowed_firing_runs_inline_and_has_a_double_in_the_engine(make: Make) -> None:
    matcher = await make(mode="shadow")
    matcher.define()
    said = await matcher.events("e1")
    assert start_of(said, topics.INLINE) == start_of(said, topics.ENGINE_INBOX)
    assert start_of(said, topics.INLINE).mode == "shadow"
    again = await matcher.says_again()
    assert again.topics == [topics.INLINE, topics.ENGINE_INBOX]
    assert len(again.of(Probe)) == 1


async def test_a_runbook_that_chose_inline_runs_inline_beside_durable_ones(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define("quick", engine="inline")
    matcher.define("durable")
    said = await matcher.events("e1")
    assert start_of(said, topics.INLINE).runbook.id == "quick"
    assert start_of(said, topics.ENGINE_INBOX).runbook.id == "durable"


async def test_a_start_that_the_engine_does_not_know_is_sent_again_from_its_row(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.ENGINE_INBOX)
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert start_of(await matcher.hears(topics.LIFECYCLE, unknown, start.lane), topics.ENGINE_INBOX) == start


async def test_an_inline_run_is_never_started_in_the_engine_whatever_the_engine_says(make: Make) -> None:
    matcher = await make(mode="inline")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.INLINE)
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    again = await matcher.hears(topics.LIFECYCLE, unknown, start.lane)
    assert start_of(again, topics.INLINE) == start
    assert again.topics == [topics.INLINE]


async def test_a_shadowed_run_that_somebody_does_not_know_is_started_again_in_both(make: Make) -> None:
    matcher = await make(mode="shadow")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.INLINE)
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, start.lane)).topics == [
        topics.INLINE,
        topics.ENGINE_INBOX,
    ]


async def test_the_double_of_a_run_that_is_recorded_already_is_begun_by_the_next_owner_too(
    make: Make,
) -> None:
    matcher = await make(mode="shadow")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.INLINE)
    await matcher.records(start.execution_id)
    born = Said(await matcher.intake_work.derive(EVENTS, [start.execution_id]))
    assert born.topics == [topics.ENGINE_INBOX], "the one before may have died before it said so"
    assert start_of(born, topics.ENGINE_INBOX) == start
    followed = Said(await matcher.lanes_work.derive(lane_of(start), [start.execution_id]))
    assert [probe.execution_id for probe in followed.of(Probe)] == [start.execution_id]
    assert followed.topics == [topics.ENGINE_INBOX]
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    again = await matcher.hears(topics.LIFECYCLE, unknown, start.lane)
    assert (again.topics, start_of(again, topics.ENGINE_INBOX)) == ([topics.ENGINE_INBOX], start)


async def test_after_a_loss_a_recorded_runs_double_is_asked_about_until_it_is_compared(make: Make) -> None:
    matcher = await make(mode="shadow")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.INLINE)
    await matcher.records(start.execution_id)
    again = await matcher.says_again()
    assert [probe.execution_id for probe in again.of(Probe)] == [start.execution_id]
    assert again.topics == [topics.ENGINE_INBOX]
    compared = Compared(
        execution_id=start.execution_id, company_id="acme", runbook=start.runbook, lane=start.lane,
        at=matcher.clock.now(), is_agreed=True, steps_compared=1,
    )  # fmt: skip
    assert await matcher.hears(topics.LIFECYCLE, compared, start.lane) == []
    assert await matcher.says_again() == []
    assert await matcher.intake_work.derive(EVENTS, [start.execution_id]) == []
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert await matcher.hears(topics.LIFECYCLE, unknown, start.lane) == [], "its history may be pruned"


@pytest.mark.parametrize("mode", ["workflow", "inline"])
async def test_a_recorded_run_without_a_double_has_nothing_more_to_say(make: Make, mode: str) -> None:
    matcher = await make(mode=mode)
    matcher.define()
    (start,) = (await matcher.events("e1")).of(Start)
    await matcher.records(start.execution_id)
    assert await matcher.intake_work.derive(EVENTS, [start.execution_id]) == []
    assert await matcher.lanes_work.derive(lane_of(start), [start.execution_id]) == []


async def test_a_shadowed_firing_that_was_ended_before_it_ran_never_gets_a_double(make: Make) -> None:
    matcher = await make(mode="shadow")
    matcher.define("rb", guardrails={"concurrency_limit": 1})
    matcher.define("tripped")
    matcher.trip("tripped")
    said = await matcher.events("e1")
    (ask,), (suppressed,) = said.asks, said.of(Withheld)
    row = await matcher.row(ask.id)
    order = CancelExecution(
        command_id="c1", company_id="acme", execution_id=ask.id, by="eve", at=matcher.clock.now(),
        lane=row.start.lane, reason="not now",
    )  # fmt: skip
    assert len((await matcher.hears(topics.CONTROL_COMMANDS, order, row.start.lane)).of(Withheld)) == 1
    runs = [ask.id, suppressed.execution_id]
    await matcher.records(*runs)
    assert [status for status, _ in await matcher.status(*runs)] == ["cancelled", "suppressed"]
    assert await matcher.intake_work.derive(EVENTS, runs) == []
    words = Said(await matcher.lanes_work.derive(lane_of(row.start), runs))
    assert topics.ENGINE_INBOX not in words.topics
    unknown = Unknown(execution_id=ask.id, company_id="acme", runbook_id="rb", lane=row.start.lane)
    assert await matcher.hears(topics.LIFECYCLE, unknown, row.start.lane) == []


async def test_an_event_that_comes_twice_is_said_once(make: Make) -> None:
    matcher = await make(mode="inline")
    matcher.define()
    assert len(await matcher.events("e1", "e1")) == 1
    assert await matcher.events("e1") == []


async def test_without_a_word_of_any_engine_durable_work_waits_for_one(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    matcher.clock.seconds = 3_600
    assert start_of(await matcher.events("e1"), topics.ENGINE_INBOX).mode == "workflow"


async def test_an_engine_that_is_away_for_the_grace_time_is_done_without_and_each_run_says_so(
    make: Make,
) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    matcher.engine_says("down")
    matcher.clock.seconds = 29.9
    matcher.engine_says("down")
    assert (await matcher.events("early")).topics == [topics.ENGINE_INBOX]
    matcher.clock.seconds = 30
    start = start_of(await matcher.events("late"), topics.INLINE)
    assert (start.mode, start.origin.is_degraded) == ("inline", True)
    assert start_of(await matcher.says_again(), topics.INLINE) == start, "the mark is in the row"
    matcher.engine_says("up")
    assert (await matcher.events("back")).topics == [topics.ENGINE_INBOX]


async def test_one_engine_that_is_up_is_enough(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    matcher.engine_says("down", "engine-0")
    matcher.engine_says("up", "engine-1")
    matcher.clock.seconds = 100
    assert (await matcher.events("e1")).topics == [topics.ENGINE_INBOX]


async def test_what_was_stamped_durable_is_not_run_inline_when_the_engine_goes_away(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    start = start_of(await matcher.events("e1"), topics.ENGINE_INBOX)
    matcher.engine_says("down")
    matcher.clock.seconds = 100
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, start.lane)).topics == [topics.ENGINE_INBOX]
    assert (await matcher.says_again()).topics == [topics.ENGINE_INBOX]


async def test_a_runbook_that_must_be_durable_is_held_until_an_engine_is_there(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define(requires_durable=True)
    matcher.engine_says("down")
    matcher.clock.seconds = 31
    (queued,) = (await matcher.events("e1")).of(Queued)
    assert (queued.reason, queued.rank, queued.mode) == ("engine_down", 0, "workflow")
    assert queued.payload
    assert await matcher.ticks(5) == []
    assert [each.reason for each in (await matcher.says_again()).of(Queued)] == ["engine_down"]
    matcher.engine_says("up")
    said = await matcher.ticks(1)
    start = start_of(said, topics.ENGINE_INBOX)
    assert (start.execution_id, start.mode, start.origin.is_degraded) == (
        queued.execution_id, "workflow", False,
    )  # fmt: skip
    assert await matcher.ticks(5) == []


async def test_the_engines_partition_is_the_one_in_the_id(make: Make) -> None:
    matcher = await make(mode="workflow")
    matcher.define()
    said = await matcher.events(*(f"e{number}" for number in range(10)))
    assert [each.partition for each in said] == [
        ids.engine_partition(start.execution_id) for start in said.of(Start)
    ]
