"""Conditions, sentence by sentence of the specification."""

from datetime import UTC, datetime
from typing import Any

import pytest

from outlast.runbooks.conditions import parse_condition

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MISSING = object()


def holds(field: str, op: str, value: Any, payload: Any, **more: Any) -> bool:
    return parse_condition({"field": field, "op": op, "value": value, **more}).matches(payload, NOW)


def judged(op: str, found: Any, value: Any, **more: Any) -> bool:
    """The operator on one field's value."""
    return holds("f.x", op, value, {"f": {}} if found is MISSING else {"f": {"x": found}}, **more)


def tree_holds(tree: Any, payload: Any) -> bool:
    return parse_condition(tree).matches(payload, NOW)


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


# ---- types are strict


@pytest.mark.parametrize(
    ("found", "value", "expected"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("1", 1, False),
        (1, "1", False),
        (1, 1.0, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (False, True, False),
        (None, None, True),
        (MISSING, None, False),
        (0, None, False),
        ("", None, False),
        ({}, None, False),
        ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", True),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000Z", True),
        ("2026-03-01T12:00:00.1234567891Z", "2026-03-01T12:00:00.123456789Z", True),
        ("2026-03-01T12:00:00.000000002Z", "2026-03-01T12:00:00.000000001Z", False),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00", False),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00", True),
        ("2026-03-01", "2026-03-01", True),
    ],
)
def test_equality_is_strict_about_types_and_knows_instants(found: Any, value: Any, expected: bool) -> None:
    assert judged("eq", found, value) is expected
    assert judged("neq", found, value) is not expected
    assert judged("in", found, [value]) is expected
    assert judged("not_in", found, [value]) is not expected
    assert judged("in", found, ["other", value, 77]) is expected
    if found is not MISSING:
        assert judged("contains", [found], value) is expected


