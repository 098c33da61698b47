"""Condition trees and payloads that have a chance to meet, for tests that compare two readings of them.

As Hypothesis strategies, which shrink what they find, and drawn from a seeded generator, which is a hundred times
faster.
"""

import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from outlast.runbooks.trees import OPERATORS

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

NAMES = ("a", "b", "c")
WORDS = ("", "x", "X", "xy", "ß", "SS", "info", "low", "HIGH", "high", "critical", "1", "true")
INSTANTS = (
    "2026-03-01T12:00:00Z",
    "2026-03-01T13:00:00+01:00",
    "2026-03-01T11:59:59.5Z",
    "2026-03-01T11:00:00Z",
    "2026-02-27T12:00:00Z",
    "2026-03-02T00:00:00Z",
    "2026-03-01T12:00:00",
)
NUMBERS = (0, 1, 1.0, -1, 2, 2.5, 2**53, 10**20)

EDGES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    2,
    "",
    "x",
    "X",
    "xy",
    "yx",
    "ß",
    "SS",
    "1",
    "high",
    "HIGH",
    "low",
]
EDGES += [[], {}, ["x"], [[1]], [True], [None, "high"], ["xy"], {"x": 1}, "5m", "1h", *INSTANTS]
"""Values of every kind, several alike; for tests that try all of them against each other."""

_COMMON = (True, 1, "x", "high", 2.5)
"""Values that meet often."""

texts = st.sampled_from(WORDS + INSTANTS)
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)


@st.composite
def paths(draw: st.DrawFn, roots: tuple[str, ...] = NAMES) -> str:
    """A path of a few steps."""
    path = draw(st.sampled_from(roots))
    for step in draw(st.lists(st.sampled_from([".a", ".b", ".c", "[0]", "[1]", "[*]", "[*]"]), max_size=4)):
        path += step
    return path


@st.composite
def leaves(draw: st.DrawFn, roots: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """One comparison that may be saved."""
    op, value = draw(
        st.one_of(
            st.tuples(st.sampled_from(["eq", "neq", "contains"]), scalars),
            st.tuples(st.sampled_from(["in", "not_in"]), st.lists(scalars, max_size=3)),
            st.tuples(st.sampled_from(["starts_with", "ends_with"]), texts),
            st.tuples(st.sampled_from(["older_than", "within_last"]), st.sampled_from(["0s", "1h", "2d"])),
            st.tuples(st.just("exists"), st.booleans()),
            st.tuples(
                st.sampled_from(["gt", "gte", "lt", "lte"]),
                st.sampled_from((0, 1, 2.5, "info", "medium", "high", "critical", *INSTANTS[:-1])),
            ),
        )
    )
    leaf: dict[str, Any] = {"field": draw(paths(roots)), "op": op, "value": value}
    if draw(st.booleans()):
        leaf["i"] = draw(st.booleans())
    return leaf


def trees(roots: tuple[str, ...] = NAMES) -> st.SearchStrategy[dict[str, Any]]:
    """A condition tree that may be saved."""
    return st.recursive(
        leaves(roots),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=4).map(lambda children: {"all": children}),
            st.lists(inner, min_size=1, max_size=3).map(lambda children: {"any": children}),
            inner.map(lambda child: {"not": child}),
        ),
        max_leaves=8,
    )


def random_value(rng: random.Random, depth: int = 3) -> Any:
    """A JSON value."""
    kind = rng.random()
    if depth and kind < 0.3:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and kind < 0.6:
        return random_object(rng, depth - 1)
    return random_scalar(rng)


def random_object(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """A JSON object."""
    return {name: random_value(rng, depth) for name in NAMES if rng.random() < 0.7}


def random_scalar(rng: random.Random) -> Any:
    """Null, a boolean, a number or text."""
    return rng.choice(_COMMON if rng.random() < 0.5 else (None, True, False, *NUMBERS, *WORDS, *INSTANTS))


def random_path(rng: random.Random, roots: tuple[str, ...] = NAMES) -> str:
    """A path of a few steps."""
    steps = rng.choices(
        [".a", ".b", ".c", "[0]", "[1]", "[*]"], weights=[2, 2, 1, 1, 1, 3], k=rng.randrange(4)
    )
    return rng.choice(roots) + "".join(steps)


def random_leaf(rng: random.Random, roots: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """One comparison that may be saved."""
    op = rng.choice(OPERATORS)
    value: Any
    if op in ("in", "not_in"):
        value = [random_scalar(rng) for _ in range(rng.randrange(4))]
    elif op in ("starts_with", "ends_with"):
        value = rng.choice(WORDS + INSTANTS)
    elif op in ("older_than", "within_last"):
        value = rng.choice(["0s", "1h", "2d"])
    elif op == "exists":
        value = rng.random() < 0.5
    elif op in ("gt", "gte", "lt", "lte"):
        value = rng.choice((0, 1, 2.5, "info", "medium", "high", "critical", *INSTANTS[:-1]))
    else:
        value = random_scalar(rng)
    leaf: dict[str, Any] = {"field": random_path(rng, roots), "op": op, "value": value}
    if rng.random() < 0.3:
        leaf["i"] = rng.random() < 0.7
    return leaf


def random_tree(rng: random.Random, roots: tuple[str, ...] = NAMES, depth: int = 3) -> dict[str, Any]:
    """A condition tree that may be saved."""
    kind = rng.random()
    if not depth or kind < 0.4:
        return random_leaf(rng, roots)
    if kind < 0.5:
        return {"not": random_tree(rng, roots, depth - 1)}
    group = "all" if kind < 0.8 else "any"
    return {group: [random_tree(rng, roots, depth - 1) for _ in range(rng.randrange(1, 4))]}
