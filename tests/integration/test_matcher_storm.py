"""A storm on guarded runbooks with the gate's own decision behind it, and everything between the two unreliable."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random

import pytest
from tests.integration.matcher_world import LANE_COUNT, Make, Matcher, Said, matchers

from outlast import ids
from outlast.contracts import topics
from outlast.contracts.guarding import GateDecision, GateRequest
from outlast.contracts.messages import Finished, Queued, Start, Withheld
from outlast.guardrails.admit import admit
from outlast.guardrails.guards import Guards

FIRINGS, LIMIT = 60, 2
WINDOW = 25


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


@dataclass
class Gate:
    """`admit` over tables that may be lost; what is said on the way to and fro may be lost or come twice."""

    matcher: Matcher
    random: Random
    loss: float = 0.1
    guards: dict[str, Guards] = field(default_factory=dict)
    heard: list[GateRequest] = field(default_factory=list)
    runs: dict[str, Start] = field(default_factory=dict)
    withheld: dict[str, Withheld] = field(default_factory=dict)
    queued: dict[str, Queued] = field(default_factory=dict)

    def take(self, said: Said) -> None:
        """Note what the matcher said; the requests reach the gate, or not."""
        for start in said.of(Start):
            assert start.execution_id not in self.runs, "started twice"
            self.runs[start.execution_id] = start
        self.withheld |= {each.execution_id: each for each in said.of(Withheld)}
        self.queued |= {each.execution_id: each for each in said.of(Queued)}
        for request in said.of(GateRequest):
            if self.random.random() >= self.loss:
                self.heard += [request] * self.random.choice((1, 1, 1, 2))

    async def turn(self) -> None:
        """Answer what was heard, in any order; an answer reaches the matcher, or not."""
        requests, self.heard = self.heard, []
        self.random.shuffle(requests)
        for request in requests:
            guards = self.guards.setdefault(request.runbook_id, Guards())
            verdicts = admit(guards, request, self.matcher.clock.now())
            if not verdicts or self.random.random() < self.loss:
                continue
            decision = GateDecision(
                company_id="acme", runbook_id=request.runbook_id, lane=request.lane, verdicts=verdicts
            )
            for _ in range(self.random.choice((1, 1, 1, 2))):
                self.take(await self.matcher.hears(topics.GATE_DECISIONS, decision, request.lane))


@pytest.mark.parametrize("seed", range(3))
async def test_a_forgetful_gate_that_loses_a_word_in_ten_lets_exactly_the_allowed_firings_run(
    make: Make, seed: int
) -> None:
    matcher, random = await make(), Random(seed)
    gate = Gate(matcher, random)
    matcher.define(
        guardrails={
            "concurrency_limit": LIMIT,
            "throttles": [{"limit": WINDOW, "per": "1d"}],
            "queue_age": "30d",
        }
    )
    gate.take(await matcher.events(*(f"e{number}" for number in range(FIRINGS))))
    finished: set[str] = set()
    for number in range(400):
        if number in (40, 90):
            gate.guards.clear()
        await gate.turn()
        running = [each for each in gate.runs if each not in finished]
        assert len(running) <= LIMIT
        if running and random.random() < 0.7:
            finished.add(running[0])
            said = await matcher.comes_to(Finished, running[0])
            gate.take(said)
            await matcher.records(running[0])
        gate.take(await matcher.ticks(0.7))
        if len(finished) + len(gate.withheld) == FIRINGS:
            break
    assert len(finished) == len(gate.runs) == WINDOW
    assert len(gate.withheld) == FIRINGS - WINDOW
    assert {each.reason for each in gate.withheld.values()} == {"throttled"}
    for row in await matcher.store.rows(list(gate.runs)):
        assert (row.has_slot, row.status) == (False, "settled")
    assert ids.lane("acme", "rb", LANE_COUNT) == next(iter(gate.runs.values())).lane


async def test_the_queue_of_a_key_is_served_in_the_order_of_its_firings(make: Make) -> None:
    matcher = await make()
    gate = Gate(matcher, Random(0), loss=0.0)
    matcher.define(guardrails={"concurrency_limit": 1})
    expected: list[str] = []
    for number in range(12):
        matcher.clock.seconds += 0.01
        said = await matcher.events(f"e{number}")
        expected += [ask.id for ask in said.asks]
        gate.take(said)
    while len(gate.runs) < len(expected):
        await gate.turn()
        last = list(gate.runs)[-1]
        gate.take(await matcher.comes_to(Finished, last))
    assert list(gate.runs) == expected
