"""Condition trees as users write them, and everything that can be wrong with one."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias, cast, get_args

import msgspec

from outlast.limits import CONDITION_DEPTH_MAX, CONDITION_LEAVES_MAX
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.faults import DefinitionFault, element, member
from outlast.runbooks.instants import lacks_zone, parse_instant
from outlast.runbooks.paths import Steps, parse_path
from outlast.runbooks.severities import SEVERITY_RANK

Operator: TypeAlias = Literal[
    "eq",
    "neq",
    "gte",
    "lte",
    "gt",
    "lt",
    "in",
    "not_in",
    "contains",
    "starts_with",
    "ends_with",
    "older_than",
    "within_last",
    "exists",
]
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)

_GROUPS = ("all", "any", "not")
_LEAF_KEYS = ("field", "op", "value", "i")
_FIELD_CHARACTERS_MAX = 400


class Leaf(msgspec.Struct, frozen=True):
    """One comparison. `at` is its place in the tree, `folds` whether case is ignored."""

    at: str
    field: str
    steps: Steps
    op: Operator
    value: Json
    folds: bool


class AllOf(msgspec.Struct, frozen=True):
    """True if every child is; never empty."""

    children: tuple["Node", ...]


class AnyOf(msgspec.Struct, frozen=True):
    """True if some child is; never empty."""

    children: tuple["Node", ...]


class Not(msgspec.Struct, frozen=True):
    """True if the child is false."""

    child: "Node"


Node: TypeAlias = Leaf | AllOf | AnyOf | Not


def leaves(node: Node) -> Iterator[Leaf]:
    """Every leaf of a tree, in document order."""
    match node:
        case Leaf():
            yield node
        case Not(child):
            yield from leaves(child)
        case AllOf(children) | AnyOf(children):
            for child in children:
                yield from leaves(child)


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """ "; did you mean x?" if a known word is near the wrong one, else ""."""
    near = difflib.get_close_matches(wrong[:60], list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


class TreeReader:
    """Reads one condition tree; what is wrong with it is added to `faults`."""

    def __init__(self, faults: list[DefinitionFault]) -> None:
        self._faults = faults
        self._leaves = 0

    def read(self, tree: object, at: str, depth: int = 0) -> Node | None:
        """The tree at `at`, or None if it has faults."""
        if not isinstance(tree, dict):
            return self._fault(at, f"expected a condition (an object), got {kind_of(tree)}")
        if depth > CONDITION_DEPTH_MAX:
            return self._fault(at, f"expected at most {CONDITION_DEPTH_MAX} levels of groups")
        members = cast("dict[str, Json]", tree)
        if not members:
            return self._fault(at, "expected all, any, not, or a leaf with field, op and value, got nothing")
        group = next((key for key in members if key in _GROUPS), None)
        if group is None:
            return self._leaf(members, at)
        extra = [key for key in members if key != group]
        for key in extra:
            self._fault(member(at, key), f'expected "{group}" to stand alone in its group')
        node = self._group(group, members[group], member(at, group), depth)
        return None if extra else node

    def _group(self, group: str, inside: Json, at: str, depth: int) -> Node | None:
        if group == "not":
            child = self.read(inside, at, depth + 1)
            return None if child is None else Not(child)
        if not isinstance(inside, list):
            return self._fault(at, f"expected a list of conditions, got {kind_of(inside)}")
        if not inside:
            return self._fault(at, "expected at least one condition, got an empty group")
        children = [self.read(child, element(at, i), depth + 1) for i, child in enumerate(inside)]
        whole = tuple(child for child in children if child is not None)
        if len(whole) < len(children):
            return None
        return AllOf(whole) if group == "all" else AnyOf(whole)

    def _leaf(self, members: dict[str, Json], at: str) -> Leaf | None:
        before = len(self._faults)
        self._leaves += 1
        if self._leaves == CONDITION_LEAVES_MAX + 1:
            self._fault(at, f"expected at most {CONDITION_LEAVES_MAX} leaves in one condition")
        for key in members:
            if key not in _LEAF_KEYS:
                message = f'unknown key "{key[:60]}"{suggestion(key, _GROUPS + _LEAF_KEYS)}'
                self._fault(member(at, key), message)
        if not any(key in members for key in _LEAF_KEYS):
            return None
        steps = self._steps(members, at)
        op = self._operator(members, at)
        folds = members.get("i", False)
        if not isinstance(folds, bool):
            self._fault(member(at, "i"), f"expected true or false, got {kind_of(folds)}")
            folds = False
        if "value" not in members:
            self._fault(member(at, "value"), "expected a value, got none")
        elif op is not None and (message := value_fault(op, members["value"], folds)) is not None:
            self._fault(member(at, "value"), message)
        if steps is None or op is None or len(self._faults) > before:
            return None
        return Leaf(at, str(members["field"]), steps, op, members["value"], folds)

    def _steps(self, members: dict[str, Json], at: str) -> Steps | None:
        path = member(at, "field")
        if "field" not in members:
            return self._fault(path, "expected the path of a field, got none")
        field = members["field"]
        if not isinstance(field, str):
            return self._fault(path, f"expected the path of a field (text), got {kind_of(field)}")
        if len(field) > _FIELD_CHARACTERS_MAX:
            return self._fault(path, f"expected a path of at most {_FIELD_CHARACTERS_MAX} characters")
        try:
            return parse_path(field)
        except ValueError as error:
            return self._fault(path, str(error))

    def _operator(self, members: dict[str, Json], at: str) -> Operator | None:
        path = member(at, "op")
        if "op" not in members:
            return self._fault(path, f"expected an operator, one of {', '.join(OPERATORS)}, got none")
        given = members["op"]
        if not isinstance(given, str):
            return self._fault(path, f"expected an operator (text), got {kind_of(given)}")
        for op in OPERATORS:
            if op == given:
                return op
        hint = suggestion(given, OPERATORS) or f"; expected one of {', '.join(OPERATORS)}"
        return self._fault(path, f'unknown operator "{given[:60]}"{hint}')

    def _fault(self, path: str, message: str) -> None:
        self._faults.append(DefinitionFault(path, message))


def value_fault(op: Operator, value: Json, folds: bool) -> str | None:
    """Why this operator cannot compare with this value, None if it can."""
    match op:
        case "in" | "not_in":
            return None if isinstance(value, list) else f"{op} expects a list, got {kind_of(value)}"
        case "eq" | "neq" | "contains":
            wrong = isinstance(value, (list, dict))
            return f"{op} expects text, a number, a boolean or null, got {kind_of(value)}" if wrong else None
        case "starts_with" | "ends_with":
            return None if isinstance(value, str) else f"{op} expects text, got {kind_of(value)}"
        case "exists":
            return None if isinstance(value, bool) else f"exists expects true or false, got {kind_of(value)}"
        case "older_than" | "within_last":
            if not isinstance(value, str):
                return f'{op} expects a duration such as "7d", got {kind_of(value)}'
            try:
                parse_duration(value)
            except ValueError as error:
                return str(error)
            return None
        case "gt" | "gte" | "lt" | "lte":
            return _order_fault(op, value, folds)


def _order_fault(op: Operator, value: Json, folds: bool) -> str | None:
    expected = f"{op} expects a number, an instant with a zone, or a severity ({', '.join(SEVERITY_RANK)})"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return f"{expected}, got {kind_of(value)}"
    if not isinstance(value, str) or parse_instant(value) is not None:
        return None
    if (value.casefold() if folds else value) in SEVERITY_RANK:
        return None
    if lacks_zone(value):
        return f'{expected}, got "{value}", which has no zone: add Z or an offset such as +02:00'
    return f'{expected}, got "{value[:60]}"'
