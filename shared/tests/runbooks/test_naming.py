"""What a runbook's name makes of its id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.runbooks.naming import runbook_id
from outlast_control_plane.access import NAME_PATTERN


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Page on call", "page-on-call"),
        ("Critical finding → page!", "critical-finding-page"),
        ("  Émile's  RULE ", "emile-s-rule"),
        ("a" * 200, "a" * 80),
        ("x" * 79 + " y", "x" * 79),
    ],
)
def test_an_id_is_the_name_as_it_may_stand_in_an_address(name: str, expected: str) -> None:
    assert runbook_id(name) == expected


def test_names_without_a_latin_letter_have_ids_of_their_own() -> None:
    assert runbook_id("対応") != runbook_id("通知")


@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_every_name_has_an_id_that_is_its_own_id(name: str) -> None:
    made = runbook_id(name)
    assert re.match(NAME_PATTERN, made)
    assert runbook_id(made) == made
