"""The compiled conditions and the naive reading of the specification agree, whatever is asked."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.runbooks.conditions import parse_condition
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.trees import OPERATORS
from outlast.runbooks.trees import leaves as leaves_of
from outlast.testing import condition_oracle
from outlast.testing.condition_strategies import (
    EDGES,
    NOW,
    leaves,
    objects,
    random_leaf,
    random_object,
    random_tree,
    trees,
)


@settings(max_examples=60, deadline=None)
@given(tree=trees(), payload=objects)
def test_compiled_conditions_agree_with_the_naive_evaluator(tree: dict[str, Any], payload: Any) -> None:
    assert parse_condition(tree).matches(payload, NOW) is condition_oracle.holds(tree, payload, NOW)


@settings(max_examples=60, deadline=None)
@given(
    together=st.lists(leaves(("a[*]", "a[*]", "b[*][*]", "a[*].b[*]")), min_size=2, max_size=4),
    payload=objects,
)
def test_leaves_that_share_an_element_agree_with_the_naive_evaluator(together: Any, payload: Any) -> None:
    tree = {"all": together}
    assert parse_condition(tree).matches(payload, NOW) is condition_oracle.holds(tree, payload, NOW)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_many_random_conditions_agree_with_the_naive_evaluator(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        tree, payload = random_tree(rng), random_object(rng)
        expected = condition_oracle.holds(tree, payload, NOW)
        assert parse_condition(tree).matches(payload, NOW) is expected, (tree, payload)
        tree = {"all": [random_leaf(rng, ("a[*]", "b[*]", "a[*].b[*]")) for _ in range(3)]}
        expected = condition_oracle.holds(tree, payload, NOW)
        assert parse_condition(tree).matches(payload, NOW) is expected, (tree, payload)


@pytest.mark.parametrize("op", OPERATORS)
def test_every_operator_agrees_with_the_naive_evaluator_at_every_edge(op: str) -> None:
    for value, folds in itertools.product([*EDGES, EDGES], [False, True]):
        tree = {"field": "f.x", "op": op, "value": value, "i": folds}
        try:
            condition = parse_condition(tree)
        except DefinitionRefused:
            continue
        for found in EDGES:
            payload = {"f": {"x": found}}
            assert condition.matches(payload, NOW) is condition_oracle.holds(tree, payload, NOW), (
                tree,
                found,
            )


def _value_of(tree: dict[str, Any], results: dict[str, bool], at: str = "") -> bool:
    """The tree's value if the leaves have these results."""
    if "not" in tree:
        return not _value_of(tree["not"], results, f"{at}.not" if at else "not")
    for name, combine in (("all", all), ("any", any)):
        if name in tree:
            inside = f"{at}.{name}" if at else name
            return combine(_value_of(c, results, f"{inside}[{i}]") for i, c in enumerate(tree[name]))
    return results[at]


@settings(max_examples=60, deadline=None)
@given(tree=trees(), payload=objects)
def test_the_explained_leaves_add_up_to_the_result(tree: dict[str, Any], payload: Any) -> None:
    condition = parse_condition(tree)
    explained = condition.explain(payload, NOW)
    assert [leaf.path for leaf in explained] == [leaf.at for leaf in leaves_of(condition.tree)]
    results = {leaf.path: leaf.result for leaf in explained}
    assert _value_of(tree, results) is condition.matches(payload, NOW)
