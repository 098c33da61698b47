"""Arithmetic in templates: numbers only, results bounded before they are computed."""

import math
import operator
from collections.abc import Callable

from outlast.limits import INTEGER_MAX
from outlast.runbooks.documents import Json
from outlast.runbooks.values import ExpressionFailed, finite, kinds

_BITS_MAX = INTEGER_MAX.bit_length()
_OPERATIONS: dict[str, Callable[[int | float, int | float], int | float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda one, other: one / other,
    "//": lambda one, other: one // other,
    "%": operator.mod,
}


def number(value: Json, what: str) -> int | float:
    """The value as a bounded number. ExpressionFailed if it is none (text and booleans are not)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionFailed(f"expected a number for {what}, got {_shown(value)}")
    return bounded(value)


def whole(value: Json, what: str, least: int, most: int) -> int:
    """The value as a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ExpressionFailed(
            f"expected a whole number from {least} to {most} for {what}, got {_shown(value)}"
        )
    return value


def bounded(value: int | float) -> int | float:
    """The number, unless it is too large or not finite."""
    if isinstance(value, float):
        return finite(value)
    if abs(value) > INTEGER_MAX:
        raise ExpressionFailed(f"expected a number of at most {_BITS_MAX} bits")
    return value


def calculate(symbol: str, one: Json, other: Json) -> int | float:
    """one + other and so on. ExpressionFailed for no numbers, division by zero, huge results."""
    if isinstance(one, bool) or isinstance(other, bool):
        raise ExpressionFailed(f"expected numbers around {symbol}, got {kinds(one, other)}")
    if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
        hint = "; ~ joins texts" if symbol == "+" else ""
        raise ExpressionFailed(f"expected numbers around {symbol}, got {kinds(one, other)}{hint}")
    left, right = bounded(one), bounded(other)
    try:
        return bounded(power(left, right) if symbol == "**" else _OPERATIONS[symbol](left, right))
    except ZeroDivisionError:
        raise ExpressionFailed(f"expected a divisor other than zero in {symbol}") from None
    except OverflowError:
        raise ExpressionFailed(f"expected a number of at most {_BITS_MAX} bits from {symbol}") from None


def power(base: int | float, exponent: int | float) -> int | float:
    """base ** exponent; refuses before computing what would not fit."""
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1:
        if exponent * math.log2(abs(base)) > _BITS_MAX + 1:
            raise OverflowError
    elif base < 0 and exponent != int(exponent):
        raise ExpressionFailed("expected a real number from **")
    result: object = base**exponent
    if not isinstance(result, (int, float)):
        raise ExpressionFailed("expected a real number from **")
    return result


def _shown(value: Json) -> str:
    match value:
        case str():
            return f'text ("{value[:40]}")'
        case list() | dict():
            return "a list or an object"
        case _:
            return str(value) if not isinstance(value, int) or value.bit_length() < 128 else "a huge number"
