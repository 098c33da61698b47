"""Today's interpreter agrees with what every release stored; and the comparison itself can fail."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from outlast.execution.evolve import fold
from outlast.history import codec
from outlast.history.events import Recorded
from outlast.testing.spec import EXECUTION
from tests.replay.golden import FIRST, SCENARIOS, SECOND, replay

GOLDENS = sorted(Path(__file__).parent.glob("*/*.json"))


def test_the_first_release_has_every_scenario() -> None:
    assert {path.stem for path in GOLDENS if path.parent.name == "0.1.0"} == set(FIRST)


def test_the_second_release_has_what_it_could_do() -> None:
    assert {path.stem for path in GOLDENS if path.parent.name == "0.2.0"} == {*FIRST, *SECOND}


def test_the_present_release_has_every_scenario() -> None:
    assert {path.stem for path in GOLDENS if path.parent.name == "0.3.0"} == set(SCENARIOS)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_same_inputs_give_the_stored_history(path: Path) -> None:
    golden = json.loads(path.read_text())
    assert replay(golden) == golden["history"]


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_stored_history_folds_to_an_ended_run(path: Path) -> None:
    golden = json.loads(path.read_text())
    history = [
        Recorded(
            each["seq"],
            datetime.fromisoformat(each["at"]),
            codec.decode(json.dumps(each["event"]).encode()),
        )
        for each in golden["history"]
    ]
    assert fold(EXECUTION, history).is_ended


def test_a_changed_decision_is_seen() -> None:
    golden = json.loads(next(path for path in GOLDENS if path.stem == "owner-and-branch").read_text())
    golden["definition"]["actions"][1]["expression"]["value"] = "critical"
    assert replay(golden) != golden["history"]