@pytest.mark.parametrize(
    ("op", "found", "value", "expected"),
    [
        ("gt", 2, 1, True),
        ("gt", 1, 1, False),
        ("gte", 1, 1.0, True),
        ("lt", 0.5, 1, True),
        ("lte", 2, 1, False),
        ("gt", 2**53 + 1, float(2**53), True),
        ("gt", "2", 1, False),
        ("gt", True, 0, False),
        ("gt", None, 0, False),
        ("gt", {}, 0, False),
        ("gte", "high", "high", True),
        ("gt", "critical", "high", True),
        ("lt", "medium", "high", True),
        ("lt", "info", "low", True),
        ("gt", "zebra", "high", False),
        ("lt", "zebra", "high", False),
        ("gt", "HIGH", "low", False),
        ("gt", 4, "high", False),
        ("gt", "high", 0, False),
        ("gt", "2026-03-01T13:00:00+01:00", "2026-03-01T11:59:59Z", True),
        ("gte", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00Z", True),
        ("lt", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00Z", False),
        ("gt", "2026-03-01T13:00:00", "2020-03-01T12:00:00Z", False),
        ("lt", "2026-03-01T13:00:00", "2030-03-01T12:00:00Z", False),
        ("gt", "high", "2020-03-01T12:00:00Z", False),
    ],
)
def test_ordering_takes_numbers_instants_and_severities_and_is_false_for_mixed_types(
    op: str, found: Any, value: Any, expected: bool
) -> None:
    assert judged(op, found, value) is expected


def test_severity_words_order_by_rank_whatever_the_field() -> None:
    assert holds("asset.criticality", "gte", "medium", {"asset": {"criticality": "critical"}})


def test_case_is_ignored_where_the_leaf_says_so_in_full_unicode_and_in_severity_words() -> None:
    assert not judged("eq", "STRASSE", "straße")
    assert judged("eq", "STRASSE", "straße", i=True)
    assert judged("in", "STRASSE", ["x", "straße"], i=True)
    assert judged("contains", "die STRASSE da", "straße", i=True)
    assert judged("contains", ["STRASSE"], "straße", i=True)
    assert judged("starts_with", "STRASSEN", "straße", i=True)
    assert judged("ends_with", "HAUPTSTRASSE", "straße", i=True)
    assert judged("gte", "HIGH", "High", i=True)
    assert not judged("neq", "A", "a", i=True)
    assert judged("eq", "A", "a", i=False) is False


def test_text_operators_take_text_only_and_the_empty_text_is_everywhere() -> None:
    for op in ("contains", "starts_with", "ends_with"):
        assert judged(op, "abc", "")
        assert judged(op, "", "")
        assert not judged(op, 5, "")
        assert not judged(op, None, "")
        assert not judged(op, MISSING, "")
    assert judged("contains", "abc", "b")
    assert judged("starts_with", "abc", "ab")
    assert not judged("starts_with", "abc", "bc")
    assert judged("ends_with", "abc", "bc")
    assert not judged("contains", "123", 2)


def test_contains_is_membership_on_an_array_and_never_a_part_of_an_element() -> None:
    assert judged("contains", ["ab", "c"], "c")
    assert not judged("contains", ["ab", "c"], "a")
    assert judged("contains", [1.0], 1)
    assert not judged("contains", [True], 1)
    assert judged("contains", [None], None)
    assert judged("contains", [["x"], ["y"]], "y")
    assert not judged("contains", {"a": 1}, "a")
    assert holds("f[*]", "contains", "a", {"f": ["ab", "c"]})  # each element is text here


def test_text_that_looks_like_an_instant_without_a_zone_is_plain_text_except_to_order_and_age() -> None:
    plain = "2026-03-01T11:00:00"
    assert judged("eq", plain, plain)
    assert judged("in", plain, [plain])
    assert judged("contains", plain, "T11")
    assert judged("starts_with", plain, "2026-03")
    for op in ("older_than", "within_last"):
        assert not judged(op, plain, "1s")
        assert not judged(op, plain, "9999d")


# ---- time


@pytest.mark.parametrize(
    ("at", "duration", "is_older", "is_within"),
    [
        ("2026-03-01T11:00:00Z", "1h", False, True),
        ("2026-03-01T10:59:59.999Z", "1h", True, False),
        ("2026-03-01T11:00:00.001Z", "1h", False, True),
        ("2026-03-01T12:00:00Z", "0s", False, True),
        ("2026-03-01T12:00:00Z", "5m", False, True),
        ("2026-03-01T12:00:01Z", "5m", False, False),
        ("2027-03-01T12:00:01Z", "7d", False, False),
        ("2026-03-01T14:00:00+02:30", "30m", False, True),
        ("2026-02-22T12:00:00Z", "7d", False, True),
        ("2026-02-22T11:59:59Z", "7d", True, False),
        ("0001-01-01T00:00:00+14:00", "7d", True, False),
        (1767225600, "1s", False, False),
        (None, "1s", False, False),
        (MISSING, "1s", False, False),
    ],
)
def test_ages_are_measured_from_the_frozen_now_and_the_future_has_none(
    at: Any, duration: str, is_older: bool, is_within: bool
) -> None:
    assert judged("older_than", at, duration) is is_older
    assert judged("within_last", at, duration) is is_within


# ---- missing and null


@pytest.mark.parametrize(
    "payload", [{}, {"f": {}}, {"f": None}, {"f": "text"}, {"f": [{"x": "a"}]}, {"f": 3}]
)
def test_a_missing_field_makes_a_leaf_false_except_the_negative_ones(payload: Any) -> None:
    false = [
        ("eq", "a"),
        ("eq", None),
        ("in", ["a", None]),
        ("contains", "a"),
        ("starts_with", ""),
        ("gt", 0),
    ]
    false += [("ends_with", ""), ("lt", 9), ("gte", "info"), ("older_than", "0s"), ("exists", True)]
    for op, value in false:
        assert not holds("f.x", op, value, payload), op
    for op, value in [("neq", "a"), ("neq", None), ("not_in", ["a"]), ("not_in", []), ("exists", False)]:
        assert holds("f.x", op, value, payload), op


def test_null_is_a_value_that_exists() -> None:
    assert judged("eq", None, None)
    assert judged("exists", None, True)
    assert not judged("exists", None, False)
    assert not judged("neq", None, None)


def test_exists_says_whether_the_path_leads_to_anything() -> None:
    assert judged("exists", [], True)
    assert judged("exists", {}, True)
    assert judged("exists", False, True)
    assert judged("exists", MISSING, False)
    assert holds("f[*].x", "exists", True, {"f": [{}, {"x": 1}]})
    assert not holds("f[*].x", "exists", False, {"f": [{}, {"x": 1}]})
    assert holds("f[*].x", "exists", False, {"f": [{}, {}]})
    assert holds("f[*].x", "exists", False, {"f": []})


# ---- arrays


def test_a_path_crosses_an_array_only_by_index_or_star() -> None:
    payload = {"f": [{"x": 1}, {"x": 2}]}
    assert not holds("f.x", "eq", 1, payload)
    assert holds("f[0].x", "eq", 1, payload)
    assert holds("f[1].x", "eq", 2, payload)
    assert not holds("f[2].x", "eq", 2, payload)
    assert holds("f[*].x", "eq", 2, payload)
    assert not holds("f[*].x", "eq", 3, payload)
    assert not holds("f.0.x", "eq", 1, payload)
    assert holds("f.0.x", "eq", 1, {"f": {"0": {"x": 1}}})
    assert not holds("f[0]", "eq", "t", {"f": "text"})
    assert not holds("f[*]", "eq", "t", {"f": "text"})
    assert not holds("f[*]", "eq", 1, {"f": {"a": 1}})


def test_a_negative_leaf_over_several_elements_means_none() -> None:
    assert not holds("f[*].x", "neq", 1, {"f": [{"x": 1}, {"x": 2}]})
    assert holds("f[*].x", "neq", 3, {"f": [{"x": 1}, {"x": 2}]})
    assert not holds("f[*]", "not_in", [1, 9], {"f": [1, 2]})
    assert holds("f[*]", "not_in", [8, 9], {"f": [1, 2]})
    assert holds("f[*]", "neq", 1, {"f": []})


def test_a_field_that_is_an_array_is_judged_on_its_elements_nested_ones_in_turn() -> None:
    assert judged("eq", ["a", "b"], "b")
    assert not judged("neq", ["a", "b"], "b")
    assert judged("neq", ["a", "b"], "c")
    assert judged("gt", [1, 5], 4)
    assert judged("in", ["a", "b"], ["b", "z"])
    assert not judged("not_in", ["a", "b"], ["b", "z"])
    assert judged("starts_with", ["xa", "b"], "x")
    assert judged("older_than", ["2020-01-01T00:00:00Z"], "1d")
    assert judged("eq", [["a"], ["b"]], "b")
    assert not judged("eq", [], "b")
    assert judged("neq", [], "b")
    assert holds("f[*][*]", "eq", 2, {"f": [[1], [2]]})
    assert holds("f[*]", "eq", 2, {"f": [[1], [2]]})


def test_deeply_nested_arrays_cannot_exhaust_the_stack() -> None:
    nested: Any = ["x"]
    for _ in range(50_000):
        nested = [nested]
    assert judged("eq", nested, "x")
    assert judged("contains", nested, "x")


def test_siblings_of_one_star_prefix_hold_for_the_same_element() -> None:
    tree = {"all": [leaf("f[*].s", "eq", "high"), leaf("f[*].open", "eq", True)]}
    assert tree_holds(tree, {"f": [{"s": "low", "open": True}, {"s": "high", "open": True}]})
    assert not tree_holds(tree, {"f": [{"s": "low", "open": True}, {"s": "high", "open": False}]})
    apart = {"all": [{"all": [leaf("f[*].s", "eq", "high")]}, {"all": [leaf("f[*].open", "eq", True)]}]}
    assert tree_holds(apart, {"f": [{"s": "low", "open": True}, {"s": "high", "open": False}]})


def test_beside_siblings_a_negative_leaf_speaks_of_the_chosen_element_alone_it_means_none() -> None:
    payload = {"f": [{"s": "high", "team": "a"}, {"s": "high", "team": "b"}]}
    both = {"all": [leaf("f[*].s", "eq", "high"), leaf("f[*].team", "neq", "a")]}
    assert tree_holds(both, payload)
    assert not tree_holds({"all": [leaf("f[*].team", "neq", "a")]}, payload)
    absent = {"all": [leaf("f[*].s", "eq", "high"), leaf("f[*].team", "exists", False)]}
    assert not tree_holds(absent, payload)
    assert tree_holds(absent, {"f": [{"s": "high", "team": "a"}, {"s": "high"}]})


def test_siblings_need_an_element_to_speak_of() -> None:
    tree = {"all": [leaf("f[*].s", "neq", "high"), leaf("f[*].team", "neq", "a")]}
    assert not tree_holds(tree, {"f": []})
    assert not tree_holds(tree, {})


def test_nested_arrays_are_entered_in_turn() -> None:
    tree = {"all": [leaf("f[*].n", "eq", 1), leaf("f[*].g[*].a", "eq", 1), leaf("f[*].g[*].b", "eq", 2)]}
    assert tree_holds(tree, {"f": [{"n": 1, "g": [{"a": 1, "b": 2}]}]})
    assert not tree_holds(tree, {"f": [{"n": 1, "g": [{"a": 1}, {"b": 2}]}]})
    assert not tree_holds(tree, {"f": [{"n": 1, "g": []}, {"n": 2, "g": [{"a": 1, "b": 2}]}]})


def test_two_leaves_on_one_array_without_a_star_are_judged_separately() -> None:
    assert tree_holds({"all": [leaf("f", "gt", 4), leaf("f", "lt", 2)]}, {"f": [1, 5]})
    assert not tree_holds({"all": [leaf("f[*]", "gt", 4), leaf("f[*]", "lt", 2)]}, {"f": [1, 5]})


# ---- groups


def test_groups_nest() -> None:
    tree = {"all": [leaf("a", "eq", 1), {"any": [leaf("b", "eq", 1), {"not": leaf("c", "eq", 1)}]}]}
    assert tree_holds(tree, {"a": 1, "b": 1, "c": 1})
    assert tree_holds(tree, {"a": 1})
    assert not tree_holds(tree, {"a": 1, "c": 1})
    assert not tree_holds(tree, {"a": 2, "b": 1})


def test_the_explanation_names_each_leaf_with_what_was_found() -> None:
    tree = {"all": [leaf("a", "eq", 1), {"any": [leaf("b.c", "eq", 1), {"not": leaf("f[*].x", "gt", 1)}]}]}
    found = parse_condition(tree).explain({"a": 2, "f": [{"x": 1}, {"x": 3}]}, NOW)
    assert [(r.path, r.result, r.found, r.is_missing) for r in found] == [
        ("all[0]", False, 2, False),
        ("all[1].any[0]", False, None, True),
        ("all[1].any[1].not", True, [1, 3], False),
    ]


def test_the_explanation_of_shared_elements_shows_the_best_one() -> None:
    tree = {"all": [leaf("f[*].s", "eq", "high"), leaf("f[*].n", "eq", 2), leaf("f[*].m", "eq", 3)]}
    found = parse_condition(tree).explain({"f": [{"s": "low", "n": 2}, {"s": "high", "n": 2, "m": 4}]}, NOW)
    assert [(r.result, r.found) for r in found] == [(True, "high"), (True, 2), (False, 4)]
