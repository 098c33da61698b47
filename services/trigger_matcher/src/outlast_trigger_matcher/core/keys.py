"""What can be looked up about a condition: keys of which at least one must hit wherever the condition is true."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from outlast.runbooks.documents import Json
from outlast.runbooks.instants import parse_instant
from outlast.runbooks.paths import Steps
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.trees import AllOf, AnyOf, Leaf, Node, Not

Scalar: TypeAlias = str | int | float
"""A value as the index has it: JSON's, with words for true, false and null that no JSON text is equal to."""

NULL = ("null",)
TRUE = ("true",)
FALSE = ("false",)
ExactValue: TypeAlias = Scalar | tuple[str]


@dataclass(frozen=True, slots=True)
class Exact:
    """The field, or one of its elements, is this value; text without regard to case if it is folded."""

    steps: Steps
    value: ExactValue
    is_folded: bool


@dataclass(frozen=True, slots=True)
class Prefix:
    """The field, or one of its elements, starts with this text."""

    steps: Steps
    text: str
    is_folded: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """The field, or one of its elements, is a number (or a severity, by rank) on this side of a limit."""

    steps: Steps
    limit: int | float
    is_lower: bool
    is_rank: bool


Key: TypeAlias = Exact | Prefix | Bound
Cover: TypeAlias = tuple[Key, ...]
Cost: TypeAlias = Callable[[Key], int]


def cheapest_cover(node: Node, cost: Cost) -> Cover | None:
    """Keys of which one must hit wherever the tree is true; None if there are none to be had."""
    match node:
        case Leaf():
            return _leaf_cover(node)
        case Not():
            return None
        case AllOf(children):
            covers = [cover for child in children if (cover := cheapest_cover(child, cost)) is not None]
            return min(covers, key=lambda cover: sum(map(cost, cover)), default=None)
        case AnyOf(children):
            return _union([cheapest_cover(child, cost) for child in children])


def _union(covers: Iterable[Cover | None]) -> Cover | None:
    keys: dict[Key, None] = {}
    for cover in covers:
        if cover is None:
            return None
        keys.update(dict.fromkeys(cover))
    return tuple(keys)


def _leaf_cover(leaf: Leaf) -> Cover | None:
    match leaf.op:
        case "eq":
            return _exact(leaf, [leaf.value])
        case "in":
            return _exact(leaf, leaf.value if isinstance(leaf.value, list) else [])
        case "starts_with" if isinstance(leaf.value, str) and leaf.value:
            text = leaf.value.casefold() if leaf.folds else leaf.value
            return (Prefix(leaf.steps, text, leaf.folds),)
        case "gt" | "gte" | "lt" | "lte":
            return _bound(leaf)
        case _:
            return None


def _exact(leaf: Leaf, values: Iterable[Json]) -> Cover | None:
    keys: list[Key] = []
    for value in values:
        if isinstance(value, (list, dict)) or (isinstance(value, str) and parse_instant(value) is not None):
            return None
        is_folded = leaf.folds and isinstance(value, str)
        key = value.casefold() if is_folded and isinstance(value, str) else exact_value(value)
        keys.append(Exact(leaf.steps, key, is_folded))
    return tuple(dict.fromkeys(keys))


def exact_value(value: str | int | float | bool | None) -> ExactValue:
    """The value such that equality in the language is equality in Python."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return value


def _bound(leaf: Leaf) -> Cover | None:
    is_lower = leaf.op in ("gt", "gte")
    if isinstance(leaf.value, str):
        rank = SEVERITY_RANK.get(leaf.value)
        return None if rank is None or leaf.folds else (Bound(leaf.steps, rank, is_lower, is_rank=True),)
    if isinstance(leaf.value, bool) or not isinstance(leaf.value, (int, float)):
        return None
    return (Bound(leaf.steps, leaf.value, is_lower, is_rank=False),)
