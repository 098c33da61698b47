"""How a test says that the simulation finds what a mutant breaks, and what several mutants do."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from outlast.contracts.topics import TopicPartition
from outlast.runtime.work import Turn
from outlast.testing.faults import Rates
from tests.simulation.run import simulate
from tests.simulation.setting import PLAIN, Setting
from tests.simulation.system import Parts

SEEDS_MAX = 60
LOSSY = Rates(commit=30, weights={"loss": 12, "kill": 8})
"""The broker loses everything again and again: for mechanisms that are there for that."""


def assert_caught(
    parts: Parts,
    *rules: str,
    seeds_max: int = SEEDS_MAX,
    rates: Rates | None = None,
    setting: Setting = PLAIN,
) -> None:
    """Some seed shows a violation of one of these rules."""
    parts = replace(parts, setting=lambda _seed: setting)
    seen: set[str] = set()
    for seed in range(seeds_max):
        found = {violation.rule for violation in simulate(seed, rates, parts).violations}
        if found & set(rules):
            return
        seen |= found
    pytest.fail(f"expected a violation of {rules} within {seeds_max} seeds, saw {sorted(seen)}")


class StoredFirst:
    """What is due is stored before the broker has its firing. Stands before the agenda that it is a mutant of."""

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        turn = await super().act(owned)  # type: ignore[misc] of the class that this stands before
        if turn is not None:
            turn.outgoing, turn.answers = turn.answers, []
        return turn
