"""Rule 4, case by case: given what the ledger says, when an activity is received, then this."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.limits import TAKEOVERS_MAX
from outlast_action_executor.core.claim import (
    Answer,
    Asked,
    Call,
    Defer,
    Instance,
    Resolution,
    Row,
    Unknown,
    decide,
)

ME = Instance("0", 7)
EARLIER_LIFE = Instance("0", 6)
OTHER = Instance("1", 3)
ASKED = Asked(attempt=1, is_idempotent=True, has_look_up=False, on_unknown="retry")
LIVE = Row(1, OTHER, 0, is_dead=False, remaining_seconds=12.0, result=None, is_success=False)
DEAD = LIVE._replace(is_dead=True, remaining_seconds=-1.0)
SUCCESS = DEAD._replace(result=b"ok", is_success=True)
FAILURE = DEAD._replace(result=b"failed", is_success=False)


def test_nothing_recorded_is_called() -> None:
    assert decide(ASKED, [], ME) == Call(None)


@pytest.mark.parametrize("row", [SUCCESS, FAILURE])
def test_the_recorded_result_of_this_attempt_is_given_again(row: Row) -> None:
    assert decide(ASKED, [row], ME) == Answer(row)


def test_the_success_of_another_attempt_is_given() -> None:
    assert decide(ASKED._replace(attempt=2), [SUCCESS], ME) == Answer(SUCCESS)


def test_this_attempts_own_failure_comes_before_the_success_of_another() -> None:
    later = SUCCESS._replace(attempt=2)
    assert decide(ASKED, [FAILURE, later], ME) == Answer(FAILURE)


def test_after_a_failed_attempt_the_next_one_is_called() -> None:
    assert decide(ASKED._replace(attempt=2), [FAILURE], ME) == Call(None)


def test_anothers_live_claim_is_left_alone_until_its_deadline() -> None:
    assert decide(ASKED, [LIVE], ME) == Defer(12.0)


def test_a_live_claim_of_the_attempt_before_is_left_alone_too() -> None:
    assert decide(ASKED._replace(attempt=2), [LIVE], ME) == Defer(12.0)


def test_a_claim_of_this_life_that_was_never_begun_is_called() -> None:
    mine = LIVE._replace(claimant=ME)
    assert decide(ASKED, [mine], ME) == Call(mine)


def test_a_claim_of_a_later_life_makes_us_the_zombie_and_is_left_alone() -> None:
    assert decide(ASKED, [LIVE._replace(claimant=Instance("0", 8))], ME) == Defer(12.0)


@pytest.mark.parametrize("claimant", [OTHER, EARLIER_LIFE])
def test_a_dead_claim_of_an_idempotent_action_is_tried_again(claimant: Instance) -> None:
    dead = DEAD._replace(claimant=claimant)
    assert decide(ASKED, [dead], ME) == Unknown(dead, Resolution.RETRY)


def test_a_dead_claim_is_looked_up_outside_where_that_is_possible() -> None:
    assert decide(ASKED._replace(has_look_up=True), [DEAD], ME) == Unknown(DEAD, Resolution.LOOK_UP)


@pytest.mark.parametrize(
    ("on_unknown", "resolution"), [("retry", Resolution.RETRY), ("fail", Resolution.FAIL)]
)
def test_for_an_action_that_is_not_idempotent_the_runbook_says(
    on_unknown: str, resolution: Resolution
) -> None:
    asked = ASKED._replace(is_idempotent=False, on_unknown=on_unknown)
    assert decide(asked, [DEAD], ME) == Unknown(DEAD, resolution)


def test_a_dead_claim_of_the_attempt_before_makes_this_one_a_resolution_of_it() -> None:
    asked = ASKED._replace(attempt=2, is_idempotent=False, on_unknown="fail")
    assert decide(asked, [DEAD], ME) == Unknown(None, Resolution.FAIL)


def test_what_was_taken_over_too_often_fails() -> None:
    worn = DEAD._replace(takeovers=TAKEOVERS_MAX)
    assert decide(ASKED, [worn], ME) == Unknown(worn, Resolution.FAIL)


rows = st.builds(
    Row,
    attempt=st.integers(1, 4),
    claimant=st.sampled_from([ME, EARLIER_LIFE, OTHER]),
    takeovers=st.integers(0, TAKEOVERS_MAX),
    is_dead=st.booleans(),
    remaining_seconds=st.floats(-100, 100),
    result=st.sampled_from([None, b"r"]),
    is_success=st.booleans(),
).map(lambda row: row._replace(is_success=row.is_success and row.result is not None))
histories = st.lists(rows, max_size=4, unique_by=lambda row: row.attempt)
questions = st.builds(
    Asked, st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from(["retry", "fail"])
)


@given(questions, histories)
def test_what_is_recorded_is_never_called_again(asked: Asked, history: list[Row]) -> None:
    is_recorded = any(
        row.is_success or (row.attempt == asked.attempt and row.result is not None) for row in history
    )
    assert isinstance(decide(asked, history, ME), Answer) == is_recorded


@given(questions, histories)
def test_a_live_claim_of_another_is_never_called_over(asked: Asked, history: list[Row]) -> None:
    decision = decide(asked, history, ME)
    if isinstance(decision, Call | Unknown) and decision.over is not None:
        assert decision.over.attempt == asked.attempt
        assert decision.over.is_dead or decision.over.claimant == ME


@given(questions, histories)
def test_a_dead_claim_is_never_called_over_without_saying_how(asked: Asked, history: list[Row]) -> None:
    decision = decide(asked, history, ME)
    if isinstance(decision, Call) and decision.over is not None:
        assert decision.over.claimant == ME
