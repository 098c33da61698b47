"""A condition over a payload: the result, and for each leaf what stood there and why it is true or false."""

from datetime import datetime
from typing import Any

from outlast.runbooks.conditions import Condition, LeafResult, parse_condition
from outlast.runbooks.documents import Json, canonical, kind_of
from outlast.runbooks.instants import lacks_zone, nanoseconds, parse_instant
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.trees import Leaf, leaves
from outlast_cli.local.inputs import Object, compiled, instant_of, object_of

FOUND_CHARACTERS_MAX = 120
NEGATIVE = ("neq", "not_in")
ORDERING = ("gt", "gte", "lt", "lte")


def condition_of(tree: object) -> Condition:
    """The compiled condition; Failure with every fault and its path."""
    return compiled(lambda: parse_condition(tree))


def evaluate(condition: Condition, payload: object, now: object = None) -> Object:
    """`matched`, `leaves` in document order, and the frozen `now`."""
    looked = object_of(payload, "the payload")
    instant = instant_of(now, looked)
    return {
        "matched": condition.matches(looked, instant),
        "leaves": explained(condition, looked, instant),
        "now": instant.isoformat(),
    }


def explained(condition: Condition, payload: Json, now: datetime) -> list[Object]:
    """Each leaf with its own result, what was found, and the sentence that says why."""
    known = {leaf.at: leaf for leaf in leaves(condition.tree)}
    return [_told(known[result.path], result, now) for result in condition.explain(payload, now)]


def _told(leaf: Leaf, result: LeafResult, now: datetime) -> Object:
    told: dict[str, Any] = {
        "path": leaf.at, "field": leaf.field, "op": leaf.op, "value": leaf.value, "result": result.result,
        "is_missing": result.is_missing,
    }  # fmt: skip
    if not result.is_missing:
        told["found"] = result.found
    return told | {"why": _why(leaf, result, now)}


def _why(leaf: Leaf, result: LeafResult, now: datetime) -> str:
    if leaf.op == "exists":
        return f"{leaf.field} {'is absent' if result.is_missing else 'is there'}"
    if result.is_missing:
        because = f"; {leaf.op} is true of what is absent" if leaf.op in NEGATIVE else ""
        return f"{leaf.field} is absent{because}"
    every = "[*]" in leaf.field or isinstance(result.found, list)
    found = ("one of " if every and result.result and leaf.op not in NEGATIVE else "") + _shown(result.found)
    return f"{leaf.field} is {found}{_beside(leaf, result, now)}"


def _beside(leaf: Leaf, result: LeafResult, now: datetime) -> str:
    """What is not to be seen from the two values: an age, a rank, two kinds that are never compared."""
    found = result.found
    if leaf.op in ("older_than", "within_last") and isinstance(found, str):
        instant = parse_instant(found)
        if instant is None:
            return ", which has no zone" if lacks_zone(found) else ", which is no instant"
        seconds = (nanoseconds(now) - instant) / 1_000_000_000
        return f", {_span(seconds)} ago" if seconds >= 0 else f", {_span(-seconds)} in the future"
    if isinstance(found, list) or result.result:
        return ""
    if leaf.op in ORDERING:
        return _order(found, leaf)
    if leaf.op == "eq" and kind_of(found) != kind_of(leaf.value):
        return f", {kind_of(found)}; {kind_of(leaf.value)} is never equal to it"
    return ""


def _order(found: Json, leaf: Leaf) -> str:
    if kind_of(found) != kind_of(leaf.value):
        return f", {kind_of(found)}; it is not ordered with {kind_of(leaf.value)}"
    if isinstance(found, str) and isinstance(leaf.value, str):
        folded = found.casefold() if leaf.folds else found
        if parse_instant(leaf.value) is not None and parse_instant(found) is None:
            return ", which has no zone" if lacks_zone(found) else ", which is no instant"
        if parse_instant(leaf.value) is None and folded not in SEVERITY_RANK:
            return ", which is no severity"
    return ""


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _shown(value: Json) -> str:
    text = canonical(value).decode()
    return text if len(text) <= FOUND_CHARACTERS_MAX else f"{text[:FOUND_CHARACTERS_MAX]}…"
