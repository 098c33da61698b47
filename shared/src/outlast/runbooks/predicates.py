"""The tests of `is`, `select` and `reject`: questions about one value that are true or false."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from outlast.runbooks.arithmetic import number
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.values import (
    ExpressionFailed,
    Frame,
    Undefined,
    Value,
    defined,
    equal,
    is_number,
    order,
)


class Predicate(msgspec.Struct, frozen=True):
    """One test. `arguments` is how many values it takes beside the one that it is about."""

    holds: Callable[..., bool]
    """(frame, value, *arguments)"""
    arguments: int = 0
    takes_undefined: bool = False


def is_in(frame: Frame, value: Json, container: Json) -> bool:
    """Text in text, an element in a list, a key in an object."""
    if isinstance(container, str) and isinstance(value, str):
        frame.charge(len(container) // 16)
        return value in container
    if isinstance(container, list):
        frame.charge(len(container))
        return any(equal(frame, value, item) for item in container)
    if isinstance(container, dict) and isinstance(value, str):
        return value in container
    raise ExpressionFailed(f"expected something that can be in {kind_of(container)}, got {kind_of(value)}")


def _divisible(_frame: Frame, value: Json, by: Json) -> bool:
    divisor = number(by, "divisibleby")
    if divisor == 0:
        raise ExpressionFailed("expected a divisor other than zero in divisibleby")
    return number(value, "divisibleby") % divisor == 0


def _compare(holds: Callable[[int], bool]) -> Predicate:
    def compare(_frame: Frame, one: Json, other: Json) -> bool:
        return holds(order(one, other))

    return Predicate(compare, 1)


def _plain(holds: Callable[[Json], bool]) -> Predicate:
    def about(_frame: Frame, value: Json) -> bool:
        return holds(value)

    return Predicate(about)


def _is_unequal(frame: Frame, one: Json, other: Json) -> bool:
    return not equal(frame, one, other)


def _is_defined(_frame: Frame, value: Value) -> bool:
    return not isinstance(value, Undefined)


def _is_undefined(_frame: Frame, value: Value) -> bool:
    return isinstance(value, Undefined)


def _is_whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_EQUAL = Predicate(equal, 1)
_UNEQUAL = Predicate(_is_unequal, 1)
_GREATER = _compare(lambda sign: sign > 0)
_GREATER_OR_EQUAL = _compare(lambda sign: sign >= 0)
_LESS = _compare(lambda sign: sign < 0)
_LESS_OR_EQUAL = _compare(lambda sign: sign <= 0)

PREDICATES: Mapping[str, Predicate] = MappingProxyType(
    {
        "defined": Predicate(_is_defined, takes_undefined=True),
        "undefined": Predicate(_is_undefined, takes_undefined=True),
        "none": _plain(lambda value: value is None),
        "true": _plain(lambda value: value is True),
        "false": _plain(lambda value: value is False),
        "boolean": _plain(lambda value: isinstance(value, bool)),
        "number": _plain(is_number),
        "integer": _plain(_is_whole),
        "float": _plain(lambda value: isinstance(value, float)),
        "string": _plain(lambda value: isinstance(value, str)),
        "mapping": _plain(lambda value: isinstance(value, dict)),
        "sequence": _plain(lambda value: isinstance(value, (list, str))),
        "iterable": _plain(lambda value: isinstance(value, (list, str, dict))),
        "lower": _plain(lambda value: isinstance(value, str) and value.islower()),
        "upper": _plain(lambda value: isinstance(value, str) and value.isupper()),
        "odd": _plain(lambda value: number(value, "odd") % 2 == 1),
        "even": _plain(lambda value: number(value, "even") % 2 == 0),
        "divisibleby": Predicate(_divisible, 1),
        "in": Predicate(is_in, 1),
        "eq": _EQUAL,
        "==": _EQUAL,
        "equalto": _EQUAL,
        "ne": _UNEQUAL,
        "!=": _UNEQUAL,
        "gt": _GREATER,
        ">": _GREATER,
        "greaterthan": _GREATER,
        "ge": _GREATER_OR_EQUAL,
        ">=": _GREATER_OR_EQUAL,
        "lt": _LESS,
        "<": _LESS,
        "lessthan": _LESS,
        "le": _LESS_OR_EQUAL,
        "<=": _LESS_OR_EQUAL,
    }
)


def ask(frame: Frame, predicate: Predicate, value: Value, arguments: tuple[Json, ...]) -> bool:
    """Whether the test holds; undefined fails unless the test is about that."""
    frame.charge(1)
    return predicate.holds(frame, value if predicate.takes_undefined else defined(value), *arguments)
