"""Thousands of executions among faults, without a violation; a failing seed says how to see it again.

`EXECUTIONS=20000 .venv/bin/pytest -n 2 tests/simulation/test_simulation.py` runs so many, from other seeds.
`SEED=7 .venv/bin/pytest tests/simulation/test_simulation.py` runs that seed alone; with SIMULATION_LOG=1 and -s the
services' logs are shown.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from outlast.testing.faults import CALM
from tests.simulation.run import simulate

SHARES = 14
EXECUTIONS_A_SHARE = 400


@dataclass(frozen=True)
class Share:
    """Seeds from here on, until so many executions have been simulated."""

    first_seed: int
    executions: int

    def __str__(self) -> str:
        return f"from-{self.first_seed}"


def shares() -> list[Share]:
    if "SEED" in os.environ:
        return [Share(int(os.environ["SEED"]), 1)]
    if "EXECUTIONS" in os.environ:
        count = max(1, int(os.environ["EXECUTIONS"]) // EXECUTIONS_A_SHARE)
        return [Share(1_000_000 + 1_000 * number, EXECUTIONS_A_SHARE) for number in range(count)]
    return [Share(1_000 * (number + 1), EXECUTIONS_A_SHARE) for number in range(SHARES)]


@pytest.mark.parametrize("share", shares(), ids=str)
def test_whatever_goes_wrong_every_accepted_event_has_exactly_its_runs_and_all_of_them_finish(share: Share):
    done, seed = 0, share.first_seed
    while done < share.executions:
        outcome = simulate(seed)
        assert not outcome.violations, outcome.explain()
        done += outcome.executions
        seed += 1


def test_in_a_calm_world_no_attempt_is_called_twice():
    outcome = simulate(1, CALM)
    assert not outcome.violations, outcome.explain()
    assert outcome.executions > 50
    for calls in outcome.system.receiver.calls.values():
        assert [call.attempt for call in calls] == list(range(1, len(calls) + 1))


def test_a_seed_is_one_history_in_every_process():
    program = (
        "import logging, structlog; from tests.simulation.run import simulate;"
        "structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL));"
        "world = simulate(11).system.world; print(world.turns, world.broker.appended, *world.trace, sep='\\n')"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            timeout=120,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert said[0].count(b"\n") > 30
