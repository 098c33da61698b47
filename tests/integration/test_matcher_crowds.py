"""Firings that come in crowds: what the rows leave nothing to is withheld as it is taken in; the gate is not asked."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.matcher_world import Make, Matcher, Said, matchers

from outlast.contracts.guarding import GateRequest
from outlast.contracts.messages import Finished, Withheld
from outlast_trigger_matcher.core.crowds import CROWD_MIN

CROWD = CROWD_MIN


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


async def crowd(matcher: Matcher, name: str, count: int = CROWD) -> Said:
    """So many events in one batch."""
    return await matcher.events(*(f"{name}{number}" for number in range(count)))


def words(said: Said) -> set[tuple[str, str, str]]:
    """Status, reason and detail of what was withheld."""
    return {(each.status, each.reason, each.detail) for each in said.of(Withheld)}


async def test_a_crowd_at_a_full_window_is_withheld_as_it_is_taken_in(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60})
    (first,) = (await matcher.events("first")).asks
    await matcher.advise("admitted", first.id)
    said = await crowd(matcher, "late")
    assert said.asks == []
    assert words(said) == {("skipped", "throttled", "1 in 60 s")}
    assert len(said.of(Withheld)) == CROWD
    (row,) = await matcher.store.rows([said.of(Withheld)[0].execution_id])
    assert (row.status, row.settled_at, row.guard) == ("skipped", matcher.clock.now(), None)


async def test_a_crowd_asks_for_what_is_left_and_no_more(make: Make) -> None:
    matcher = await make()
    matcher.define("window", guardrails={"throttles": [{"limit": 2, "per": "1m"}]})
    matcher.define("slot", guardrails={"concurrency_limit": 1, "queue_limit": 2})
    said = await crowd(matcher, "all")
    assert {each.runbook_id: len(each.asks) for each in said.of(GateRequest)} == {"window": CROWD, "slot": 3}
    assert words(said) == {("skipped", "queue_full", "2 wait")}
    said = await crowd(matcher, "more")
    assert [(each.runbook_id, len(each.asks)) for each in said.of(GateRequest)] == [("window", CROWD)], (
        "who asks for a slot has a place; who asks about a window is known when it is entered"
    )


async def test_who_asks_about_a_window_keeps_nobody_out_before_it_is_entered(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttles": [{"limit": 2, "per": "1m"}]})
    (first,) = (await matcher.events("first")).asks
    asks = (await crowd(matcher, "early")).asks
    assert len(asks) == CROWD, (
        "the gate may give what is left to one that has asked already, or to none of these"
    )
    await matcher.advise("admitted", first.id)
    assert len((await crowd(matcher, "late")).asks) == CROWD
    await matcher.advise("admitted", asks[0].id)
    assert (await crowd(matcher, "last")).asks == []


async def test_an_event_that_comes_again_takes_no_place_of_those_that_come_with_it(make: Make) -> None:
    matcher = await make()
    matcher.define("window", guardrails={"throttles": [{"limit": 2, "per": "1m"}]})
    matcher.define("slot", guardrails={"concurrency_limit": 1, "queue_limit": 1})
    asks = (await matcher.events("all0")).asks
    for each, name in zip(asks, ("window", "slot"), strict=True):
        await matcher.advise("admitted", each.id, name=name)
    said = await crowd(matcher, "all")
    asked = {each.runbook_id: len(each.asks) for each in said.of(GateRequest)}
    assert asked == {"window": CROWD - 1, "slot": 1}, (
        "the first has what it wanted; one place in the queue is left"
    )


async def test_who_asks_with_a_window_in_its_way_takes_no_place_in_the_queue(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60, "concurrency_limit": 1, "queue_limit": 1})
    assert len((await crowd(matcher, "early")).asks) == CROWD
    assert len((await crowd(matcher, "late")).asks) == CROWD


async def test_a_window_that_has_room_or_has_it_again_is_asked_about(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60})
    (first,) = (await matcher.events("first")).asks
    await matcher.advise("admitted", first.id)
    matcher.clock.seconds += 60
    assert len((await crowd(matcher, "after")).asks) == CROWD


async def test_a_crowd_at_a_taken_slot_with_a_full_queue_is_withheld_as_it_is_taken_in(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_limit": 1, "queue_limit": 2})
    runs = [ask.id for ask in (await matcher.events("e1", "e2", "e3")).asks]
    await matcher.advise("admitted", runs[0])
    await matcher.advise("queued", *runs[1:])
    said = await crowd(matcher, "late")
    assert said.asks == []
    assert words(said) == {("skipped", "queue_full", "2 wait")}
    await matcher.comes_to(Finished, runs[0])
    assert len((await crowd(matcher, "free")).asks) == 1, "who is first has the slot soon, and leaves a place"
    assert (await crowd(matcher, "last")).asks == []


async def test_a_crowd_at_a_taken_slot_without_a_queue_is_withheld_as_it_is_taken_in(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_limit": 2, "on_conflict": "skip"})
    (first,) = (await matcher.events("first")).asks
    await matcher.advise("admitted", first.id)
    (second,) = (await crowd(matcher, "early")).asks
    await matcher.advise("admitted", second.id)
    said = await crowd(matcher, "late")
    assert said.asks == []
    assert words(said) == {("skipped", "slot_taken", "2 of 2")}
