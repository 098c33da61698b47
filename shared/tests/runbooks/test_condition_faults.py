"""What is refused when a condition is saved, and the path that is named."""

from typing import Any

import pytest

from outlast.runbooks.conditions import parse_condition
from outlast.runbooks.faults import DefinitionRefused


def faults(tree: Any, at: str = "") -> list[tuple[str, str]]:
    with pytest.raises(DefinitionRefused) as refused:
        parse_condition(tree, at)
    return [(fault.path, fault.message) for fault in refused.value.faults]


def paths(tree: Any) -> list[str]:
    return [path for path, _ in faults(tree)]


GOOD = {"field": "a", "op": "eq", "value": 1}


def test_the_path_of_the_fault_is_named() -> None:
    tree = {"all": [GOOD, {"any": [{"field": "a", "op": "eqq", "value": 1}]}]}
    assert faults(tree) == [("all[1].any[0].op", 'unknown operator "eqq"; did you mean "eq"?')]
    at = faults(tree, "rules[0].condition")
    assert at[0][0] == "rules[0].condition.all[1].any[0].op"


def test_every_fault_is_named_not_only_the_first() -> None:
    tree = {"all": [{"field": "", "op": "gt", "value": True}, {"any": []}, {"not": {"not": 3}}, GOOD]}
    assert paths(tree) == ["all[0].field", "all[0].value", "all[1].any", "all[2].not.not"]


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ([], ""),
        ("a", ""),
        (None, ""),
        ({}, ""),
        ({"all": []}, "all"),
        ({"any": []}, "any"),
        ({"not": []}, "not"),
        ({"not": {}}, "not"),
        ({"not": [GOOD]}, "not"),
        ({"all": GOOD}, "all"),
        ({"all": [GOOD, []]}, "all[1]"),
        ({"all": [GOOD], "any": [GOOD]}, "any"),
        ({"all": [GOOD], "field": "a"}, "field"),
        ({"and": [GOOD]}, "and"),
        ({**GOOD, "extra": 1}, "extra"),
        ({"op": "eq", "value": 1}, "field"),
        ({"field": "a", "value": 1}, "op"),
        ({"field": "a", "op": "eq"}, "value"),
        ({**GOOD, "field": 5}, "field"),
        ({**GOOD, "op": 5}, "op"),
        ({**GOOD, "op": "EQ"}, "op"),
        ({**GOOD, "i": "yes"}, "i"),
        ({**GOOD, "i": 1}, "i"),
    ],
)
def test_a_tree_of_the_wrong_shape_is_refused(tree: Any, path: str) -> None:
    assert paths(tree) == [path]


@pytest.mark.parametrize(
    "field",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[-1]",
        "a[]",
        "a[x]",
        "a[1",
        "a]1[",
        "a[*",
        "[0]",
        "[*].a",
        "a[1.5]",
        "a.-1",
        "a[0]b",
        "a[ 0]",
        "a[٣]",
        " a",
        "a. b",
        "a[**]",
        "a[[0]]",
        "a[+1]",
        "a[9999999999]",
        "a" * 500,
    ],
)
def test_a_malformed_or_negative_path_is_refused(field: str) -> None:
    assert paths({"field": field, "op": "eq", "value": 1}) == ["field"]


@pytest.mark.parametrize(
    "field", ["a", "a.b", "a[0]", "a[*]", "a[0][1].b[*].c", "x-y.z_1.$ref.ü.@type", "a b.c"]
)
def test_a_path_of_names_and_indices_is_accepted(field: str) -> None:
    parse_condition({"field": field, "op": "eq", "value": 1})


@pytest.mark.parametrize(
    ("op", "value"),
    [(op, value) for op in ("eq", "neq", "contains") for value in ([], {}, ["a"], {"a": 1})]
    + [(op, value) for op in ("in", "not_in") for value in ("a", 1, None, True, {"a": 1})]
    + [(op, value) for op in ("starts_with", "ends_with") for value in (1, None, True, [], {})]
    + [
        (op, value)
        for op in ("gt", "gte", "lt", "lte")
        for value in (None, True, [], {}, "zebra", "", "HIGH")
    ]
    + [(op, value) for op in ("gt", "lt") for value in ("2026-03-01T00:00:00", "2026-03-01", "5")]
    + [("exists", value) for value in (1, "true", None, [])]
    + [
        (op, value)
        for op in ("older_than", "within_last")
        for value in ("", "5", "d", "-5d", "5 d", "5w", "1h30m", "1.5h", "5D", "٥d", 5, None, "9" * 15 + "d")
    ],
)
def test_a_value_of_the_wrong_type_is_refused(op: str, value: Any) -> None:
    assert paths({"field": "a", "op": op, "value": value}) == ["value"]


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("eq", None),
        ("neq", True),
        ("contains", None),
        ("contains", 1),
        ("in", []),
        ("in", [1, None, {"a": 1}]),
        ("starts_with", ""),
        ("gt", 1.5),
        ("gte", "high"),
        ("lt", "2026-03-01T00:00:00Z"),
        ("exists", False),
        ("lte", "2026-03-01T00:00:00.5+05:30"),
        ("eq", "2026-03-01T00:00:00"),
        ("older_than", "0s"),
        ("within_last", "30s"),
        ("within_last", "5m"),
        ("within_last", "2h"),
        ("older_than", "99999d"),
    ],
)
def test_a_value_of_the_right_type_is_accepted(op: str, value: Any) -> None:
    parse_condition({"field": "a", "op": op, "value": value})


def test_an_instant_without_a_zone_is_refused_with_the_remedy() -> None:
    [(_, message)] = faults({"field": "a", "op": "gt", "value": "2026-03-01T00:00:00"})
    assert "has no zone: add Z" in message


def test_a_severity_word_in_another_case_is_accepted_where_case_is_ignored() -> None:
    parse_condition({"field": "a", "op": "gt", "value": "HIGH", "i": True})


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    assert paths({"all": [{**GOOD, "value": text}]}) == ["all[0].value"]
    assert paths({**GOOD, "field": text}) == ["field"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_numbers_that_json_cannot_say_are_refused(number: float) -> None:
    assert paths({**GOOD, "value": number}) == ["value"]


def test_trees_are_limited_in_depth_and_in_leaves() -> None:
    deep: Any = GOOD
    for _ in range(17):
        deep = {"not": deep}
    assert "at most 16 levels" in faults(deep)[0][1]
    for _ in range(5_000):
        deep = {"all": [deep]}
    assert "levels of nesting" in faults(deep)[0][1]
    assert "at most 500 leaves" in faults({"all": [GOOD] * 501})[0][1]
    parse_condition({"all": [GOOD] * 500})
