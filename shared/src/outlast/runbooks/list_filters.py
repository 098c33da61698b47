"""Filters on lists (and on the characters of text, the keys of objects, as Jinja has it)."""

from typing import TypeAlias

from outlast.runbooks.arithmetic import calculate, number
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.instants import parse_instant
from outlast.runbooks.predicates import PREDICATES, Predicate, ask
from outlast.runbooks.text_filters import literal, readable
from outlast.runbooks.values import (
    ExpressionFailed,
    Frame,
    Undefined,
    Value,
    check_length,
    check_size,
    defined,
    json_of,
    truth,
)

NOT_GIVEN = Undefined("an argument")
"""The default of arguments for which null is a value too."""

_SortKey: TypeAlias = tuple[int, int | float | str]


def items_of(frame: Frame, value: Json, what: str) -> list[Json]:
    """The elements of a list, the characters of text, the keys of an object; paid for."""
    if isinstance(value, list):
        frame.charge(len(value) + 1)
        return value
    if isinstance(value, str):
        frame.charge(len(value) + 1)
        return list(value)
    if isinstance(value, dict):
        frame.charge(len(value) + 1)
        return list(value)
    raise ExpressionFailed(f"expected a list for {what}, got {kind_of(value)}")


def attribute_of(item: Json, path: str) -> Value:
    """What stands at a dotted path below an element."""
    found = item
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and len(step) < 9 and int(step) < len(found):
            found = found[int(step)]
        else:
            return Undefined(path)
    return found


def default(_frame: Frame, value: Value, instead: Value, also_if_empty: Value) -> Value:
    """Another value for what is undefined; with true, also for null, false, zero and what is empty."""
    if isinstance(value, Undefined) or (truth(defined(also_if_empty)) and not truth(value)):
        return instead
    return value


def first(frame: Frame, value: Json) -> Value:
    """The first element; undefined if there is none."""
    if isinstance(value, (list, str)):
        return value[0] if value else Undefined("the first of an empty list")
    items = items_of(frame, value, "first")
    return items[0] if items else Undefined("the first of an empty object")


def last(frame: Frame, value: Json) -> Value:
    """The last element; undefined if there is none."""
    if isinstance(value, (list, str)):
        return value[-1] if value else Undefined("the last of an empty list")
    items = items_of(frame, value, "last")
    return items[-1] if items else Undefined("the last of an empty object")


def length(_frame: Frame, value: Json) -> int:
    """How many elements, characters or keys."""
    if isinstance(value, (list, str, dict)):
        return len(value)
    raise ExpressionFailed(f"expected text, a list or an object for length, got {kind_of(value)}")


def join(frame: Frame, value: Json, separator: Json, attribute: Json) -> str:
    """The elements' texts with a separator between them."""
    between = readable(frame, separator)
    parts: list[str] = []
    size = 0
    for item in items_of(frame, value, "join"):
        part = readable(frame, _look(item, attribute))
        size += len(part) + len(between)
        check_length(size - len(between))
        parts.append(part)
    text = between.join(parts)
    check_size(text)
    return text


def unique(frame: Frame, value: Json, minds_case: Json, attribute: Json) -> Json:
    """Without repetitions, the first of each kept; case is ignored unless it is minded."""
    seen: set[tuple[str, object]] = set()
    kept: list[Json] = []
    for item in items_of(frame, value, "unique"):
        key = _identity(frame, _look(item, attribute), truth(minds_case))
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


def sort(frame: Frame, value: Json, reverse: Json, minds_case: Json, attribute: Json) -> Json:
    """In order: numbers, instants or texts, not mixed; case is ignored unless it is minded."""
    return _sorted(frame, value, attribute, minds_case=truth(minds_case), reverse=truth(reverse), what="sort")


def smallest(frame: Frame, value: Json, minds_case: Json, attribute: Json) -> Value:
    """The least element; undefined for an empty list."""
    ordered = _sorted(frame, value, attribute, minds_case=truth(minds_case), reverse=False, what="min")
    return ordered[0] if ordered else Undefined("the smallest of an empty list")


def largest(frame: Frame, value: Json, minds_case: Json, attribute: Json) -> Value:
    """The greatest element; undefined for an empty list."""
    ordered = _sorted(frame, value, attribute, minds_case=truth(minds_case), reverse=True, what="max")
    return ordered[0] if ordered else Undefined("the largest of an empty list")


def total(frame: Frame, value: Json, attribute: Json, start: Json) -> int | float:
    """The sum of numbers."""
    result = number(start, "the start of sum")
    for item in items_of(frame, value, "sum"):
        result = calculate("+", result, _look(item, attribute))
    return result


