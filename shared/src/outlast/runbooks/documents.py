"""JSON values: what payloads and definitions are made of, and the bytes that identify them."""

import hashlib
import math
import re
from datetime import date, datetime
from typing import TypeAlias, cast

import msgspec

from outlast.limits import DEFINITION_DEPTH_MAX
from outlast.runbooks.faults import DefinitionFault, element, member

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A decoded JSON value: plain dicts and lists, never subclasses that behave otherwise."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_INTEGER_BITS_MAX = 1024


def canonical(document: Json) -> bytes:
    """The one byte form of a document: sorted keys, no white space, UTF-8."""
    return msgspec.json.encode(document, order="sorted")


def digest(data: bytes) -> str:
    """The name of a canonical document: its sha256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def text_fault(text: str) -> str | None:
    """Why this text cannot be stored or sent, None if it can."""
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    if found.group() == "\x00":
        return f"expected text without NUL characters, got one at {found.start()}"
    return f"expected Unicode text, got a lone surrogate at {found.start()}"


def document_faults(document: object, at: str = "") -> list[DefinitionFault]:
    """Why this value is not a storable JSON document; empty if it is one."""
    faults: list[DefinitionFault] = []
    waiting: list[tuple[object, str, int]] = [(document, at, 0)]
    while waiting:
        value, path, depth = waiting.pop()
        if isinstance(value, str):
            if (message := text_fault(value)) is not None:
                faults.append(DefinitionFault(path, message))
        elif isinstance(value, float):
            if not math.isfinite(value):
                faults.append(DefinitionFault(path, f"expected a finite number, got {value}"))
        elif isinstance(value, int):
            if value.bit_length() > _INTEGER_BITS_MAX:
                faults.append(DefinitionFault(path, f"expected a number of at most {_INTEGER_BITS_MAX} bits"))
        elif isinstance(value, (list, dict)) and depth >= DEFINITION_DEPTH_MAX:
            faults.append(DefinitionFault(path, f"expected at most {DEFINITION_DEPTH_MAX} levels of nesting"))
        elif isinstance(value, list):
            items = cast("list[object]", value)
            waiting.extend(
                (item, element(path, i), depth + 1) for i, item in reversed(list(enumerate(items)))
            )
        elif isinstance(value, dict):
            members = cast("dict[object, object]", value)
            for key, item in reversed(list(members.items())):
                if not isinstance(key, str):
                    hint = " (YAML reads a bare on, yes or true so)" if key is True else ""
                    message = f"expected text as a key, got {key!r}{hint}: put it in quotes"
                    faults.append(DefinitionFault(path, message))
                elif (message := text_fault(key)) is not None:
                    faults.append(DefinitionFault(path, f"in a key: {message}"))
                else:
                    waiting.append((item, member(path, key), depth + 1))
        elif isinstance(value, (datetime, date)):
            faults.append(
                DefinitionFault(path, f"expected text, got a date: put {value.isoformat()} in quotes")
            )
        elif value is not None:
            faults.append(DefinitionFault(path, f"expected a JSON value, got {type(value).__name__}"))
    return faults


def kind_of(value: object) -> str:
    """What to call a JSON value in a sentence for users."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__
