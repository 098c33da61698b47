"""A second, slow reading of condition trees, written from the specification and sharing no code with the first.

It asks its questions the long way round: a `[*]` is tried with every choice of elements, nothing is compiled, nothing
is indexed. Tests compare the product with it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

RANKS = ["info", "low", "medium", "high", "critical"]
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
NOTHING = object()


def holds(tree: dict[str, Any], payload: Any, now: datetime) -> bool:
    """Whether the tree is true."""
    if "any" in tree:
        return any(holds(child, payload, now) for child in tree["any"])
    if "not" in tree:
        return not holds(tree["not"], payload, now)
    if "all" in tree:
        leaves = [child for child in tree["all"] if "field" in child]
        groups = [child for child in tree["all"] if "field" not in child]
        paths = [(split(leaf["field"]), leaf) for leaf in leaves]
        return together(paths, payload, now) and all(holds(child, payload, now) for child in groups)
    return alone(split(tree["field"]), tree, payload, now)


def split(field: str) -> list[str]:
    """`a.b[0][*]` as ["a", "b", "[0]", "[*]"]."""
    return re.findall(r"\[[^\]]*\]|[^.\[\]]+", field)


def together(paths: list[tuple[list[str], dict[str, Any]]], payload: Any, now: datetime) -> bool:
    """Leaves of one `all`: those with the same steps before a [*] need one element that suits them all."""
    for steps, leaf in paths:
        if "[*]" not in steps:
            if not alone(steps, leaf, payload, now):
                return False
            continue
        prefix = steps[: steps.index("[*]")]
        company = [(s, each) for s, each in paths if "[*]" in s and s[: s.index("[*]")] == prefix]
        if len(company) == 1:
            if not alone(steps, leaf, payload, now):
                return False
        elif not any(
            together([(s[len(prefix) + 1 :], each) for s, each in company], element, now)
            for element in elements(payload, prefix)
        ):
            return False
    return True


def elements(payload: Any, steps: list[str]) -> list[Any]:
    """The elements of the array at these steps, none if there is no array."""
    found = list(walk(payload, steps))
    return found[0] if found and isinstance(found[0], list) else []


def walk(node: Any, steps: list[str]) -> Iterator[Any]:
    """Everything at these steps."""
    if not steps:
        yield node
        return
    step, rest = steps[0], steps[1:]
    if step == "[*]":
        if isinstance(node, list):
            for element in node:
                yield from walk(element, rest)
    elif step.startswith("["):
        if isinstance(node, list) and int(step[1:-1]) < len(node):
            yield from walk(node[int(step[1:-1])], rest)
    elif isinstance(node, dict) and step in node:
        yield from walk(node[step], rest)


def alone(steps: list[str], leaf: dict[str, Any], payload: Any, now: datetime) -> bool:
    """One leaf by itself."""
    found = list(walk(payload, steps))
    op, value, folds = leaf["op"], leaf["value"], leaf.get("i", False)
    if op == "exists":
        return (len(found) > 0) == value
    if op == "neq":
        return not any(same(each, value, folds) for each in flat(found))
    if op == "not_in":
        return not any(same(each, one, folds) for each in flat(found) for one in value)
    if op == "contains":
        return any(contained(each, value, folds) for each in found)
    return any(suits(op, each, value, folds, now) for each in flat(found))


def flat(values: list[Any]) -> Iterator[Any]:
    """Arrays replaced by their elements, in turn."""
    for value in values:
        if isinstance(value, list):
            yield from flat(value)
        else:
            yield value


def contained(found: Any, value: Any, folds: bool) -> bool:
    """Membership on an array, substring on text."""
    if isinstance(found, list):
        return any(same(each, value, folds) for each in flat(found))
    if isinstance(found, str) and isinstance(value, str):
        return (value.casefold() in found.casefold()) if folds else (value in found)
    return False


def same(one: Any, other: Any, folds: bool) -> bool:
    """Strict equality."""
    if isinstance(one, str) and isinstance(other, str):
        if instant(one) is not None and instant(other) is not None:
            return instant(one) == instant(other)
        return one.casefold() == other.casefold() if folds else one == other
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one == other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(same(one[k], other[k], False) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b, False) for a, b in zip(one, other, strict=True))
    return one is None and other is None


def suits(op: str, found: Any, value: Any, folds: bool, now: datetime) -> bool:
    """The positive operators on one value."""
    if op == "eq":
        return same(found, value, folds)
    if op == "in":
        return any(same(found, one, folds) for one in value)
    if op in ("starts_with", "ends_with"):
        if not isinstance(found, str):
            return False
        text, part = (found.casefold(), value.casefold()) if folds else (found, value)
        return text[: len(part)] == part if op == "starts_with" else part == text[len(text) - len(part) :]
    if op in ("older_than", "within_last"):
        at = instant(found) if isinstance(found, str) else None
        if at is None:
            return False
        age = in_seconds(now) - at
        limit = int(value[:-1]) * SECONDS[value[-1]]
        return age > limit if op == "older_than" else 0 <= age <= limit
    pair = comparable(found, value, folds)
    if pair is None:
        return False
    left, right = pair
    return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[op]


def comparable(found: Any, value: Any, folds: bool) -> tuple[Any, Any] | None:
    """Both as numbers, or None."""
    if isinstance(found, bool) or isinstance(value, bool):
        return None
    if isinstance(found, (int, float)) and isinstance(value, (int, float)):
        return found, value
    if not isinstance(found, str) or not isinstance(value, str):
        return None
    words = (found.casefold(), value.casefold()) if folds else (found, value)
    if words[0] in RANKS and words[1] in RANKS:
        return RANKS.index(words[0]), RANKS.index(words[1])
    left, right = instant(found), instant(value)
    return None if left is None or right is None else (left, right)


def in_seconds(at: datetime) -> Fraction:
    """Exact seconds since 1970."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return Fraction(since.days * 86400 + since.seconds) + Fraction(since.microseconds, 1_000_000)


def instant(text: str) -> Fraction | None:
    """Exact seconds since 1970 of the common form with a zone."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)", text, re.ASCII
    )
    if match is None:
        return None
    try:
        whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    except ValueError:
        return None
    fraction = Fraction(int(match[2]), 10 ** len(match[2])) if match[2] else Fraction(0)
    return in_seconds(whole) + fraction
