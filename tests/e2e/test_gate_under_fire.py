"""The short form of `make faults ONLY=G1`: guards hold while what holds them dies and is not heard."""

import pytest
from tests.faults.guards import run_gate_under_fire
from tests.faults.stack import own_folder

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("gate")]


def test_in_a_storm_among_deaths_and_lost_answers_exactly_the_allowed_firings_run() -> None:
    with own_folder() as folder:
        outcome = run_gate_under_fire(folder, firings=1_200, kills=8, seed=3, settle_seconds=300)
        assert outcome.faults == []
        assert outcome.ran == outcome.allowed
