"""Filters that make text, numbers and instants. Each pays for what it reads, and caps what it makes."""

import base64
import hashlib
import math
import re
from typing import cast
from urllib.parse import quote, quote_plus

from outlast.limits import INTEGER_MAX
from outlast.runbooks.arithmetic import bounded, number, whole
from outlast.runbooks.calendar_text import format_in_zone, shift
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.values import (
    ExpressionFailed,
    Frame,
    check_length,
    check_size,
    json_of,
    text_of,
    truth,
)

_WORD_START = re.compile(r"([-\s({\[<]+)")
_SPLITS_MAX = 100_000
_COUNT_MAX = 2**31


def readable(frame: Frame, value: Json) -> str:
    """The value's text, paid for."""
    text = text_of(value)
    frame.charge(1 + len(text) // 16)
    return text


def literal(value: Json, what: str) -> str:
    """An argument that must be text."""
    if not isinstance(value, str):
        raise ExpressionFailed(f"expected text for {what}, got {kind_of(value)}")
    return value


def capped(text: str) -> str:
    """The text, unless it is above the cap."""
    check_size(text)
    return text


def upper(frame: Frame, value: Json) -> str:
    """ "a" to "A"."""
    return capped(readable(frame, value).upper())


def lower(frame: Frame, value: Json) -> str:
    """ "A" to "a"."""
    return capped(readable(frame, value).lower())


def title(frame: Frame, value: Json) -> str:
    """Each word with a capital, the rest small."""
    words = _WORD_START.split(readable(frame, value))
    frame.charge(len(words))
    return capped("".join(word[0].upper() + word[1:].lower() for word in words if word))


def trim(frame: Frame, value: Json, characters: Json) -> str:
    """Without white space, or these characters, at its ends."""
    return readable(frame, value).strip(None if characters is None else literal(characters, "trim"))


def replace(frame: Frame, value: Json, old: Json, new: Json, count: Json) -> str:
    """Every occurrence (or the first `count`) of a text replaced; the length is known before."""
    text, before, after = readable(frame, value), literal(old, "replace"), readable(frame, new)
    most = -1 if count is None else whole(count, "the count of replace", 0, _COUNT_MAX)
    found = text.count(before) if most < 0 else min(text.count(before), most)
    check_length(len(text) + found * (len(after) - len(before)))
    return capped(text.replace(before, after, most))


def split(frame: Frame, value: Json, separator: Json, most: Json) -> Json:
    """The parts between separators (or white space)."""
    text = readable(frame, value)
    times = whole(most, "the maximum of split", -1, _COUNT_MAX)
    if separator is None:
        parts = text.split(None, times)
    else:
        by = literal(separator, "split")
        if not by:
            raise ExpressionFailed("expected a separator that is not empty for split")
        if text.count(by) > _SPLITS_MAX:
            raise ExpressionFailed(f"expected at most {_SPLITS_MAX} parts from split")
        parts = text.split(by, times)
    frame.charge(len(parts))
    return cast("list[Json]", parts)


def string(frame: Frame, value: Json) -> str:
    """The value's text."""
    return readable(frame, value)


def tojson(frame: Frame, value: Json, indent: Json) -> str:
    """The value as JSON, text in quotes; on several lines if it is to be indented."""
    spaces = None if indent is None else whole(indent, "the indent of tojson", 0, 8)
    text = json_of(value, spaces)
    frame.charge(len(text) // 16)
    return capped(text)


def truncate(frame: Frame, value: Json, length: Json, cuts_words: Json, end: Json, leeway: Json) -> str:
    """At most `length` characters with `end`, cut at a space; `leeway` more stay whole."""
    if isinstance(value, str):
        frame.charge(1 + len(value) // 1024)
        text = value
    else:
        text = readable(frame, value)
    mark = literal(end, "the end of truncate")
    most = whole(length, "the length of truncate", len(mark), _COUNT_MAX)
    if len(text) <= most + whole(leeway, "the leeway of truncate", 0, _COUNT_MAX):
        return text
    start = text[: most - len(mark)]
    return capped((start if truth(cuts_words) else start.rsplit(" ", 1)[0]) + mark)


def urlencode(frame: Frame, value: Json) -> str:
    """Percent-encoded text; an object becomes a query string."""
    if isinstance(value, dict):
        check_size(value)
        frame.charge(len(value))
        pairs = (f"{_query(key)}={_query(text_of(item))}" for key, item in value.items())
        return capped("&".join(pairs))
    text = readable(frame, value)
    check_size(text)
    return capped(quote(text, safe="/", errors="replace"))


def _query(text: str) -> str:
    return quote_plus(text, errors="replace")


def b64encode(frame: Frame, value: Json) -> str:
    """Base 64 of the text's UTF-8."""
    data = _utf8(frame, value)
    check_length(len(data))
    return capped(base64.b64encode(data).decode())


def sha256(frame: Frame, value: Json) -> str:
    """The hexadecimal digest of the text's UTF-8."""
    return hashlib.sha256(_utf8(frame, value)).hexdigest()


def _utf8(frame: Frame, value: Json) -> bytes:
    return readable(frame, value).encode("utf-8", "replace")


def to_round(_frame: Frame, value: Json, precision: Json, method: Json) -> int | float:
    """To so many digits; "common" rounds half to even, "ceil" up, "floor" down."""
    operand = number(value, "round")
    digits = whole(precision, "the precision of round", -18, 18)
    if method == "common":
        return bounded(round(operand, digits))
    if method not in ("ceil", "floor"):
        raise ExpressionFailed('expected "common", "ceil" or "floor" as the method of round')
    function = math.ceil if method == "ceil" else math.floor
    try:
        return bounded(function(operand * 10.0**digits) / 10.0**digits)
    except OverflowError:
        raise ExpressionFailed("expected a smaller number for round") from None


def to_int(frame: Frame, value: Json, default: Json, base: Json) -> Json:
    """A whole number: text is read in `base`, fractions are cut; `default` if that is impossible."""
    radix = whole(base, "the base of int", 2, 36)
    frame.charge(1)
    try:
        if isinstance(value, str):
            return _within(_int_of(value, radix))
        return _within(int(number(value, "int")) if not isinstance(value, bool) else int(value))
    except (ExpressionFailed, ValueError, OverflowError):
        return default


def _int_of(text: str, base: int) -> int:
    if len(text) > 100:
        raise ValueError("too long")
    try:
        return int(text, base)
    except ValueError:
        return int(float(text))


def _within(result: int) -> int:
    if abs(result) > INTEGER_MAX:
        raise OverflowError
    return result


def to_float(frame: Frame, value: Json, default: Json) -> Json:
    """A number with a fraction; `default` if that is impossible."""
    frame.charge(1)
    try:
        if isinstance(value, str):
            if len(value) > 100:
                return default
            result = float(value)
        else:
            result = float(number(value, "float")) if not isinstance(value, bool) else float(value)
    except (ExpressionFailed, ValueError, OverflowError):
        return default
    return result if math.isfinite(result) else default


def absolute(_frame: Frame, value: Json) -> int | float:
    """Without its sign."""
    return abs(number(value, "abs"))


def date(frame: Frame, value: Json, form: Json, zone: Json) -> str:
    """An instant in a format (strftime's directives, English names) and a time zone."""
    frame.charge(20)
    try:
        return format_in_zone(literal(value, "date"), literal(form, "date's format"), literal(zone, "zone"))
    except ValueError as error:
        raise ExpressionFailed(str(error)) from None


def plus(frame: Frame, value: Json, duration: Json) -> str:
    """An instant, later by a duration."""
    return _shift(frame, value, duration, 1)


def minus(frame: Frame, value: Json, duration: Json) -> str:
    """An instant, earlier by a duration."""
    return _shift(frame, value, duration, -1)


def _shift(frame: Frame, value: Json, duration: Json, sign: int) -> str:
    frame.charge(10)
    try:
        return shift(literal(value, "an instant"), sign * parse_duration(literal(duration, "a duration")))
    except ValueError as error:
        raise ExpressionFailed(str(error)) from None
