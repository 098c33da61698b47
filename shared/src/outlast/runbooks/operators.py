"""What each operator means for one value. Arrays, absence and negation are the matter of `conditions`.
 A test is given one payload value that is not an array and the frozen now. Types are strict: text that looks
like a number is text, booleans are not numbers. Two instants with a zone compare as instants.
"""

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from outlast.runbooks.documents import Json
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.instants import nanoseconds, parse_instant
from outlast.runbooks.paths import Found
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.trees import Leaf

Test: TypeAlias = Callable[[Found, datetime], bool]
"""Does this one value (no array; ABSENT is never satisfying) hold at this now?"""

_ORDERS: dict[str, Callable[[int | float, int | float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def positive_test(leaf: Leaf) -> Test:
    """The test of a leaf's operator, without its negation: neq gives the test of eq, not_in that of in."""
    match leaf.op:
        case "eq" | "neq" | "contains":
            return equals(leaf.value, leaf.folds)
        case "in" | "not_in":
            return among(leaf.value if isinstance(leaf.value, list) else [], leaf.folds)
        case "gt" | "gte" | "lt" | "lte":
            return _ordered(_ORDERS[leaf.op], leaf.value, leaf.folds)
        case "starts_with" | "ends_with":
            return _affix(leaf.op, str(leaf.value), leaf.folds)
        case "older_than":
            return _older_than(parse_duration(str(leaf.value)))
        case "within_last":
            return _within_last(parse_duration(str(leaf.value)))
        case "exists":
            return lambda _found, _now: True
        case _:
            assert_never(leaf.op)


def substring(leaf: Leaf) -> Test:
    """`contains` on text: a part of it. Only text is part of text."""
    value = leaf.value
    if not isinstance(value, str):
        return lambda _found, _now: False
    if leaf.folds:
        folded = value.casefold()
        return lambda found, _: isinstance(found, str) and folded in found.casefold()
    return lambda found, _: isinstance(found, str) and value in found


def equals(value: Json, folds: bool) -> Test:
    """Strict equality with a literal."""
    if value is None:
        return lambda found, _: found is None
    if isinstance(value, bool):
        return lambda found, _: found is value
    if isinstance(value, (int, float)):
        return lambda found, _: found == value and type(found) is not bool
    if not isinstance(value, str):
        return lambda found, _: strictly_equal(found, value)
    instant = parse_instant(value)
    if instant is not None:
        return lambda found, _: isinstance(found, str) and parse_instant(found) == instant
    if folds:
        folded = value.casefold()
        return lambda found, _: isinstance(found, str) and found.casefold() == folded
    return lambda found, _: found == value


def among(values: list[Json], folds: bool) -> Test:
    """Strict equality with any of some literals, by hash where that is possible."""
    words = {value for value in values if isinstance(value, str) and parse_instant(value) is None}
    if folds:
        words = {word.casefold() for word in words}
    texts = [value for value in values if isinstance(value, str)]
    instants = {instant for text in texts if (instant := parse_instant(text)) is not None}
    numbers = {v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)}
    others = [v for v in values if v is None or isinstance(v, (bool, list, dict))]

    def test(found: Found, _: datetime) -> bool:
        if isinstance(found, str):
            if (found.casefold() if folds else found) in words:
                return True
            return bool(instants) and parse_instant(found) in instants
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return found in numbers
        return any(strictly_equal(found, other) for other in others)

    return test


def strictly_equal(one: Found, other: Json) -> bool:
    """Equality of any two values in which booleans are not numbers and instants are instants."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        if one == other:
            return True
        instant = parse_instant(one)
        return instant is not None and instant == parse_instant(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(strictly_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(strictly_equal(one[key], other[key]) for key in one)
    return one == other


def _ordered(holds: Callable[[int | float, int | float], bool], value: Json, folds: bool) -> Test:
    if isinstance(value, str):
        return _ordered_text(holds, value, folds)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return lambda _found, _now: False
    return lambda found, _: (
        isinstance(found, (int, float)) and not isinstance(found, bool) and holds(found, value)
    )


def _ordered_text(holds: Callable[[int | float, int | float], bool], value: str, folds: bool) -> Test:
    rank = SEVERITY_RANK.get(value.casefold() if folds else value)
    instant = parse_instant(value)

    def by_rank(found: Found, _: datetime) -> bool:
        if not isinstance(found, str):
            return False
        other = SEVERITY_RANK.get(found.casefold() if folds else found)
        return other is not None and rank is not None and holds(other, rank)

    def by_instant(found: Found, _: datetime) -> bool:
        other = parse_instant(found) if isinstance(found, str) else None
        return other is not None and instant is not None and holds(other, instant)

    return by_rank if rank is not None else by_instant


def _affix(op: str, value: str, folds: bool) -> Test:
    if folds:
        folded = value.casefold()
        if op == "starts_with":
            return lambda found, _: isinstance(found, str) and found.casefold().startswith(folded)
        return lambda found, _: isinstance(found, str) and found.casefold().endswith(folded)
    if op == "starts_with":
        return lambda found, _: isinstance(found, str) and found.startswith(value)
    return lambda found, _: isinstance(found, str) and found.endswith(value)


def _duration_nanoseconds(duration: timedelta) -> int:
    return (duration.days * 86_400 + duration.seconds) * 1_000_000_000


def _older_than(duration: timedelta) -> Test:
    limit = _duration_nanoseconds(duration)

    def test(found: Found, now: datetime) -> bool:
        instant = parse_instant(found) if isinstance(found, str) else None
        return instant is not None and nanoseconds(now) - instant > limit

    return test


def _within_last(duration: timedelta) -> Test:
    limit = _duration_nanoseconds(duration)

    def test(found: Found, now: datetime) -> bool:
        instant = parse_instant(found) if isinstance(found, str) else None
        return instant is not None and 0 <= nanoseconds(now) - instant <= limit

    return test
