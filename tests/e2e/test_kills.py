"""The short form of `make faults`: every named point, a few random kills, everything at once."""

from pathlib import Path

import pytest
from tests.faults.points import POINTS
from tests.faults.scenario import run_scenario


@pytest.mark.timeout(600)
def test_killed_at_every_named_point_and_at_random_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    outcome = run_scenario(tmp_path, executions=60, random_kills=10, seed=7, settle_seconds=120)
    assert outcome.faults == []
    assert (outcome.lost, outcome.not_successful, outcome.repeated_after_record) == (0, 0, 0)
    assert outcome.kills >= len(POINTS) + 10