def mapped(frame: Frame, value: Json, path: str, instead: Value) -> Value:
    """The attribute of each element; undefined if an element lacks it and there is no default."""
    results: list[Json] = []
    for item in items_of(frame, value, "map"):
        found = attribute_of(item, path)
        if isinstance(found, Undefined):
            if isinstance(instead, Undefined):
                return found
            found = instead
        results.append(found)
    return results


def chosen(frame: Frame, value: Json, how: tuple[Value, ...], *, keep: bool) -> Value:
    """The elements whose attribute passes a test (or does not); undefined if an element lacks the attribute.
     `how` is (attribute or first argument, test, value, attribute=, test=, value=). The first argument is a
    test's name or an attribute.
    """
    attribute, predicate, arguments = selection(how)
    results: list[Json] = []
    for item in items_of(frame, value, "select"):
        found = item if attribute is None else attribute_of(item, attribute)
        if isinstance(found, Undefined) and predicate is not None and not predicate.takes_undefined:
            return found
        holds = truth(defined(found)) if predicate is None else ask(frame, predicate, found, arguments)
        if holds is keep:
            results.append(item)
    return results


def selection(how: tuple[Value, ...]) -> tuple[str | None, Predicate | None, tuple[Json, ...]]:
    """What the arguments of select and reject mean: (attribute, test, arguments of the test)."""
    given = [defined(value) for value in how[:3] if value is not NOT_GIVEN]
    attribute = None if how[3] is NOT_GIVEN else literal(defined(how[3]), "the attribute")
    name = None if how[4] is NOT_GIVEN else literal(defined(how[4]), "the test")
    if attribute is None and given and not (name is None and _names_test(given[0])):
        attribute = literal(given.pop(0), "the attribute")
    if name is None and given:
        name = literal(given.pop(0), "the test")
    if how[5] is not NOT_GIVEN:
        given.append(defined(how[5]))
    predicate = None if name is None else PREDICATES.get(name)
    if name is not None and predicate is None:
        raise ExpressionFailed(f'expected a test such as "eq", "in" or "defined", got "{name[:40]}"')
    if len(given) != (predicate.arguments if predicate else 0):
        raise ExpressionFailed(
            f"expected {predicate.arguments if predicate else 0} value for the test {name}"
        )
    return attribute, predicate, tuple(given)


def _names_test(value: Json) -> bool:
    return isinstance(value, str) and value in PREDICATES


def _look(item: Json, attribute: Json) -> Json:
    return item if attribute is None else defined(attribute_of(item, literal(attribute, "the attribute")))


def _identity(frame: Frame, value: Json, minds_case: bool) -> tuple[str, object]:
    if isinstance(value, str):
        instant = parse_instant(value)
        if instant is not None:
            return ("instant", instant)
        frame.charge(len(value) // 16)
        return ("text", value if minds_case else value.casefold())
    if isinstance(value, bool) or value is None:
        return ("word", value)
    if isinstance(value, (int, float)):
        return ("number", value)
    text = json_of(value)
    frame.charge(len(text) // 16)
    return ("json", text)


def _sorted(
    frame: Frame, value: Json, attribute: Json, *, minds_case: bool, reverse: bool, what: str
) -> list[Json]:
    items = items_of(frame, value, what)
    frame.charge(len(items) * 4)
    keys = _sort_keys(frame, [_look(item, attribute) for item in items], minds_case, what)
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)
    return [items[index] for index in order]


def _sort_keys(frame: Frame, values: list[Json], minds_case: bool, what: str) -> list[_SortKey]:
    frame.charge(sum(len(value) // 16 for value in values if isinstance(value, str)))
    keys = [_sort_key(value, minds_case, what) for value in values]
    if len({key[0] for key in keys}) > 1:
        kinds = {0: "numbers", 1: "instants", 2: "texts"}
        if {key[0] for key in keys} == {1, 2}:
            return [_text_key(value, minds_case) for value in values]
        mixed = " and ".join(kinds[kind] for kind in sorted({key[0] for key in keys}))
        raise ExpressionFailed(f"expected elements of one kind for {what}, got {mixed}")
    return keys


def _sort_key(value: Json, minds_case: bool, what: str) -> _SortKey:
    if isinstance(value, str):
        instant = parse_instant(value)
        return _text_key(value, minds_case) if instant is None else (1, instant)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionFailed(f"expected numbers or texts for {what}, got {kind_of(value)}")
    return (0, value)


def _text_key(value: Json, minds_case: bool) -> _SortKey:
    text = value if isinstance(value, str) else ""
    return (2, text if minds_case else text.casefold())
