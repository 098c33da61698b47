"""The dispatch decides, in memory and in Postgres: windows, slots, queues, and a gate that is wrong, late or silent."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.integration.matcher_world import Make, Matcher, Said, matchers

from outlast.contracts import topics
from outlast.contracts.guarding import GateRequest, Verdict
from outlast.contracts.messages import Finished, Queued, Resuming, SlotGranted, Start, Waiting, Withheld
from outlast.contracts.topics import TopicPartition
from outlast.guardrails.admit import admit
from outlast.guardrails.guards import Guards
from outlast.runtime.work import Turn
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.ports import Plan

SLOT = {"concurrency_limit": 1, "queue_age": "10m"}
KEYED = {"concurrency_key": "{{ event.data.title }}"}


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


async def asked(matcher: Matcher, *names: str, **more: str) -> list[str]:
    """The executions of these events, in the order of their asks."""
    said = await matcher.events(*names, **more)
    return [ask.id for ask in said.asks]


def started(said: Said) -> list[str]:
    return [start.execution_id for start in said.of(Start)]


def withheld(said: Said) -> list[tuple[str, str]]:
    return [(each.status, each.reason) for each in said.of(Withheld)]


async def test_a_guarded_firing_asks_once_a_batch_with_rendered_keys_and_starts_when_it_is_admitted(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(
        guardrails={**KEYED, "throttles": [{"limit": 3, "per": "1h", "key": "{{ event.data.severity }}"}]}
    )
    said = await matcher.events("e1", "e2")
    (request,) = said.of(GateRequest)
    assert said.topics == [topics.GATE_REQUESTS]
    assert [(ask.slot.key, ask.slot.limit) for ask in request.asks if ask.slot] == [("e1", 1), ("e2", 1)]
    assert all(ask.windows[0].key.endswith(":high") and ask.windows[0].limit == 3 for ask in request.asks)
    assert (said[0].partition, said[0].key) == (request.lane, b"acme/rb")
    one, two = (ask.id for ask in request.asks)
    said = await matcher.advise("admitted", one)
    (start,) = said.of(Start)
    assert (start.execution_id, start.origin.is_slotted, start.origin.releases_slot) == (one, True, False)
    assert start.payload
    assert start.definition
    assert await matcher.status(one, two) == [("sent", ""), ("requested", "")]


async def test_a_firing_without_guards_asks_nobody(make: Make) -> None:
    matcher = await make()
    matcher.define("guarded", guardrails=SLOT)
    matcher.define("free")
    said = await matcher.events("e1")
    assert sorted(said.topics) == [topics.ENGINE_INBOX, topics.GATE_REQUESTS]
    assert said.of(Start)[0].origin.is_slotted is False


async def test_many_asks_of_one_runbook_are_a_few_messages(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    said = await matcher.events(*(f"e{number}" for number in range(501)))
    assert [len(request.asks) for request in said.of(GateRequest)] == [500, 1]


async def test_a_key_that_cannot_be_rendered_withholds_the_firing_and_says_where(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_key": "{{ asset.id }}"})
    (word,) = (await matcher.events("e1")).of(Withheld)
    assert (word.status, word.reason, word.rank) == ("skipped", "guard_key_failed", 0)
    assert "asset" in word.detail
    assert word.payload


async def test_a_gate_that_admits_everybody_does_not_give_one_slot_twice(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "concurrency_limit": 2})
    runs = await asked(matcher, "e1", "e2", "e3", "e4")
    said = await matcher.advise("admitted", *runs)
    assert started(said) == runs[:2]
    assert [queued.reason for queued in said.of(Queued)] == ["slot_taken", "slot_taken"]
    assert await matcher.status(*runs) == [("sent", ""), ("sent", ""), *[("queued", "slot_taken")] * 2]
    assert started(await matcher.advise("admitted", *runs)) == []


async def test_each_key_has_its_own_slots(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=KEYED)
    runs = await asked(matcher, "e1", "e2")
    assert started(await matcher.advise("admitted", *runs)) == runs


async def test_a_runbook_that_skips_records_who_came_while_the_slot_was_taken(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"concurrency_limit": 1, "on_conflict": "skip"})
    one, two = await asked(matcher, "e1", "e2")
    said = await matcher.advise("admitted", one, two)
    assert (started(said), withheld(said)) == ([one], [("skipped", "slot_taken")])
    assert [release.id for release in said.releases] == [two], "the gate believes that it holds one"
    assert said.of(Withheld)[0].payload


async def test_what_the_gate_skips_is_recorded_with_its_reason_and_closed_by_its_record(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60})
    (one,) = await asked(matcher, "e1")
    said = await matcher.advise("skipped", one)
    assert withheld(said) == [("skipped", "throttled")]
    assert said.of(Withheld)[0].seq == (await matcher.row(one)).version == 2
    assert withheld(await matcher.says_again()) == [("skipped", "throttled")]
    await matcher.records(one)
    assert await matcher.says_again() == []
    assert await matcher.status(one) == [("skipped", "throttled")]


async def test_a_gate_that_admits_everybody_does_not_fill_a_window_beyond_its_limit(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttles": [{"limit": 2, "per": "1h"}]})
    early = await asked(matcher, "e1", "e2", "e3")
    said = await matcher.advise("admitted", *early)
    assert (started(said), withheld(said)) == (early[:2], [("skipped", "throttled")])
    matcher.clock.seconds = 3_599
    (late,) = await asked(matcher, "e4")
    assert withheld(await matcher.advise("admitted", late)) == [("skipped", "throttled")]
    matcher.clock.seconds = 3_600
    (later,) = await asked(matcher, "e5")
    assert started(await matcher.advise("admitted", later)) == [later]


async def test_a_firing_that_comes_late_counts_those_that_came_after_it(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"throttle_seconds": 60})
    (old,) = await asked(matcher, "old")
    matcher.clock.seconds = 61
    (new,) = await asked(matcher, "new")
    assert started(await matcher.advise("admitted", new)) == [new]
    assert withheld(await matcher.advise("admitted", old)) == [("skipped", "throttled")]


async def test_all_windows_of_a_runbook_hold_each_by_its_key(make: Make) -> None:
    matcher = await make()
    windows = [{"limit": 1, "per": "1h", "key": "{{ event.data.finding_id }}"}, {"limit": 2, "per": "1d"}]
    matcher.define(guardrails={"throttles": windows})
    one = await asked(matcher, "a1", "a2", finding="F-1")
    two = await asked(matcher, "b1", finding="F-2")
    three = await asked(matcher, "c1", finding="F-3")
    said = await matcher.advise("admitted", *one, *two, *three)
    assert started(said) == [one[0], *two]
    assert [each.detail for each in said.of(Withheld)] == ["at most 1 in 3600 s", "at most 2 in 86400 s"]


async def test_a_queued_firing_has_passed_its_windows_for_good(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "throttles": [{"limit": 2, "per": "1h"}]})
    one, two, three = await asked(matcher, "e1", "e2", "e3")
    await matcher.advise("admitted", one)
    said = await matcher.advise("queued", two, three)
    assert [queued.execution_id for queued in said.of(Queued)] == [two]
    assert withheld(said) == [("skipped", "throttled")]
    await matcher.comes_to(Finished, one)
    assert started(await matcher.advise("admitted", two)) == [two]


async def test_a_run_that_finished_gives_its_slot_to_the_next(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    (queued,) = (await matcher.advise("queued", two)).of(Queued)
    assert queued.payload
    said = await matcher.comes_to(Finished, one)
    assert [(release.id, release.key) for release in said.releases] == [(one, "")]
    assert started(await matcher.advise("admitted", two)) == [two]
    assert started(await matcher.comes_to(Finished, one)) == [], "told twice, it frees nobody else's"
    assert (await matcher.row(two)).has_slot


async def test_a_recorded_run_holds_no_slot_even_if_nobody_said_that_it_finished(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    await matcher.advise("queued", two)
    assert [release.id for release in (await matcher.records(one)).releases] == [one]
    assert started(await matcher.advise("admitted", two)) == [two]


async def test_a_gate_that_holds_a_place_for_who_has_left_is_told_again(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (one,) = await asked(matcher, "e1")
    await matcher.advise("admitted", one)
    assert (await matcher.advise("admitted", one)).releases == [], "it runs"
    await matcher.comes_to(Finished, one)
    assert [release.id for release in (await matcher.advise("admitted", one)).releases] == [one]
    await matcher.records(one)
    assert [release.id for release in (await matcher.advise("admitted", one)).releases] == [one]


async def test_silence_of_the_gate_for_two_seconds_is_asked_about_again_under_the_same_id(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (one,) = await asked(matcher, "e1")
    assert await matcher.ticks(1.9) == []
    (ask,) = (await matcher.ticks(0.3)).asks
    assert ask.id == one
    assert (await matcher.ticks(1)).asks == []
    assert [ask.id for ask in (await matcher.ticks(1.2)).asks] == [one]
    await matcher.advise("admitted", one)
    assert await matcher.ticks(10) == []


async def test_a_free_slot_with_a_queue_behind_it_is_asked_for_by_the_head_alone(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "throttle_seconds": 1, "throttle_key": "{{ event.data.title }}"})
    (one,), (two,) = await asked(matcher, "e1"), await asked(matcher, "e2")
    matcher.clock.seconds = 0.001
    (three,) = await asked(matcher, "e3")
    await matcher.advise("admitted", one)
    await matcher.advise("queued", three, two)
    assert (await matcher.ticks(3)).asks == [], "the slot is taken"
    await matcher.comes_to(Finished, one)
    said = await matcher.ticks(1)
    assert [(ask.id, ask.windows) for ask in said.asks] == [(two, ())], "its windows counted already"
    assert (await matcher.ticks(1)).asks == []


async def test_a_release_that_the_gate_never_heard_of_keeps_the_next_one_waiting_for_seconds_only(
    make: Make,
) -> None:
    """The gate names whom it believes to hold the slot when it is asked again, and who has left is released again."""
    matcher, gate = await make(), Guards()

    async def answered(said: Said) -> Said:
        words = [
            each for request in said.of(GateRequest) for each in admit(gate, request, matcher.clock.now())
        ]
        return Said([out for each in words for out in await matcher.advise(each.verdict, each.id)])

    matcher.define(guardrails=SLOT)
    (one,) = started(await answered(await matcher.events("e1")))
    await answered(await matcher.events("e2"))
    lost = await matcher.comes_to(Finished, one)
    assert [release.id for release in lost.releases] == [one]
    await matcher.records(one)
    released = await answered(await matcher.ticks(3))
    assert [release.id for release in released.releases] == [one]
    (two,) = (await answered(released)).of(Start)
    assert two.event.id == "e2"


async def test_who_stands_in_the_queue_for_too_long_leaves_it(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    await matcher.advise("queued", two)
    await matcher.ticks(599)
    assert await matcher.status(two) == [("queued", "slot_taken")]
    said = await matcher.ticks(1)
    assert withheld(said) == [("skipped", "queue_age")]
    assert [release.id for release in said.releases] == [two]


async def test_a_run_that_waits_gives_its_slot_back_if_its_runbook_says_so_and_gets_one_to_go_on(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "release_while_waiting": True})
    one, two = await asked(matcher, "e1", "e2")
    (start,) = (await matcher.advise("admitted", one)).of(Start)
    assert start.origin.releases_slot
    await matcher.advise("queued", two)
    assert [release.id for release in (await matcher.comes_to(Waiting, one, 5)).releases] == [one]
    assert started(await matcher.advise("admitted", two)) == [two]
    (ask,) = (await matcher.comes_to(Resuming, one, 7)).asks
    assert (ask.id, ask.is_resuming, ask.windows) == (one, True, ())
    assert (await matcher.advise("admitted", one)).of(SlotGranted) == [], "the other one has it"
    await matcher.comes_to(Finished, two)
    (granted,) = (await matcher.advise("admitted", one)).of(SlotGranted)
    assert (granted.execution_id, granted.seq) == (one, 7)
    said = await matcher.comes_to(Resuming, one, 7)
    assert [each.seq for each in said.of(SlotGranted)] == [7], "asked again, it is answered again"
    assert (await matcher.comes_to(Waiting, one, 5)).releases == [], "what comes late takes nothing away"
    assert (await matcher.row(one)).has_slot


async def test_a_waiting_run_keeps_its_slot_unless_its_runbook_says_so(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    assert (await matcher.comes_to(Waiting, one)).releases == []
    assert started(await matcher.advise("admitted", two)) == []


async def test_a_run_that_wants_its_slot_back_asks_until_it_is_answered(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "release_while_waiting": True})
    (one,) = await asked(matcher, "e1")
    await matcher.advise("admitted", one)
    await matcher.comes_to(Waiting, one, 5)
    await matcher.comes_to(Resuming, one, 7)
    (ask,) = (await matcher.ticks(3)).asks
    assert (ask.id, ask.is_resuming) == (one, True)
    await matcher.comes_to(Finished, one, 8)
    assert (await matcher.ticks(5)).asks == []
    assert (await matcher.comes_to(Resuming, one, 7)).asks == []
    assert (await matcher.comes_to(Resuming, one, 9)).asks == [], "it is over"


async def test_loss_of_the_broker_loses_nothing_that_is_held_back_and_the_gate_hears_who_holds(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two, three = await asked(matcher, "e1", "e2", "e3")
    await matcher.advise("admitted", one)
    await matcher.advise("queued", two)
    said = await matcher.says_again()
    assert {(ask.id, ask.is_resuming) for ask in said.asks} == {(one, True), (two, True), (three, False)}
    assert [queued.execution_id for queued in said.of(Queued)] == [two]
    assert started(said) == []


async def test_a_gate_that_forgot_its_queue_takes_it_back_even_beyond_its_limit(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "queue_limit": 1})
    one, two, three = await asked(matcher, "e1", "e2", "e3")
    await matcher.advise("admitted", one)
    await matcher.advise("queued", two, three)
    (request,) = (await matcher.says_again()).of(GateRequest)
    verdicts = {each.id: each.verdict for each in admit(Guards(), request, matcher.clock.now())}
    assert verdicts == {one: "admitted", two: "queued", three: "queued"}


async def test_a_run_that_goes_on_before_anybody_knew_that_it_waited_keeps_its_slot_and_is_told_so(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "release_while_waiting": True})
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    said = await matcher.comes_to(Resuming, one, 7)
    assert [(each.execution_id, each.seq) for each in said.of(SlotGranted)] == [(one, 7)]
    assert said.asks == [], "whatever the gate believes, it has one"
    assert started(await matcher.advise("admitted", two)) == []
    assert (await matcher.comes_to(Waiting, one, 5)).releases == []
    assert [each.seq for each in (await matcher.comes_to(Resuming, one, 7)).of(SlotGranted)] == [7]
    assert [release.id for release in (await matcher.comes_to(Waiting, one, 9)).releases] == [one]


async def test_advice_from_before_the_wait_in_one_batch_with_its_end_does_not_give_the_slot_twice(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "release_while_waiting": True})
    one, two = await asked(matcher, "e1", "e2")
    await matcher.advise("admitted", one)
    await matcher.comes_to(Waiting, one, 5)
    assert started(await matcher.advise("admitted", two)) == [two]
    plan, stale = Plan(now=matcher.clock.now()), Verdict(id=one, verdict="admitted")
    plan.do(one, partial(Board.resume, execution_id=one, seq=7))
    plan.do(one, partial(Board.advise, verdict=stale, standing=matcher.breakers.standing))
    lane = (await matcher.row(one)).start.lane
    await matcher.store.commit_lanes(
        plan, [matcher._move(TopicPartition(topics.LIFECYCLE, lane), 0, Turn(plan))]
    )
    assert [row.has_slot for row in await matcher.store.rows(sorted([one, two]))].count(True) == 1
    assert (await matcher.row(one)).resuming_seq == 7, "it waits for the other one's"


async def test_a_slot_whose_run_is_recorded_already_is_given_back_by_the_next_owner_too(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (one,) = await asked(matcher, "e1")
    await matcher.advise("admitted", one)
    await matcher.comes_to(Finished, one)
    await matcher.records(one)
    at = TopicPartition(topics.LIFECYCLE, (await matcher.row(one)).start.lane)
    said = Said(await matcher.lanes_work.derive(at, [one]))
    assert [release.id for release in said.releases] == [one], (
        "the one before may have died before it said so"
    )
    assert said.topics == [topics.GATE_REQUESTS]


async def test_two_owners_of_a_runbooks_topics_do_not_give_its_slot_to_two(make: Make) -> None:
    """The decisions of one lane may be read by another process than its lifecycle: the row locks decide."""
    matcher, other = await make(), None
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    assert started(await matcher.advise("admitted", one)) == [one]
    other = await make()
    other.define(guardrails=SLOT)
    assert started(await other.advise("admitted", two)) == []


async def test_two_who_decide_about_one_runbook_at_the_same_moment_give_its_slot_once(make: Make) -> None:
    """Each of the lane's topics may be read by another process: the runbook's lock makes one wait for the other."""
    matcher = await make()
    for name in (f"rb{number}" for number in range(10)):
        matcher.define(name, guardrails=SLOT)
        one, two = [ask.id for ask in (await matcher.events(f"{name}a", f"{name}b")).asks]
        lane = (await matcher.row(one)).start.lane

        async def decide(execution: str, topic: str, lane: int = lane) -> None:
            plan = Plan(now=matcher.clock.now())
            verdict = Verdict(id=execution, verdict="admitted")
            plan.do(execution, partial(Board.advise, verdict=verdict, standing=matcher.breakers.standing))
            move = matcher._move(TopicPartition(topic, lane), 0, Turn(plan))
            await matcher.store.commit_lanes(plan, [move])

        await asyncio.gather(decide(one, topics.GATE_DECISIONS), decide(two, topics.CONTROL_COMMANDS))
        assert sum(row.has_slot for row in await matcher.store.rows([one, two])) == 1
        matcher.define(name, guardrails=SLOT, is_active=False)


async def test_while_the_gate_is_silent_a_firing_shows_as_queued_and_then_goes_its_way(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={**SLOT, "on_conflict": "queue"})
    one, two, three = await asked(matcher, "e1", "e2", "e3")
    born = await matcher.row(one)
    said = Said()
    for _ in range(6):
        said += await matcher.ticks(2)
    words = said.of(Queued)
    assert sorted(word.execution_id for word in words) == sorted([one, two, three]), "each once"
    assert {(word.reason, word.rank) for word in words} == {("gate_silent", 0)}
    assert all(word.payload for word in words)
    assert all(word.seq > born.version for word in words)
    assert await matcher.status(one) == [("requested", "gate_silent")]
    assert len([ask for ask in said.asks if ask.id == one]) == 6, "it is asked on"
    assert [word.reason for word in (await matcher.says_again()).of(Queued)] == ["gate_silent"] * 3
    assert started(await matcher.advise("admitted", one)) == [one]
    (queued,) = (await matcher.advise("queued", two)).of(Queued)
    assert (queued.reason, queued.seq > max(word.seq for word in words)) == ("slot_taken", True)
    assert withheld(await matcher.advise("skipped", three)) == [("skipped", "throttled")]
    assert await matcher.status(one, two) == [("sent", ""), ("queued", "slot_taken")]


async def test_a_gate_that_takes_a_moment_is_not_said_to_be_silent(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (one,) = await asked(matcher, "e1")
    said = await matcher.ticks(2.5)
    assert [ask.id for ask in said.asks] == [one]
    assert said.of(Queued) == []
    assert await matcher.status(one) == [("requested", "")]


async def test_a_gate_decision_about_nobody_is_no_trouble(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    unknown = "0199b5c1-0000-8000-8000-000000000001"
    assert await matcher.advise("admitted", unknown) == []


async def test_the_inline_mode_has_slots_too(make: Make) -> None:
    matcher = await make(mode="inline")
    matcher.define(guardrails=SLOT)
    one, two = await asked(matcher, "e1", "e2")
    said = await matcher.advise("admitted", one, two)
    assert started(said) == [one]
    assert topics.INLINE in said.topics
    assert topics.ENGINE_INBOX not in said.topics
