"""What the matcher looks for of its own accord: found by an index, in bounded parts, none holding up another."""

from collections.abc import AsyncIterator, Collection

import pytest
from tests.integration.matcher_world import LANE_COUNT, Make, matchers

from outlast import ids
from outlast.contracts import topics
from outlast.contracts.control import RunSuppressed
from outlast.contracts.messages import Start
from outlast.db.queries import load_queries
from outlast_trigger_matcher import reasking
from outlast_trigger_matcher.ports import LanesStore
from outlast_trigger_matcher.store import PostgresMatcherStore

SLOT = {"concurrency_limit": 1}
HELD = 2_000


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


@pytest.fixture
async def real(postgres: str) -> AsyncIterator[Make]:
    async with matchers("postgres", lambda: postgres) as made:
        yield made


async def test_orders_to_run_what_a_breaker_holds_back_still_hold_up_nobody_elses(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasking, "PAGE_MAX", 1)
    matcher, names = await make(), ("rb", "other")
    for name in names:
        matcher.define(name)
        matcher.trip(name)
    await matcher.events("e1")
    for name in names:
        command = RunSuppressed(
            command_id=name, company_id="acme", runbook_id=name, by="eve", at=matcher.clock.now(),
            lane=ids.lane("acme", name, LANE_COUNT), reason="mended",
        )  # fmt: skip
        await matcher.hears(topics.CONTROL_COMMANDS, command, command.lane)
    in_turn = await matcher.pressing.to_run(range(LANE_COUNT), (), 10)
    assert len(in_turn) == 2
    for each in reversed(in_turn):
        name = (await matcher.row(each)).start.runbook.id
        matcher.trip(name, is_open=False, generation=1)
        assert [start.origin.instead_of for start in (await matcher.ticks(1)).of(Start)] == [each]


async def test_old_entries_of_windows_go_as_fast_as_they_come(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasking, "PRUNED_MAX", 2)
    matcher = await make()
    matcher.define(guardrails={"throttles": [{"limit": 100, "per": "1m"}]})
    asks = (await matcher.events(*(f"e{number}" for number in range(5)))).asks
    await matcher.advise("admitted", *(ask.id for ask in asks))
    await matcher.ticks(2 * 86_400)
    await matcher.ticks(2)
    await matcher.ticks(2)
    assert await matcher.pressing.prune(matcher.clock.now(), 10) == 0


async def test_however_much_presses_most_of_the_time_is_the_batches(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = await make(company_limit=1)
    matcher.define()
    (start,) = (await matcher.events("e1", "e2", "e3")).of(Start)
    await matcher.records(start.execution_id)
    look = matcher.pressing.has_any

    async def slow(lanes: Collection[int]) -> bool:
        matcher.clock.seconds += 2
        return await look(lanes)

    monkeypatch.setattr(matcher.pressing, "has_any", slow)
    assert len((await matcher.ticks(1)).of(Start)) == 1
    owned = matcher._owned.keys()
    assert matcher.agenda.due_seconds(owned) == 8
    matcher.agenda.runs_ended()
    assert matcher.agenda.due_seconds(owned) == 8, "however many runs end"


async def test_a_slot_of_a_run_that_is_closed_is_freed_by_the_reconciler(real: Make) -> None:
    matcher = await real()
    matcher.define(guardrails=SLOT)
    (ask,) = (await matcher.events("e1")).asks
    await matcher.advise("admitted", ask.id)
    await matcher.records(ask.id)
    store = matcher.store
    assert isinstance(store, PostgresMatcherStore)
    await store._pool.execute("update dispatches set slot_freed_at = null")
    assert (await matcher.row(ask.id)).has_slot
    said = await matcher.ticks(30)
    assert [release.id for release in said.releases] == [ask.id]
    assert not (await matcher.row(ask.id)).has_slot


async def test_leaked_slots_are_not_searched_among_all_that_is_held_or_over(real: Make) -> None:
    matcher = await real()
    matcher.define(guardrails=SLOT)
    await matcher.events("e1")
    plan = await explained(matcher.store, "leaked", [0, 1, 2, 3], 500)
    assert "dispatches_leaked" in plan


async def test_what_is_held_for_the_engine_is_not_searched_among_all_that_runs(real: Make) -> None:
    matcher = await real()
    matcher.define(requires_durable=True)
    matcher.engine_says("down")
    matcher.clock.seconds = 31
    await matcher.events("e1")
    plan = await explained(matcher.store, "deferred", [0, 1, 2, 3], 100, 500, True)
    assert "dispatches_held_by_company" in plan


async def explained(store: LanesStore, query: str, *arguments: object) -> str:
    """How it is asked where thousands of rows are sent and hold slots."""
    assert isinstance(store, PostgresMatcherStore)
    await store._pool.execute(
        f"""insert into dispatches (execution_id, company_id, source, event_id, runbook_id, runbook_name,
            runbook_version, definition_sha256, mode, lane, status, received_at, concurrency_key, slot_taken_at)
        select gen_random_uuid(), company_id, source, g::text, runbook_id, runbook_name, 1, definition_sha256, mode,
            g % 8, 'sent', now(), 'k' || g, now() from dispatches, generate_series(1, {HELD}) g"""
    )
    await store._pool.execute("analyze dispatches")
    asked = load_queries("outlast_trigger_matcher", "pressing.sql")[query]
    return "\n".join(row[0] for row in await store._pool.fetch(f"explain {asked}", *arguments))
