"""Does an event fire a rule? Condition trees, compiled to closures once and asked often.
 A leaf is a path, a test of one value, and perhaps a negation. neq, not_in and `exists: false` are exactly
"not" of eq, in and `exists: true` on the same path, so that a missing field makes them true and several
elements mean "none". Leaves of one `all` that pass the same `[*]` must hold for the same element: they are
compiled together, relative to it, and in turn again if they share a further `[*]`. A negative leaf among them
speaks of it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeAlias

import msgspec

from outlast.runbooks.documents import Json, document_faults
from outlast.runbooks.faults import DefinitionFault, DefinitionRefused
from outlast.runbooks.operators import Test, positive_test, substring
from outlast.runbooks.paths import ABSENT, EACH, Found, Steps, getter, split_at_each, values_at
from outlast.runbooks.trees import AllOf, AnyOf, Leaf, Node, Not, TreeReader

Check: TypeAlias = Callable[[Json, datetime], bool]
_Placed: TypeAlias = tuple[Steps, Leaf]
"""A leaf with the steps to it from where one stands: the payload, or an element chosen by `[*]`."""


class LeafResult(msgspec.Struct, frozen=True):
    """How one leaf came out. `found` is what stood at its path (for `[*]` a list), None if nothing did.

    For leaves that share a `[*]`, what is reported is their result on the element that satisfies all of them,
    or else on the first of those that satisfy most.
    """

    path: str
    result: bool
    found: Json
    is_missing: bool = False


class Condition:
    """A compiled condition tree. Immutable; safe to share."""

    __slots__ = ("matches", "tree")

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self.matches: Check = compile_node(tree)
        """(payload, now) -> whether the condition holds for an enriched payload at an instant with a zone."""

    def explain(self, payload: Json, now: datetime) -> tuple[LeafResult, ...]:
        """Every leaf's own result, in document order, whether or not `matches` had to look at it."""
        return tuple(_explain(self.tree, payload, now))


def parse_condition(tree: object, at: str = "") -> Condition:
    """Compile a user's condition tree that stands at `at`. DefinitionRefused with every fault of it."""
    faults = document_faults(tree, at)
    node = None if faults else TreeReader(faults).read(tree, at)
    if faults or node is None:
        raise DefinitionRefused(faults)
    return Condition(node)


def read_condition(tree: object, at: str, faults: list[DefinitionFault]) -> Condition | None:
    """As `parse_condition`, but adds to `faults`; for a document whose JSON values are known to be sound."""
    node = TreeReader(faults).read(tree, at)
    return None if node is None else Condition(node)


def compile_node(node: Node) -> Check:
    """The tree as one function."""
    match node:
        case Leaf():
            return _compile_leaf(node.steps, node)
        case Not(child):
            check = compile_node(child)
            return lambda payload, now: not check(payload, now)
        case AnyOf(children):
            return _any_of([compile_node(child) for child in children])
        case AllOf(children):
            placed, groups = _partition(children)
            return _all_of(_compile_leaves(placed) + [compile_node(child) for child in groups])


def _partition(children: Iterable[Node]) -> tuple[list[_Placed], list[Node]]:
    placed: list[_Placed] = []
    groups: list[Node] = []
    for child in children:
        if isinstance(child, Leaf):
            placed.append((child.steps, child))
        else:
            groups.append(child)
    return placed, groups


def _by_prefix(placed: Iterable[_Placed]) -> list[tuple[Steps | None, list[_Placed]]]:
    """Leaves grouped by the steps before their first `[*]`, in order of appearance.

    A leaf that shares them with no other is alone in its group, under None.
    """
    shared: dict[Steps, list[_Placed]] = {}
    groups: list[tuple[Steps | None, list[_Placed]]] = []
    for steps, leaf in placed:
        split = split_at_each(steps)
        if split is None:
            groups.append((None, [(steps, leaf)]))
        elif split[0] in shared:
            shared[split[0]].append((steps, leaf))
        else:
            shared[split[0]] = [(steps, leaf)]
            groups.append((split[0], shared[split[0]]))
    return [(prefix if len(group) > 1 else None, group) for prefix, group in groups]


def _compile_leaves(placed: Iterable[_Placed]) -> list[Check]:
    checks: list[Check] = []
    for prefix, group in _by_prefix(placed):
        if prefix is None:
            checks.extend(_compile_leaf(steps, leaf) for steps, leaf in group)
        else:
            together = _all_of(_compile_leaves([(steps[len(prefix) + 1 :], leaf) for steps, leaf in group]))
            checks.append(_some_element(prefix, together))
    return checks


