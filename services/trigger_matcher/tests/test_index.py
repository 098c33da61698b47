"""The matching index finds exactly what asking every runbook would find."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.runbooks.conditions import parse_condition
from outlast.runbooks.definition import Rule
from outlast.runbooks.faults import DefinitionRefused
from outlast.testing import condition_oracle
from outlast.testing.condition_strategies import EDGES, NOW, random_object, random_tree
from outlast_trigger_matcher.core import bucket
from outlast_trigger_matcher.core.index import TriggerIndex

ROOTS = ("event.a", "event.b", "finding.a", "finding.b[*]", "company.a")
TYPES = ("finding_created", "sla_breached")


@dataclass(frozen=True)
class Rules:
    """As much of a runbook as matching needs."""

    rules: tuple[Rule, ...]


def runbook(*rules: tuple[Any, Any]) -> Rules:
    return Rules(
        tuple(
            Rule(event_type=event_type, condition=None if tree is None else parse_condition(tree))
            for event_type, tree in rules
        )
    )


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def on_created(tree: Any) -> Rules:
    return runbook(("finding_created", tree))


def naive(
    definitions: Iterable[tuple[str, list[tuple[str, Any]]]], event_type: str, payload: Any
) -> tuple[str, ...]:
    return tuple(
        sorted(
            runbook_id
            for runbook_id, rules in definitions
            if any(
                kind == event_type and (tree is None or condition_oracle.holds(tree, payload, NOW))
                for kind, tree in rules
            )
        )
    )


def random_rules(rng: random.Random) -> list[tuple[str, Any]]:
    return [
        (rng.choice(TYPES), None if rng.random() < 0.1 else random_tree(rng, ROOTS, depth=2))
        for _ in range(rng.randrange(1, 3))
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), looked_up_min=st.sampled_from([1, 3]), share_max=st.sampled_from([1, 2]))
def test_the_index_and_asking_everybody_agree(seed: int, looked_up_min: int, share_max: int) -> None:
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            bucket, "LOOKED_UP_MIN", looked_up_min
        )  # so that a handful of runbooks is looked up too
        patch.setattr(bucket, "SHARE_MAX", share_max)
        definitions = {f"r{number}": random_rules(rng) for number in range(12)}
        index = TriggerIndex.build(("acme", name, runbook(*rules)) for name, rules in definitions.items())
        for _ in range(6):
            name = f"r{rng.randrange(14)}"
            if rng.random() < 0.5:
                index.remove("acme", name)
                definitions.pop(name, None)
            else:
                definitions[name] = random_rules(rng)
                index.add("acme", name, runbook(*definitions[name]))
            payload = {
                "event": random_object(rng),
                "company": random_object(rng),
                "finding": random_object(rng),
            }
            for event_type in TYPES:
                expected = naive(definitions.items(), event_type, payload)
                assert index.match("acme", event_type, payload, NOW) == expected
                assert set(expected) <= set(index.candidates("acme", event_type, payload))
                before = index.candidates_before_lookup("acme", event_type, {**payload, "finding": None})
                assert index.needs_lookup("acme", event_type, {**payload, "finding": None}) == bool(before)
                assert set(expected) <= set(before)
                assert list(before) == sorted(before)


def test_each_runbook_fires_once_however_many_of_its_rules_match() -> None:
    index = TriggerIndex.build([("acme", "r", runbook(("sla_breached", None), ("sla_breached", None)))])
    assert index.match("acme", "sla_breached", {}, NOW) == ("r",)


def test_companies_and_event_types_are_apart() -> None:
    index = TriggerIndex.build([("acme", "r", on_created(None)), ("umbrella", "s", on_created(None))])
    assert index.match("acme", "finding_created", {}, NOW) == ("r",)
    assert index.match("umbrella", "finding_created", {}, NOW) == ("s",)
    assert index.match("acme", "sla_breached", {}, NOW) == ()
    assert index.match("nobody", "finding_created", {}, NOW) == ()


def test_answers_are_ordered_by_runbook_id_not_by_arrival() -> None:
    index = TriggerIndex.build(("acme", name, on_created(None)) for name in ("b", "c", "a"))
    assert index.match("acme", "finding_created", {}, NOW) == ("a", "b", "c")


def test_a_definition_replaces_the_one_before() -> None:
    index = TriggerIndex()
    index.add("acme", "r", on_created(leaf("finding.x", "eq", 1)))
    index.add("acme", "r", runbook(("sla_breached", None)))
    assert index.match("acme", "finding_created", {"finding": {"x": 1}}, NOW) == ()
    assert index.match("acme", "sla_breached", {}, NOW) == ("r",)
    assert len(index) == 1
    index.remove("acme", "r")
    index.remove("acme", "r")
    assert index.match("acme", "sla_breached", {}, NOW) == ()
    assert len(index) == 0


def test_fields_that_are_looked_up_do_not_rule_a_runbook_out_before_the_look_up() -> None:
    index = TriggerIndex.build(
        [
            ("acme", "both", on_created({"all": [leaf("event.a", "eq", 1), leaf("finding.x", "eq", 1)]})),
            ("acme", "late", on_created(leaf("finding.x", "eq", 1))),
            ("acme", "either", on_created({"any": [leaf("event.a", "eq", 1), leaf("finding.x", "eq", 1)]})),
            ("acme", "not", on_created({"not": leaf("finding.x", "eq", 1)})),
            ("acme", "aged", on_created(leaf("event.time", "older_than", "1d"))),
            ("acme", "early", on_created(leaf("event.a", "neq", 2))),
        ]
    )
    before = index.candidates_before_lookup("acme", "finding_created", {"event": {"a": 2}})
    assert before == ("aged", "either", "late", "not")
    before = index.candidates_before_lookup("acme", "finding_created", {"event": {"a": 1}})
    assert before == ("aged", "both", "early", "either", "late", "not")


def test_an_event_that_no_runbook_can_want_needs_no_look_up() -> None:
    index = TriggerIndex.build([("acme", "r", on_created(leaf("event.source", "eq", "x")))])
    assert not index.candidates_before_lookup("acme", "finding_created", {"event": {"source": "y"}})
    assert not index.candidates_before_lookup("acme", "asset_created", {"event": {"source": "x"}})


@pytest.mark.parametrize(
    ("op", "value_of", "payload_value"),
    [
        ("eq", lambda i: f"v{i}", "v7"),
        ("eq", lambda i: i, 7.0),
        ("eq", lambda i: f"v{i}", ["x", ["v7"]]),
        ("in", lambda i: [f"v{i}", f"w{i}"], "w7"),
        ("starts_with", lambda i: f"v{i}/", "v7/rest"),
    ],
)
def test_of_many_selective_runbooks_only_those_that_can_fire_are_asked(
    op: str, value_of: Any, payload_value: Any
) -> None:
    index = TriggerIndex.build(
        (
            "acme",
            f"r{i:04}",
            on_created({"all": [leaf("finding.s", "eq", "high"), leaf("finding.k", op, value_of(i))]}),
        )
        for i in range(500)
    )
    payload = {"finding": {"s": "high", "k": payload_value}}
    assert index.match("acme", "finding_created", payload, NOW) == ("r0007",)
    assert len(index.candidates("acme", "finding_created", payload)) <= 3


@pytest.mark.parametrize("op", ["eq", "in", "starts_with", "gt", "gte", "lt", "lte"])
@pytest.mark.parametrize("folds", [False, True])
def test_what_is_looked_up_agrees_with_what_is_asked_at_every_edge(
    op: str, folds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "LOOKED_UP_MIN", 1)
    monkeypatch.setattr(bucket, "SHARE_MAX", 1)
    for value in EDGES:
        tree = {**leaf("finding.k", op, [value] if op == "in" else value), "i": folds}
        try:
            index = TriggerIndex.build([("acme", "r", on_created(tree))])
        except DefinitionRefused:
            continue
        for found in EDGES:
            payload = {"finding": {"k": found}}
            expected = ("r",) if condition_oracle.holds(tree, payload, NOW) else ()
            assert index.match("acme", "finding_created", payload, NOW) == expected, (tree, found)


def test_ranges_are_found_by_their_limits() -> None:
    index = TriggerIndex.build(
        ("acme", f"r{i:04}", on_created(leaf("finding.score", "gte", i))) for i in range(1_000)
    )
    payload = {"finding": {"score": 4.5}}
    assert index.match("acme", "finding_created", payload, NOW) == tuple(f"r{i:04}" for i in range(5))
    assert len(index.candidates("acme", "finding_created", payload)) == 5


def test_what_cannot_be_looked_up_is_in_a_visible_list() -> None:
    index = TriggerIndex.build(
        [
            ("acme", "indexed", on_created(leaf("finding.k", "eq", 1))),
            ("acme", "negative", on_created(leaf("finding.k", "neq", 1))),
            ("acme", "unconditional", on_created(None)),
            (
                "acme",
                "half",
                on_created({"any": [leaf("finding.k", "eq", 1), leaf("finding.k", "contains", "x")]}),
            ),
            ("acme", "instant", on_created(leaf("finding.k", "eq", "2026-03-01T12:00:00Z"))),
        ]
    )
    assert index.always_checked("acme", "finding_created") == ("half", "instant", "negative", "unconditional")
    assert index.always_checked("acme", "sla_breached") == ()


def test_now_reaches_the_conditions() -> None:
    index = TriggerIndex.build([("acme", "r", on_created(leaf("finding.at", "older_than", "1d")))])
    payload = {"finding": {"at": "2026-03-01T12:00:00Z"}}
    assert index.match("acme", "finding_created", payload, datetime(2026, 3, 1, 13, tzinfo=UTC)) == ()
    assert index.match("acme", "finding_created", payload, datetime(2026, 3, 3, 13, tzinfo=UTC)) == ("r",)
