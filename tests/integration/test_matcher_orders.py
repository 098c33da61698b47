"""Loops, breakers, people's orders and companies' limits, in memory and in Postgres."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from msgspec import Raw
from tests.integration.matcher_world import LANE_COUNT, Make, Matcher, Said, matchers

from outlast import ids
from outlast.contracts import topics
from outlast.contracts.control import CancelExecution, LetGoSuppressed, RunSuppressed, TriggerRunbook
from outlast.contracts.messages import Cancel, Finished, Queued, Resumed, Start, Unknown, Waiting, Withheld
from outlast.errors import TransientError
from outlast_trigger_matcher.lookup import Found, Wanted

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
SLOT = {"concurrency_limit": 1}
NOBODY = "0199b5c1-0000-8000-8000-000000000001"


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


def started(said: Said) -> list[str]:
    return [start.execution_id for start in said.of(Start)]


def reasons(said: Said) -> list[str]:
    return [each.reason for each in said.of(Withheld)]


async def run(matcher: Matcher, name: str, **more: object) -> str:
    (start,) = (await matcher.events(name, **more)).of(Start)
    return start.execution_id


async def order(matcher: Matcher, kind: type, runbook: str = "rb", times: int = 1, **fields: object) -> Said:
    """Somebody of acme orders something."""
    lane = ids.lane("acme", runbook, LANE_COUNT)
    named = {} if kind is CancelExecution else {"runbook_id": runbook}
    command = kind(
        **{"command_id": "c1", "company_id": "acme", "by": "eve", "at": AT, "lane": lane, **named, **fields}
    )
    return await matcher.hears(topics.CONTROL_COMMANDS, command, lane, times)


# ---- loops -----------------------------------------------------------------------------------------------------


async def test_a_runbook_does_not_run_twice_in_one_chain(make: Make) -> None:
    matcher = await make()
    matcher.define("one")
    first = await run(matcher, "e1")
    matcher.define("two")
    said = await matcher.events("e2", chain=(first,))
    (start,), (word,) = said.of(Start), said.of(Withheld)
    assert (start.runbook.id, start.chain) == ("two", (first,))
    assert (word.runbook.id, word.status, word.reason, word.chain) == ("one", "skipped", "loop", (first,))
    assert first in word.detail


async def test_a_runbook_that_may_repeat_itself_ends_at_the_depth_of_its_chain(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"chain_repeat": True, "chain_depth": 2})
    first = await run(matcher, "e1")
    second = await run(matcher, "e2", chain=(first,))
    assert reasons(await matcher.events("e3", chain=(first, second))) == ["loop"]


async def test_a_chain_of_executions_that_nobody_knows_has_a_length_all_the_same(make: Make) -> None:
    matcher = await make()
    matcher.define()
    assert len(started(await matcher.events("e1", chain=(NOBODY, NOBODY)))) == 1
    assert reasons(await matcher.events("e2", chain=(NOBODY, NOBODY, NOBODY))) == ["loop"]


# ---- breakers --------------------------------------------------------------------------------------------------


async def test_an_open_breaker_suppresses_firings_and_each_is_on_record(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    said = await matcher.events("e1")
    (word,) = said.of(Withheld)
    assert (word.status, word.reason, started(said)) == ("skipped", "breaker_open", [])
    assert await matcher.status(word.execution_id) == [("suppressed", "breaker_open")]
    assert reasons(await matcher.says_again()) == ["breaker_open"]


async def test_a_start_carries_the_generation_of_its_breaker(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip(is_open=False, generation=3)
    (start,) = (await matcher.events("e1")).of(Start)
    assert start.origin.generation == 3
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, start.lane)).of(Start) == [start]


async def test_a_start_carries_the_threshold_of_its_breaker_also_when_it_is_read_back(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails={"breaker_threshold": 3})
    (start,) = (await matcher.events("e1")).of(Start)
    assert start.origin.breaker_threshold == 3
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, start.lane)).of(Start) == [start]


async def test_a_withheld_firing_is_said_again_when_somebody_lacks_it(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    (told,) = (await matcher.events("e1")).of(Withheld)
    unknown = Unknown(execution_id=told.execution_id, company_id="acme", runbook_id="rb", lane=told.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, told.lane)).of(Withheld) == [told]


async def test_the_generation_is_the_one_at_the_start_not_at_the_firing(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (ask,) = (await matcher.events("e1")).asks
    matcher.trip(is_open=False, generation=4)
    (start,) = (await matcher.advise("admitted", ask.id)).of(Start)
    assert start.origin.generation == 4


@pytest.mark.parametrize(("how", "reason"), [("trip", "breaker_open"), ("deactivate", "inactive")])
async def test_what_is_queued_when_its_runbook_stops_firing_is_suppressed(
    make: Make, how: str, reason: str
) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    runs = [ask.id for ask in (await matcher.events("e1", "e2", "e3")).asks]
    await matcher.advise("admitted", runs[0])
    await matcher.advise("queued", runs[1])
    if how == "trip":
        matcher.trip()
    else:
        matcher.define(guardrails=SLOT, is_active=False)
    said = await matcher.ticks(1)
    assert reasons(said) == [reason, reason]
    assert {release.id for release in said.releases} == set(runs[1:])
    assert await matcher.status(*runs) == [("sent", ""), ("suppressed", reason), ("suppressed", reason)]


async def test_advice_that_comes_after_the_trip_starts_nothing(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    (ask,) = (await matcher.events("e1")).asks
    matcher.trip()
    said = await matcher.advise("admitted", ask.id)
    assert (started(said), reasons(said)) == ([], ["breaker_open"])
    assert [release.id for release in said.releases] == [ask.id]


async def test_suppressed_firings_are_run_on_order_once_each_as_new_executions_that_name_the_old(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    old = [word.execution_id for word in (await matcher.events("e1", "e2")).of(Withheld)]
    assert await order(matcher, RunSuppressed) == []
    assert started(await matcher.ticks(1)) == [], "the reset has not been heard of yet"
    matcher.trip(is_open=False, generation=1)
    starts = (await matcher.ticks(1)).of(Start)
    assert sorted(start.origin.instead_of for start in starts) == sorted(old)
    assert {start.origin.started_by for start in starts} == {"eve"}
    assert {start.origin.generation for start in starts} == {1}
    assert {start.event.id for start in starts} == {"e1", "e2"}
    assert not {start.execution_id for start in starts} & set(old)
    await order(matcher, RunSuppressed, command_id="c2")
    assert await matcher.ticks(5) == []
    await matcher.records(*old)
    assert await matcher.status(old[0]) == [("suppressed", "breaker_open")]


async def test_suppressed_firings_that_were_let_go_are_not_run_by_a_later_order_for_all(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    await matcher.events("e1")
    await order(matcher, LetGoSuppressed, reason="obsolete")
    (later,) = (await matcher.events("e2")).of(Withheld)
    matcher.trip(is_open=False, generation=1)
    await order(matcher, RunSuppressed, command_id="c2")
    assert [start.origin.instead_of for start in (await matcher.ticks(1)).of(Start)] == [later.execution_id]


async def test_only_the_named_ones_of_suppressed_firings_are_run(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    one, _two = (await matcher.events("e1", "e2")).of(Withheld)
    matcher.trip(is_open=False, generation=1)
    await order(matcher, RunSuppressed, executions=(one.execution_id,))
    assert [start.origin.instead_of for start in (await matcher.ticks(1)).of(Start)] == [one.execution_id]


async def test_guardrails_hold_for_what_is_run_after_all(make: Make) -> None:
    matcher = await make()
    matcher.define()
    matcher.trip()
    await matcher.events("e1", "e2")
    matcher.trip(is_open=False, generation=1)
    matcher.define(guardrails=SLOT)
    await order(matcher, RunSuppressed)
    said = await matcher.ticks(1)
    assert (len(said.asks), started(said)) == (2, [])


# ---- by hand ---------------------------------------------------------------------------------------------------


async def test_a_runbook_is_run_by_hand_whatever_its_rules_say_on_what_is_known_of_the_finding(
    make: Make,
) -> None:
    matcher = await make()
    matcher.define(rules=[{"event": "asset_created"}])
    matcher.findings.known["F-9"] = {"id": "F-9", "severity": "low"}
    fields = {"finding_id": "F-9", "data": Raw(b'{"why":"because"}')}
    (start,) = (await order(matcher, TriggerRunbook, **fields)).of(Start)
    assert (start.event.type, start.event.source, start.event.id) == ("manual", "outlast/manual", "c1")
    assert start.origin.started_by == "eve"
    assert b'"severity":"low"' in bytes(start.payload)
    assert b'"why":"because"' in bytes(start.payload)
    assert await order(matcher, TriggerRunbook, **fields) == [], "the same command again"
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    assert (await matcher.hears(topics.LIFECYCLE, unknown, start.lane)).of(Start) == [start]


async def test_orders_by_hand_keep_the_lanes_waiting_for_the_platform_for_a_bounded_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = await make()
    matcher.define()
    findings, asked = matcher.findings.find, []

    async def away(wanted: Sequence[Wanted]) -> list[Found]:
        asked.append(wanted)
        raise TransientError("the platform is away")

    monkeypatch.setattr(matcher.findings, "find", away)
    with pytest.raises(TransientError):
        await order(matcher, TriggerRunbook, finding_id="F-9")
    matcher.clock.seconds += 14
    with pytest.raises(TransientError):
        await order(matcher, TriggerRunbook, finding_id="F-9")
    matcher.clock.seconds += 2
    for count in (3, 3):  # the second one does not ask for itself
        with pytest.raises(AssertionError):
            await order(matcher, TriggerRunbook, finding_id="F-9")  # a dead letter, and the lane goes on
        assert len(asked) == count
    monkeypatch.setattr(matcher.findings, "find", findings)
    matcher.clock.seconds += 2
    assert len(started(await order(matcher, TriggerRunbook, finding_id="F-9"))) == 1
    monkeypatch.setattr(matcher.findings, "find", away)
    with pytest.raises(TransientError):
        await order(matcher, TriggerRunbook, finding_id="F-9", command_id="c2")


async def test_an_order_that_comes_twice_in_one_batch_runs_once(make: Make) -> None:
    matcher = await make()
    matcher.define()
    assert len(started(await order(matcher, TriggerRunbook, times=2))) == 1


async def test_guardrails_hold_for_what_is_run_by_hand(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    said = await order(matcher, TriggerRunbook)
    assert (len(said.asks), started(said)) == (1, [])


@pytest.mark.parametrize(("how", "reason"), [("trip", "breaker_open"), ("deactivate", "inactive")])
async def test_a_runbook_that_may_not_fire_is_not_run_by_hand_either(
    make: Make, how: str, reason: str
) -> None:
    matcher = await make()
    matcher.define(is_active=how == "trip")
    matcher.trip(is_open=how == "trip")
    assert reasons(await order(matcher, TriggerRunbook)) == [reason]


async def test_orders_about_what_is_not_there_change_nothing(make: Make) -> None:
    matcher = await make()
    matcher.define()
    own = await run(matcher, "e1")
    assert await order(matcher, TriggerRunbook, "other") == []
    assert await order(matcher, CancelExecution, execution_id=NOBODY) == []
    assert await order(matcher, CancelExecution, execution_id=own, company_id="zenith") == []
    assert (await matcher.row(own)).cancel is None
    assert await order(matcher, RunSuppressed, "other") == []


# ---- cancelling ------------------------------------------------------------------------------------------------


async def test_what_is_not_sent_is_cancelled_at_once(make: Make) -> None:
    matcher = await make()
    matcher.define(guardrails=SLOT)
    one, two = [ask.id for ask in (await matcher.events("e1", "e2")).asks]
    await matcher.advise("admitted", one)
    await matcher.advise("queued", two)
    said = await order(matcher, CancelExecution, execution_id=two, reason="no need")
    (word,) = said.of(Withheld)
    assert (word.status, word.reason, word.by, word.detail) == ("cancelled", "cancelled", "eve", "no need")
    assert [release.id for release in said.releases] == [two]
    await matcher.comes_to(Finished, one)
    assert started(await matcher.advise("admitted", two)) == []


@pytest.mark.parametrize(
    ("mode", "topic"),
    [("workflow", topics.ENGINE_INBOX), ("inline", topics.INLINE), ("shadow", topics.INLINE)],
)
async def test_a_run_that_is_under_way_is_cancelled_by_who_runs_it_and_the_order_is_repeated_until_it_ends(
    make: Make, mode: str, topic: str
) -> None:
    matcher = await make(mode=mode)
    matcher.define()
    (start, *_) = (await matcher.events("e1")).of(Start)
    said = await order(matcher, CancelExecution, execution_id=start.execution_id, reason="stop")
    (cancel,) = said.of(Cancel, topic)
    assert (len(said), cancel.by, cancel.reason, cancel.at) == (1, "eve", "stop", AT)
    assert len((await matcher.says_again()).of(Cancel, topic)) == 1
    await matcher.records(start.execution_id)
    assert (await matcher.says_again()).of(Cancel) == []
    assert await order(matcher, CancelExecution, execution_id=start.execution_id) == []


async def test_a_cancelled_run_that_the_engine_never_saw_is_started_and_cancelled(make: Make) -> None:
    matcher = await make()
    matcher.define()
    (start,) = (await matcher.events("e1")).of(Start)
    await order(matcher, CancelExecution, execution_id=start.execution_id)
    unknown = Unknown(execution_id=start.execution_id, company_id="acme", runbook_id="rb", lane=start.lane)
    said = await matcher.hears(topics.LIFECYCLE, unknown, start.lane)
    assert (len(said.of(Start)), len(said.of(Cancel))) == (1, 1)


# ---- companies -------------------------------------------------------------------------------------------------


async def test_what_a_company_has_beyond_its_limit_waits_and_others_do_not_notice(make: Make) -> None:
    matcher = await make(company_limit=2)
    matcher.define()
    matcher.define(company="zenith")
    said = await matcher.events("e1", "e2", "e3", "e4")
    assert len(started(said)) == 2
    assert [each.reason for each in said.of(Queued)] == ["company_limit"] * 2
    assert len(started(await matcher.events("z1", company="zenith"))) == 1
    assert started(await matcher.ticks(1)) == []


async def test_deferred_firings_start_in_order_as_runs_end_and_new_ones_queue_behind_them(make: Make) -> None:
    matcher = await make(company_limit=2)
    matcher.define()
    running = started(await matcher.events("e1", "e2"))
    deferred = []
    for name in ("e3", "e4"):
        matcher.clock.seconds += 1
        deferred += [each.execution_id for each in (await matcher.events(name)).of(Queued)]
    await matcher.records(running[0])
    matcher.clock.seconds += 2
    (late,) = (await matcher.events("late")).of(Queued)
    assert started(await matcher.ticks(0)) == [deferred[0]]
    await matcher.records(running[1], deferred[0])
    assert started(await matcher.ticks(1)) == [deferred[1], late.execution_id]


async def test_a_run_that_waits_leaves_its_place_to_another(make: Make) -> None:
    matcher = await make(company_limit=1)
    matcher.define()
    first = await run(matcher, "e1")
    (queued,) = (await matcher.events("e2")).of(Queued)
    await matcher.comes_to(Waiting, first, 5)
    assert started(await matcher.ticks(1)) == [queued.execution_id]
    await matcher.comes_to(Resumed, first, 6)
    (third,) = (await matcher.events("e3")).of(Queued)
    await matcher.records(queued.execution_id)
    assert started(await matcher.ticks(1)) == [], "the first one is under way again"
    await matcher.records(first)
    assert started(await matcher.ticks(1)) == [third.execution_id]


async def test_room_is_given_to_each_company_in_turn(make: Make) -> None:
    matcher = await make(company_limit=2)
    for company in ("acme", "zenith"):
        matcher.define(company=company)
    running = [
        run
        for company in ("acme", "zenith")
        for run in started(await matcher.events(*(f"{company}{n}" for n in range(6)), company=company))
    ]
    await matcher.records(*running)
    said = await matcher.ticks(1)
    assert [start.company_id for start in said.of(Start)] == ["acme", "zenith", "acme", "zenith"]


async def test_what_was_held_for_the_engine_starts_within_the_companys_limit_when_it_is_back(
    make: Make,
) -> None:
    matcher = await make(company_limit=2)
    for company in ("acme", "zenith"):
        matcher.define(company=company, requires_durable=True)
    matcher.engine_says("down")
    matcher.clock.seconds = 31
    held: dict[str, list[str]] = {"acme": [], "zenith": []}
    for number in range(4):
        matcher.clock.seconds += 1
        for company, runs in held.items():
            said = await matcher.events(f"{company}{number}", company=company)
            runs += [each.execution_id for each in said.of(Queued)]
    assert started(await matcher.ticks(1)) == [], "the engine is away"
    matcher.engine_says("up")
    said = await matcher.ticks(1)
    (one, two, three, four), theirs = held["acme"], held["zenith"]
    assert started(said) == [one, theirs[0], two, theirs[1]], (
        "one of each company in turn, who came first is first"
    )
    deferred = {each.execution_id: each.reason for each in said.of(Queued)}
    assert deferred == dict.fromkeys([three, four, *theirs[2:]], "company_limit")
    assert await matcher.status(one, three) == [("sent", ""), ("deferred", "company_limit")]
    (late,) = (await matcher.events("late")).of(Queued)
    await matcher.records(two)
    assert started(await matcher.ticks(1)) == [three]
    await matcher.records(one, three)
    assert started(await matcher.ticks(1)) == [four, late.execution_id]


async def test_what_was_deferred_before_the_engine_went_away_comes_before_what_was_held(make: Make) -> None:
    matcher = await make(company_limit=1)
    matcher.define(requires_durable=True)
    first = await run(matcher, "e1")
    (deferred,) = (await matcher.events("e2")).of(Queued)
    matcher.engine_says("down")
    matcher.clock.seconds = 31
    (held,) = (await matcher.events("e3")).of(Queued)
    assert (deferred.reason, held.reason) == ("company_limit", "engine_down")
    matcher.engine_says("up")
    assert started(await matcher.ticks(1)) == []
    await matcher.records(first)
    assert started(await matcher.ticks(1)) == [deferred.execution_id]
    await matcher.records(deferred.execution_id)
    assert started(await matcher.ticks(1)) == [held.execution_id]


async def test_a_deferred_guarded_firing_asks_the_gate_when_there_is_room(make: Make) -> None:
    matcher = await make(company_limit=1)
    matcher.define("free")
    first = await run(matcher, "e1")
    matcher.define("free", is_active=False)
    matcher.define("guarded", guardrails=SLOT)
    said = await matcher.events("e2")
    assert (said.asks, len(said.of(Queued))) == ([], 1)
    await matcher.records(first)
    assert len((await matcher.ticks(1)).asks) == 1


async def test_nothing_pressing_costs_one_look_a_second(make: Make) -> None:
    matcher = await make()
    matcher.define()
    await matcher.events("e1")
    await matcher.ticks(1)
    assert matcher.agenda.due_seconds(matcher._owned.keys()) == pytest.approx(1.0)
