"""The short form of `make faults`: every named point, a few random kills, everything at once."""

import pytest
from tests.faults.points import POINTS
from tests.faults.scenario import run_broker_loss, run_scenario
from tests.faults.stack import own_folder


@pytest.mark.timeout(900)
def test_killed_at_every_named_point_and_at_random_nothing_is_lost_or_repeated() -> None:
    with own_folder() as folder:
        outcome = run_scenario(folder, executions=60, random_kills=10, seed=7, settle_seconds=240)
        assert outcome.faults == []
        assert (outcome.lost, outcome.not_successful, outcome.repeated_after_record) == (0, 0, 0)
        assert outcome.kills >= len(POINTS) + 10


@pytest.mark.timeout(900)
def test_all_of_the_brokers_data_is_lost_twice_and_no_run_with_it() -> None:
    with own_folder() as folder:
        outcome = run_broker_loss(folder, executions=40, settle_seconds=240)
        assert outcome.faults == []
        assert (outcome.events, outcome.lost, outcome.not_successful) == (43, 0, 0)
        assert outcome.repeated_after_record == 0
