"""Values while a template is rendered: JSON, or undefined. Their text, their size, their equality.
 Whatever an expression does is paid for from one budget a rendered value (`Frame.charge`), and whatever it
makes is held under one cap, so that time and memory are bounded whatever the payload.
"""

import json
import math
from datetime import datetime
from typing import TypeAlias

from outlast.limits import TEMPLATE_VALUE_BYTES_MAX, TEMPLATE_WORK_MAX
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.instants import parse_instant


class Undefined:
    """What a name stands for that leads nowhere; `path` is the name as written."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


Value: TypeAlias = "Json | Undefined"


class ExpressionFailed(Exception):
    """An expression has no value. `name` is the undefined name's path, "" for other reasons."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.name = name


class Frame:
    """What one rendering reads (`names`, `now`) and what it may still spend."""

    __slots__ = ("_work", "names", "now")

    def __init__(self, names: dict[str, Json], now: datetime | None) -> None:
        self.names = names
        self.now = now
        self._work = TEMPLATE_WORK_MAX

    def charge(self, amount: int) -> None:
        """Pay for looking at so many elements or characters. ExpressionFailed when the budget is spent."""
        self._work -= amount
        if self._work < 0:
            raise ExpressionFailed("expected less work from one template: its lists or texts are too long")


def defined(value: Value) -> Json:
    """The value, unless it is undefined: that fails the rendering with its path."""
    if isinstance(value, Undefined):
        raise ExpressionFailed(f"{value.path} is undefined", value.path)
    return value


def is_number(value: Value) -> bool:
    """Whether arithmetic can use it. Booleans are not numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def text_of(value: Json) -> str:
    """The value as a part of text: null is empty; booleans, lists and objects are JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    return json_of(value)


def json_of(value: Json, indent: int | None = None) -> str:
    """The value as JSON text, within the cap."""
    check_size(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except (ValueError, RecursionError):
        raise ExpressionFailed("expected a value that JSON can write") from None


def check_size(value: Json) -> None:
    """ExpressionFailed if the value is longer than the cap: text in UTF-8, lists and objects as JSON.

    Looks at no more than the cap, even if a list repeats one large object many times.
    """
    if isinstance(value, str):
        check_length(_bytes_of(value))
    elif isinstance(value, (list, dict)):
        _check_nested(value)


def check_length(length: int) -> None:
    """ExpressionFailed if so many bytes or characters are above the cap."""
    if length > TEMPLATE_VALUE_BYTES_MAX:
        raise ExpressionFailed(f"expected a value of at most {TEMPLATE_VALUE_BYTES_MAX} bytes, got more")


def _bytes_of(text: str) -> int:
    if len(text) * 4 <= TEMPLATE_VALUE_BYTES_MAX or len(text) > TEMPLATE_VALUE_BYTES_MAX or text.isascii():
        return len(text)  # certainly below, certainly above, or exact
    return len(text.encode("utf-8", "surrogatepass"))


def _check_nested(value: list[Json] | dict[str, Json]) -> None:
    size = 0
    waiting: list[Json] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            size += _bytes_of(item) + 2
        elif isinstance(item, list):
            size += len(item) + 2
            check_length(size)
            waiting.extend(item)
        elif isinstance(item, dict):
            size += 4 * len(item) + 2
            check_length(size)
            size += sum(map(len, item))
            waiting.extend(item.values())
        else:
            size += 8 if isinstance(item, float) else 4
        check_length(size)


def equal(frame: Frame, one: Json, other: Json) -> bool:
    """As conditions compare: booleans are not numbers, two instants with a zone are instants."""
    waiting: list[tuple[Json, Json]] = [(one, other)]
    while waiting:
        left, right = waiting.pop()
        frame.charge(1)
        if left is right:
            continue
        if isinstance(left, bool) or isinstance(right, bool):
            return False  # True and False are singletons
        if isinstance(left, str) and isinstance(right, str):
            if left != right and not same_instant(left, right):
                return False
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            frame.charge(len(left))
            waiting.extend(zip(left, right, strict=True))
        elif isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            frame.charge(len(left))
            waiting.extend((left[key], right[key]) for key in left)
        elif left != right:
            return False
    return True


def same_instant(one: str, other: str) -> bool:
    """Whether both texts are instants with a zone, and the same."""
    if not (one[:1].isdigit() and other[:1].isdigit()):
        return False
    instant = parse_instant(one)
    return instant is not None and instant == parse_instant(other)


def order(one: Json, other: Json) -> int:
    """-1, 0 or 1. Numbers with numbers, instants with instants, other text as text; else ExpressionFailed."""
    if isinstance(one, str) and isinstance(other, str):
        left, right = parse_instant(one), parse_instant(other)
        if left is not None and right is not None:
            return (left > right) - (left < right)
        return (one > other) - (one < other)
    if isinstance(one, bool) or isinstance(other, bool):
        raise ExpressionFailed(f"expected two numbers or two texts to order, got {kinds(one, other)}")
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return (one > other) - (one < other)
    raise ExpressionFailed(f"expected two numbers or two texts to order, got {kinds(one, other)}")


def kinds(one: Json, other: Json) -> str:
    """What to call two values in a sentence."""
    return f"{kind_of(one)} and {kind_of(other)}"


def truth(value: Json) -> bool:
    """As Jinja has it: null, false, zero and what is empty are false."""
    return bool(value)


def finite(value: float) -> float:
    """The number, unless it is infinite or none."""
    if not math.isfinite(value):
        raise ExpressionFailed("expected a finite number")
    return value
