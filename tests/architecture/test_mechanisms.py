"""docs/mechanisms.md names tests that exist: found by parsing the files, nothing is collected or run."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NODE_ID = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_test_that_a_mechanism_names_exists() -> None:
    named = NODE_ID.findall((ROOT / "docs" / "mechanisms.md").read_text())
    assert len(named) > 40
    missing = [f"{path}::{name}" for path, name in named if name not in _tests(ROOT / path)]
    assert missing == []


def test_every_mutant_has_its_row() -> None:
    named = NODE_ID.findall((ROOT / "docs" / "mechanisms.md").read_text())
    controls = {"test_a_world_with_every_mechanism_in_place_is_not_caught"}
    for kind in ("", "_waiting", "_guard", "_schedule"):
        path = f"tests/simulation/test{kind}_mutants.py"
        assert _tests(ROOT / path) - controls == {name for where, name in named if where == path}


def _tests(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    found = ast.walk(ast.parse(path.read_text()))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in found if isinstance(node, kinds) and node.name.startswith("test_")}
