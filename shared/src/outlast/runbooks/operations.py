"""What each node of an expression does at run time, as closures over a frame."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from outlast.runbooks.arithmetic import calculate, whole
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.instants import format_instant
from outlast.runbooks.list_filters import NOT_GIVEN
from outlast.runbooks.predicates import Predicate, ask, is_in
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.values import (
    ExpressionFailed,
    Frame,
    Undefined,
    Value,
    check_length,
    defined,
    equal,
    order,
    text_of,
    truth,
)

_Evaluate: TypeAlias = Callable[[Frame], Value]

_INDEX_MAX = 2**31


def now(frame: Frame) -> Value:
    """The frozen now as ISO-8601 text."""
    return Undefined("now") if frame.now is None else format_instant(frame.now)


def name(key: str) -> _Evaluate:
    """A name of the payload."""
    undefined = Undefined(key)

    def look_up(frame: Frame) -> Value:
        return frame.names[key] if key in frame.names else undefined  # noqa: SIM401 - types differ

    return look_up


def keys(path: Sequence[str], shown: str) -> _Evaluate:
    """Names joined by dots: keys of objects in objects."""
    undefined = Undefined(shown)

    def look_up(frame: Frame) -> Value:
        found: Json = frame.names
        for step in path:
            if not isinstance(found, dict) or step not in found:
                return undefined
            found = found[step]
        return found

    return look_up


def key(base: _Evaluate, step: str, shown: str) -> _Evaluate:
    """A key of the object that an expression gives."""
    undefined = Undefined(shown)

    def look_up(frame: Frame) -> Value:
        found = base(frame)
        if isinstance(found, dict) and step in found:
            return found[step]
        return undefined

    return look_up


def item(base: _Evaluate, index: _Evaluate, shown: str) -> _Evaluate:
    """An element of a list, a character of text, a key of an object."""
    undefined = Undefined(shown)

    def look_up(frame: Frame) -> Value:
        at = defined(index(frame))
        found = base(frame)
        if isinstance(found, dict):
            wanted = str(at) if isinstance(at, int) and abs(at) < _INDEX_MAX else at
            return found[wanted] if isinstance(wanted, str) and wanted in found else undefined
        if isinstance(found, (list, str)) and isinstance(at, int) and not isinstance(at, bool):
            return found[at] if -len(found) <= at < len(found) else undefined
        return undefined

    return look_up


def sliced(base: _Evaluate, ends: Sequence[_Evaluate | None]) -> _Evaluate:
    """A part of a list or of text."""

    def cut(frame: Frame) -> Value:
        found = defined(base(frame))
        if not isinstance(found, (list, str)):
            raise ExpressionFailed(f"expected a list or text to slice, got {kind_of(found)}")
        start, stop, step = (None if end is None else _index(defined(end(frame))) for end in ends)
        if step == 0:
            raise ExpressionFailed("expected a step other than zero in a slice")
        part = found[start:stop:step]
        frame.charge(1 + len(part) // 16)
        return part

    return cut


def _index(value: Json) -> int | None:
    return None if value is None else whole(value, "a slice", -_INDEX_MAX, _INDEX_MAX)


def a_list(items: Sequence[_Evaluate]) -> _Evaluate:
    """A list literal; undefined if one of its elements is."""

    def make(frame: Frame) -> Value:
        made: list[Json] = []
        for evaluate in items:
            value = evaluate(frame)
            if isinstance(value, Undefined):
                return value
            made.append(value)
        return made

    return make


def an_object(pairs: Sequence[tuple[_Evaluate, _Evaluate]]) -> _Evaluate:
    """An object literal; undefined if one of its values is."""

    def make(frame: Frame) -> Value:
        made: dict[str, Json] = {}
        for evaluate_key, evaluate in pairs:
            member, value = evaluate_key(frame), evaluate(frame)
            if isinstance(member, Undefined):
                return member
            if isinstance(value, Undefined):
                return value
            if not isinstance(member, str):
                raise ExpressionFailed(f"expected text as a key, got {kind_of(member)}")
            made[member] = value
        return made

    return make


def literal_filter(run: Callable[..., Value], base: _Evaluate, arguments: Sequence[Value]) -> _Evaluate:
    """A filter whose arguments were known at save."""
    constants = tuple(arguments)
    return lambda frame: run(frame, defined(base(frame)), *constants)


def strict_filter(run: Callable[..., Value], base: _Evaluate, arguments: Sequence[_Evaluate]) -> _Evaluate:
    """A filter with computed arguments."""

    def apply(frame: Frame) -> Value:
        value = defined(base(frame))
        return run(frame, value, *[_argument(argument(frame)) for argument in arguments])

    return apply


def _argument(value: Value) -> Value:
    return value if value is NOT_GIVEN else defined(value)


def lenient_filter(run: Callable[..., Value], base: _Evaluate, arguments: Sequence[_Evaluate]) -> _Evaluate:
    """A filter for which undefined is a value: default."""
    return lambda frame: run(frame, base(frame), *[argument(frame) for argument in arguments])


def test(predicate: Predicate, base: _Evaluate, arguments: Sequence[_Evaluate]) -> _Evaluate:
    """x is defined, x is divisibleby(3)."""

    def apply(frame: Frame) -> Value:
        value = base(frame)
        return ask(frame, predicate, value, tuple(defined(argument(frame)) for argument in arguments))

    return apply


def severity(base: _Evaluate) -> _Evaluate:
    """sev(word): its rank, 0 for info to 4 for critical."""

    def rank(frame: Frame) -> Value:
        word = defined(base(frame))
        if not isinstance(word, str) or word not in SEVERITY_RANK:
            shown = f'"{word[:40]}"' if isinstance(word, str) else kind_of(word)
            raise ExpressionFailed(f"sev expects one of {', '.join(SEVERITY_RANK)}, got {shown}")
        return SEVERITY_RANK[word]

    return rank


def conditional(condition: _Evaluate, then: _Evaluate, otherwise: _Evaluate | None) -> _Evaluate:
    """then if condition else otherwise; undefined without an else."""
    nothing = Undefined("a value for if without else")

    def choose(frame: Frame) -> Value:
        if truth(defined(condition(frame))):
            return then(frame)
        return nothing if otherwise is None else otherwise(frame)

    return choose


def both(left: _Evaluate, right: _Evaluate) -> _Evaluate:
    """left and right: the first that is empty or false, else the last."""

    def conjoin(frame: Frame) -> Value:
        value = defined(left(frame))
        return right(frame) if truth(value) else value

    return conjoin


def either(left: _Evaluate, right: _Evaluate) -> _Evaluate:
    """left or right: the first that is neither empty nor false, else the last."""

    def disjoin(frame: Frame) -> Value:
        value = defined(left(frame))
        return value if truth(value) else right(frame)

    return disjoin


def negated(inner: _Evaluate) -> _Evaluate:
    """not inner."""
    return lambda frame: not truth(defined(inner(frame)))


def arithmetic(symbol: str, left: _Evaluate, right: _Evaluate) -> _Evaluate:
    """left + right and the like, on numbers."""
    return lambda frame: calculate(symbol, defined(left(frame)), defined(right(frame)))


def concatenated(parts: Sequence[_Evaluate]) -> _Evaluate:
    """a ~ b: their texts, one after the other."""

    def concatenate(frame: Frame) -> Value:
        texts: list[str] = []
        size = 0
        for part in parts:
            text = text_of(defined(part(frame)))
            size += len(text)
            check_length(size)
            texts.append(text)
        frame.charge(1 + size // 16)
        return "".join(texts)

    return concatenate


def comparison(first: _Evaluate, rest: Sequence[tuple[str, _Evaluate]]) -> _Evaluate:
    """a < b <= c, each pair in turn."""

    def compare(frame: Frame) -> Value:
        left = defined(first(frame))
        for symbol, evaluate in rest:
            right = defined(evaluate(frame))
            if not _holds(frame, symbol, left, right):
                return False
            left = right
        return True

    return compare


def _holds(frame: Frame, symbol: str, left: Json, right: Json) -> bool:
    match symbol:
        case "eq":
            return equal(frame, left, right)
        case "ne":
            return not equal(frame, left, right)
        case "in":
            return is_in(frame, left, right)
        case "notin":
            return not is_in(frame, left, right)
        case "lt":
            return order(left, right) < 0
        case "lteq":
            return order(left, right) <= 0
        case "gt":
            return order(left, right) > 0
        case _:
            return order(left, right) >= 0
