"""The filters of the template language: what they are called and which arguments they take."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import msgspec

from outlast.runbooks import list_filters, text_filters
from outlast.runbooks.calendar_text import format_fault, zone_fault
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.list_filters import NOT_GIVEN
from outlast.runbooks.text_filters import literal
from outlast.runbooks.values import ExpressionFailed, Frame, Undefined, Value, defined

REQUIRED = Undefined("a required argument")
"""The default of an argument that has none."""
DYNAMIC = Undefined("an argument known only at run time")
"""Stands for an argument that is no literal when literals are verified at save."""


class Filter(msgspec.Struct, frozen=True):
    """One filter: its function, its parameters with their defaults in order, and what it says of literals."""

    run: Callable[..., Value]
    """(frame, value, *arguments), an argument for each parameter."""
    parameters: tuple[tuple[str, Value], ...] = ()
    takes_undefined: bool = False
    verify: Callable[[Sequence[Value]], str | None] = lambda _: None
    """Why these literal arguments cannot be right, None if they can; DYNAMIC for those not known yet."""


def _verify_date(arguments: Sequence[Value]) -> str | None:
    form, zone = arguments
    return (format_fault(form) if isinstance(form, str) else None) or (
        zone_fault(zone) if isinstance(zone, str) else None
    )


def _verify_shift(arguments: Sequence[Value]) -> str | None:
    if isinstance(arguments[0], Undefined):
        return None
    if not isinstance(arguments[0], str):
        return 'expected a duration such as "2h"'
    try:
        parse_duration(arguments[0])
    except ValueError as error:
        return str(error)
    return None


def _verify_selection(arguments: Sequence[Value]) -> str | None:
    if DYNAMIC in arguments:
        return None
    try:
        list_filters.selection(tuple(arguments))
    except ExpressionFailed as error:
        return error.message
    return None


def _map(frame: Frame, value: Value, name: Value, attribute: Value, instead: Value) -> Value:
    """map("x"): key x of objects, filter x of other elements; map(attribute="x.y")."""
    items = defined(value)
    if attribute is not NOT_GIVEN:
        return list_filters.mapped(frame, items, literal(defined(attribute), "the attribute of map"), instead)
    word = literal(defined(name), "the attribute of map")
    inner = FILTERS.get(word)
    listed = list_filters.items_of(frame, items, "map")
    if inner is None or all(isinstance(item, dict) for item in listed):
        return list_filters.mapped(frame, listed, word, instead)
    if any(default is REQUIRED for _, default in inner.parameters):
        raise ExpressionFailed(f"expected a filter without arguments for map, got {word}")
    arguments = [default for _, default in inner.parameters]
    return [defined(inner.run(frame, item, *arguments)) for item in listed]


def _verify_map(arguments: Sequence[Value]) -> str | None:
    given = [argument for argument in arguments[:2] if argument is not NOT_GIVEN]
    if len(given) != 1 or not (given[0] is DYNAMIC or isinstance(given[0], str)):
        return 'expected one attribute, as in map("name")'
    return None


def _select(frame: Frame, value: Value, *how: Value, keep: bool) -> Value:
    return list_filters.chosen(frame, defined(value), how, keep=keep)


_SELECTION: tuple[tuple[str, Value], ...] = (
    ("", NOT_GIVEN),
    ("", NOT_GIVEN),
    ("", NOT_GIVEN),
    ("attribute", NOT_GIVEN),
    ("test", NOT_GIVEN),
    ("value", NOT_GIVEN),
)
_CASE_AND_ATTRIBUTE: tuple[tuple[str, Value], ...] = (("case_sensitive", False), ("attribute", None))

FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        "default": Filter(
            list_filters.default, (("default_value", ""), ("boolean", False)), takes_undefined=True
        ),
        "upper": Filter(text_filters.upper),
        "lower": Filter(text_filters.lower),
        "title": Filter(text_filters.title),
        "trim": Filter(text_filters.trim, (("chars", None),)),
        "replace": Filter(text_filters.replace, (("old", REQUIRED), ("new", REQUIRED), ("count", None))),
        "join": Filter(list_filters.join, (("d", ""), ("attribute", None))),
        "split": Filter(text_filters.split, (("separator", None), ("maximum", -1))),
        "first": Filter(list_filters.first),
        "last": Filter(list_filters.last),
        "length": Filter(list_filters.length),
        "unique": Filter(list_filters.unique, _CASE_AND_ATTRIBUTE),
        "sort": Filter(list_filters.sort, (("reverse", False), *_CASE_AND_ATTRIBUTE)),
        "map": Filter(
            _map, (("", NOT_GIVEN), ("attribute", NOT_GIVEN), ("default", NOT_GIVEN)), verify=_verify_map
        ),
        "select": Filter(partial(_select, keep=True), _SELECTION, verify=_verify_selection),
        "reject": Filter(partial(_select, keep=False), _SELECTION, verify=_verify_selection),
        "round": Filter(text_filters.to_round, (("precision", 0), ("method", "common"))),
        "int": Filter(text_filters.to_int, (("default", 0), ("base", 10))),
        "float": Filter(text_filters.to_float, (("default", 0.0),)),
        "string": Filter(text_filters.string),
        "abs": Filter(text_filters.absolute),
        "min": Filter(list_filters.smallest, _CASE_AND_ATTRIBUTE),
        "max": Filter(list_filters.largest, _CASE_AND_ATTRIBUTE),
        "sum": Filter(list_filters.total, (("attribute", None), ("start", 0))),
        "tojson": Filter(text_filters.tojson, (("indent", None),)),
        "date": Filter(text_filters.date, (("format", "%Y-%m-%d"), ("zone", "UTC")), verify=_verify_date),
        "plus": Filter(text_filters.plus, (("duration", REQUIRED),), verify=_verify_shift),
        "minus": Filter(text_filters.minus, (("duration", REQUIRED),), verify=_verify_shift),
        "urlencode": Filter(text_filters.urlencode),
        "b64encode": Filter(text_filters.b64encode),
        "sha256": Filter(text_filters.sha256),
        "truncate": Filter(
            text_filters.truncate, (("length", 255), ("killwords", False), ("end", "..."), ("leeway", 5))
        ),
    }
)
