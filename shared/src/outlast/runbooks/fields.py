"""Reads the members of one object of a document; what is wrong is added to a list, and reading goes on."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.faults import DefinitionFault, member
from outlast.runbooks.trees import suggestion

_MEANT = {"on": "rules", "triggers": "rules", "if": "condition", "do": "actions", "steps": "actions"}
"""What other products call the same thing."""
_Word = TypeVar("_Word", bound=str)


class FieldReader:
    """The members of the object that stands at `at`."""

    def __init__(self, members: dict[str, Json], at: str, faults: list[DefinitionFault]) -> None:
        self._members = members
        self._at = at
        self._faults = faults

    def fault(self, key: str, message: str) -> None:
        """Something is wrong with this member."""
        self._faults.append(DefinitionFault(member(self._at, key), message))

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """A fault for every key that is not known, with a suggestion."""
        words = tuple(known)
        for key in self._members:
            if key not in words:
                meant = _MEANT.get(key)
                hint = f'; did you mean "{meant}"?' if meant in words else suggestion(key, words)
                self.fault(key, f'unknown key "{key[:60]}"{hint}')

    def required(self, key: str) -> Json:
        """The member, or None and a fault if there is none."""
        if self._members.get(key) is None:
            self.fault(key, f"expected {key}, got none")
        return self._members.get(key)

    def text(self, key: str, default: str | None, characters_max: int) -> str:
        """A text; "" after a fault. Required, and not empty, if the default is None."""
        value = self._members.get(key, default)
        if value is None and default is None:
            self.required(key)
            return ""
        if not isinstance(value, str):
            self.fault(key, f"expected text, got {kind_of(value)}")
            return ""
        if len(value) > characters_max:
            self.fault(key, f"expected at most {characters_max} characters, got {len(value)}")
        elif default is None and not value:
            self.fault(key, f"expected {key}, got empty text")
        return value

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """true or false."""
        value = self._members.get(key, default)
        if isinstance(value, bool):
            return value
        self.fault(key, f"expected true or false, got {kind_of(value)}")
        return default

    def one_of(self, key: str, words: Sequence[_Word], default: _Word | None) -> _Word | None:
        """One of some words."""
        value = self._members.get(key, default)
        for word in words:
            if word == value:
                return word
        if key in self._members:
            shown = f'"{value[:60]}"' if isinstance(value, str) else kind_of(value)
            self.fault(key, f"expected one of {', '.join(words)}, got {shown}")
        return default

    def duration(self, key: str, default: timedelta, least: timedelta, most: timedelta) -> timedelta:
        """A duration within bounds."""
        if key not in self._members:
            return default
        value = self._members[key]
        if not isinstance(value, str):
            self.fault(key, f'expected a duration such as "30s", got {kind_of(value)}')
            return default
        try:
            duration = parse_duration(value)
        except ValueError as error:
            self.fault(key, str(error))
            return default
        if not least <= duration <= most:
            self.fault(key, f"expected a duration from {_seconds(least)} to {_seconds(most)}, got {value}")
        return duration

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number within bounds."""
        value = self._members.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fault(key, f"expected a number, got {kind_of(value)}")
            return default
        if not least <= value <= most:
            self.fault(key, f"expected a number from {least:g} to {most:g}, got {value:g}")
        return value

    def whole_number(self, key: str, default: int | None, least: int, most: int) -> int:
        """A whole number within bounds; required if the default is None."""
        value = self._members.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = value if isinstance(value, (int, float)) else kind_of(value)
            self.fault(key, f"expected a whole number from {least} to {most}, got {shown}")
            return least
        return value


def _seconds(duration: timedelta) -> str:
    return f"{duration // timedelta(seconds=1)}s"
