"""Dot paths into a payload: `finding.tags[0].name`, `asset.owners[*].team`.
 Names are separated by dots and go into objects; `[n]` and `[*]` go into arrays. Nothing else crosses an
array.
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, TypeAlias

from outlast.runbooks.documents import Json


class Absent(Enum):
    """The value of a path that leads nowhere. Not null: null is a value."""

    ABSENT = "absent"


class Each(Enum):
    """The step `[*]`: every element of an array."""

    EACH = "[*]"


ABSENT: Final = Absent.ABSENT
EACH: Final = Each.EACH

Step: TypeAlias = str | int | Each
Steps: TypeAlias = tuple[Step, ...]
Found: TypeAlias = "Json | Absent"

_INDEX_DIGITS_MAX = 9
_SEGMENT = re.compile(r"(?P<name>[^.\[\]]+)(?P<indices>(?:\[[^\[\]]*\])*)")
_INDEX = re.compile(r"\[([^\[\]]*)\]")


def parse_path(text: str) -> Steps:
    """The steps of a path. ValueError says what is malformed."""
    steps: list[Step] = []
    for segment in text.split("."):
        if not segment:
            raise ValueError(f'expected a name between dots, got "{text[:80]}"')
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ValueError(f'expected name, name[0] or name[*], got "{segment[:80]}"')
        name = match["name"]
        if name != name.strip():
            raise ValueError(f'expected a name without space around it, got "{name[:80]}"')
        if re.fullmatch("-[0-9]+", name):
            raise ValueError(f'expected an index as [n], not negative, got "{name[:80]}"')
        steps.append(name)
        steps.extend(_index(inside) for inside in _INDEX.findall(match["indices"]))
    return tuple(steps)


def _index(inside: str) -> int | Each:
    if inside == "*":
        return EACH
    if re.fullmatch(f"[0-9]{{1,{_INDEX_DIGITS_MAX}}}", inside):
        return int(inside)
    raise ValueError(f'expected an index such as [0], or [*], got "[{inside[:40]}]"')


def split_at_each(steps: Steps) -> tuple[Steps, Steps] | None:
    """The steps up to the first `[*]` and those after it; None if there is none."""
    if EACH not in steps:
        return None
    at = steps.index(EACH)
    return steps[:at], steps[at + 1 :]


def getter(steps: Steps) -> Callable[[Json], Found]:
    """A function from a payload to what stands at these steps (without `[*]`), ABSENT if nothing does."""
    match steps:
        case ():
            return lambda payload: payload
        case (str() as only,):
            return lambda payload: payload.get(only, ABSENT) if isinstance(payload, dict) else ABSENT
        case (str() as first, str() as second):

            def two(payload: Json) -> Found:
                if isinstance(payload, dict):
                    inner = payload.get(first)
                    if isinstance(inner, dict):
                        return inner.get(second, ABSENT)
                return ABSENT

            return two
        case _:
            return lambda payload: _walk(payload, steps)


def _walk(payload: Json, steps: Steps) -> Found:
    node = payload
    for step in steps:
        if isinstance(step, str):
            if not isinstance(node, dict) or step not in node:
                return ABSENT
            node = node[step]
        elif isinstance(step, int):
            if not isinstance(node, list) or step >= len(node):
                return ABSENT
            node = node[step]
        else:
            raise TypeError("expected a path without [*]")
    return node


def values_at(payload: Json, steps: Steps) -> Iterator[Json]:
    """Every value at these steps, in document order; `[*]` gives one for each element."""
    split = split_at_each(steps)
    if split is None:
        found = _walk(payload, steps)
        if found is not ABSENT:
            yield found
        return
    before, after = split
    array = _walk(payload, before)
    if isinstance(array, list):
        for item in array:
            yield from values_at(item, after)
