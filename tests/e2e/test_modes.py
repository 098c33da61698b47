"""Degradation and shadow on systems of their own: the short form of what `make faults ONLY=G2,G3` runs."""

import pytest
from tests.faults.modes import run_degradation, run_shadow
from tests.faults.stack import own_folder

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("modes")]


def test_without_the_engines_database_new_runs_go_inline_with_a_mark_and_no_durable_one_does() -> None:
    with own_folder() as folder:
        outcome = run_degradation(folder, durable=20, settle_seconds=240)
        assert outcome.faults == []
        assert outcome.marked >= 2


def test_the_double_of_an_inline_run_agrees_and_differs_where_the_engine_alone_renders_otherwise() -> None:
    with own_folder() as folder:
        plain, patched = run_shadow(folder, events=60, settle_seconds=240)
        assert (plain.faults, plain.marked) == ([], 0)
        assert (patched.faults, patched.marked) == ([], 60)
