"""Firings that come in crowds: what the rows leave nothing to is withheld as it is taken in; the gate is not asked."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.matcher_world import Make, Matcher, Said, matchers

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


async def test_a_window_that_has_room_or_has_it_again_is_asked_about(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60})
    assert len((await crowd(matcher, "early")).asks) == CROWD
    (first,) = (await matcher.events("first")).asks
    await matcher.advise("admitted", first.id)
    matcher.clock.seconds += 60
    assert len((await crowd(matcher, "after")).asks) == CROWD


async def test_a_crowd_at_a_taken_slot_with_a_full_queue_is_withheld_as_it_is_taken_in(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_limit": 1, "queue_limit": 2})
    runs = [ask.id for ask in (await matcher.events("e1", "e2", "e3")).asks]
    await matcher.advise("admitted", runs[0])
    await matcher.advise("queued", runs[1])
    assert len((await crowd(matcher, "early")).asks) == CROWD, "one place is left in the queue"
    await matcher.advise("queued", runs[2])
    said = await crowd(matcher, "late")
    assert said.asks == []
    assert words(said) == {("skipped", "queue_full", "2 wait")}
    await matcher.comes_to(Finished, runs[0])
    said = await crowd(matcher, "free")
    assert len(said.asks) == CROWD, "who is first in the queue is to have the slot, and leaves a place"
    await matcher.advise("queued", said.asks[0].id)
    assert (await crowd(matcher, "last")).asks == []


async def test_a_crowd_at_a_taken_slot_without_a_queue_is_withheld_as_it_is_taken_in(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_limit": 2, "on_conflict": "skip"})
    runs = [ask.id for ask in (await matcher.events("e1", "e2")).asks]
    await matcher.advise("admitted", runs[0])
    assert len((await crowd(matcher, "early")).asks) == CROWD
    await matcher.advise("admitted", runs[1])
    said = await crowd(matcher, "late")
    assert said.asks == []
    assert words(said) == {("skipped", "slot_taken", "2 of 2")}