def _some_element(prefix: Steps, check: Check) -> Check:
    get = getter(prefix)

    def some(payload: Json, now: datetime) -> bool:
        array = get(payload)
        if not isinstance(array, list):
            return False
        for item in array:  # noqa: SIM110 - a generator costs more than the loop
            if check(item, now):
                return True
        return False

    return some


def _compile_leaf(steps: Steps, leaf: Leaf) -> Check:
    split = split_at_each(steps)
    if split is None:
        return _compile_plain(steps, leaf)
    some = _some_element(split[0], _positive(split[1], leaf))
    if not _is_negative(leaf):
        return some
    return lambda payload, now: not some(payload, now)


def _positive(steps: Steps, leaf: Leaf) -> Check:
    """The leaf without its negation, from an element on."""
    split = split_at_each(steps)
    if split is not None:
        return _some_element(split[0], _positive(split[1], leaf))
    get, judge = getter(steps), _judge(leaf)
    return lambda payload, now: judge(get(payload), now)


def _compile_plain(steps: Steps, leaf: Leaf) -> Check:
    get, judge = getter(steps), _judge(leaf)
    if _is_negative(leaf):
        return lambda payload, now: not judge(get(payload), now)
    return lambda payload, now: judge(get(payload), now)


def _is_negative(leaf: Leaf) -> bool:
    return leaf.op in ("neq", "not_in") or (leaf.op == "exists" and leaf.value is False)


def _judge(leaf: Leaf) -> Test:
    """The test of whatever a path found: one value, an array (any of its elements), or nothing (false)."""
    test = positive_test(leaf)
    if leaf.op == "exists":
        return lambda found, _: found is not ABSENT
    one = substring(leaf) if leaf.op == "contains" else test

    def judge(found: Found, now: datetime) -> bool:
        if isinstance(found, list):
            return _any_element(found, test, now)
        return found is not ABSENT and one(found, now)

    return judge


def _any_element(array: list[Json], test: Test, now: datetime) -> bool:
    """Whether an element holds; arrays inside are entered in turn, without recursion."""
    waiting = [array]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, list):
                waiting.append(item)
            elif test(item, now):
                return True
    return False


def _all_of(checks: list[Check]) -> Check:
    match checks:
        case [only]:
            return only
        case [first, second]:
            return lambda payload, now: first(payload, now) and second(payload, now)
        case _:

            def every(payload: Json, now: datetime) -> bool:
                for check in checks:  # noqa: SIM110 - a generator costs more than the loop
                    if not check(payload, now):
                        return False
                return True

            return every


def _any_of(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def some(payload: Json, now: datetime) -> bool:
        for check in checks:  # noqa: SIM110 - a generator costs more than the loop
            if check(payload, now):
                return True
        return False

    return some


def _explain(node: Node, payload: Json, now: datetime) -> list[LeafResult]:
    match node:
        case Leaf():
            return _explain_leaves([(node.steps, node)], payload, now)
        case Not(child):
            return _explain(child, payload, now)
        case AnyOf(children):
            return [result for child in children for result in _explain(child, payload, now)]
        case AllOf(children):
            placed, _ = _partition(children)
            own = {result.path: result for result in _explain_leaves(placed, payload, now)}
            results: list[LeafResult] = []
            for child in children:
                results += [own[child.at]] if isinstance(child, Leaf) else _explain(child, payload, now)
            return results


def _explain_leaves(placed: Iterable[_Placed], payload: Json, now: datetime) -> list[LeafResult]:
    results: list[LeafResult] = []
    for prefix, group in _by_prefix(placed):
        if prefix is None:
            results.extend(_explain_leaf(steps, leaf, payload, now) for steps, leaf in group)
            continue
        array = getter(prefix)(payload)
        rest = [(steps[len(prefix) + 1 :], leaf) for steps, leaf in group]
        best = [LeafResult(leaf.at, result=False, found=None, is_missing=True) for _, leaf in group]
        most = -1
        for item in array if isinstance(array, list) else []:
            tried = _explain_leaves(rest, item, now)
            held = sum(result.result for result in tried)
            if held > most:
                best, most = tried, held
        results.extend(best)
    return results


def _explain_leaf(steps: Steps, leaf: Leaf, payload: Json, now: datetime) -> LeafResult:
    result = _compile_leaf(steps, leaf)(payload, now)
    values = list(values_at(payload, steps))
    if EACH in steps:
        return LeafResult(leaf.at, result, values, is_missing=not values)
    return LeafResult(leaf.at, result, values[0] if values else None, is_missing=not values)
