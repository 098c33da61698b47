"""The cron language: five fields of names, ranges, steps and lists, or one of five words; nothing beyond them.

Days are chosen as crontab(5) has it: where neither day field begins with `*` a day that fits either is taken, else
one that fits both. When an entry comes is in outlast.runbooks.cron_times.
"""

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from outlast.limits import CRON_CHARACTERS_MAX
from outlast.runbooks.trees import suggestion

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
    }
)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Of the values, from the least on."""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field(
        "month",
        1,
        12,
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ),
    _Field("weekday", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_SUNDAY_TOO = 7
_PART = re.compile(
    r"(?:(?P<all>\*)|(?P<first>[0-9]{1,4}|[a-z]+)(?:-(?P<last>[0-9]{1,4}|[a-z]+))?)(?:/(?P<step>[0-9]{1,4}))?",
    re.ASCII,
)
_FOREIGN = (
    (re.compile(r"[^#]*#.*"), "#", "list the days of the month, and check the weekday in the condition"),
    (re.compile(r"\?"), "?", "write *"),
    (re.compile(r"h(?:[/(].*)?"), "H", "choose a value, or spread the load with jitter"),
    (
        re.compile(r"l(?:-.*|w)?|(?:[0-9]|sun|mon|tue|wed|thu|fri|sat)l"),
        "L",
        "name a day that every month has",
    ),
    (re.compile(r"[0-9]{1,2}w"), "W", "name the day of the month, or the weekdays"),
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron entry, ready to be asked. Two of the same text are equal."""

    text: str
    """As it was written, white space aside."""
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    is_elapsed: bool
    """Follows elapsed time, because some part of its hours is `*` or `*/n`; else it follows the clock on the wall."""
    is_either_day: bool
    """A day that fits one of the day fields is enough."""

    def on(self, day: date) -> bool:
        """Whether the entry comes on this day."""
        if day.month not in self.months:
            return False
        fits_month, fits_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return fits_month or fits_week if self.is_either_day else fits_month and fits_week

    def days_from(self, first: date) -> Iterator[date]:
        """The days that it comes on, in order, up to the end of the calendar."""
        year, month, day = first.year, first.month, first.day
        while year <= date.max.year:
            if month in self.months:
                for number in range(day, monthrange(year, month)[1] + 1):
                    candidate = date(year, month, number)
                    if self.on(candidate):
                        yield candidate
            day = 1
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def parse_cron(text: str) -> Cron:
    """The entry. ValueError says what was expected, and what to write instead."""
    if len(text) > CRON_CHARACTERS_MAX:
        raise ValueError(f"expected at most {CRON_CHARACTERS_MAX} characters, got {len(text)}")
    words = text.split()
    kept = " ".join(words)
    if kept.startswith("@"):
        words = _word(kept).split()
    if len(words) != len(_FIELDS):
        raise ValueError(_miscounted(len(words)))
    values = [_values(field, word.lower()) for field, word in zip(_FIELDS, words, strict=True)]
    minutes, hours, days, months, weekdays = values
    is_either_day = not words[2].startswith("*") and not words[4].startswith("*")
    if not is_either_day and all(min(days) > _MONTH_DAYS[month - 1] for month in months):
        raise ValueError(f'expected days that come, but no such month has a day {min(days)}: "{kept}"')
    return Cron(
        text=kept,
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        is_elapsed=any(part.startswith("*") for part in words[1].split(",")),
        is_either_day=is_either_day,
    )


def _word(text: str) -> str:
    meant = WORDS.get(text.lower())
    if meant is None:
        hint = suggestion(text.lower(), tuple(WORDS)) or f"; expected one of {', '.join(WORDS)}"
        raise ValueError(f'unknown word "{text[:40]}"{hint}')
    return meant


def _miscounted(count: int) -> str:
    expected = "expected five fields, minute hour day-of-month month weekday, such as 0 9 * * mon-fri"
    hint = "; leave out the seconds" if count == 6 else ""
    return f"{expected}; got {count}{hint}"


def _values(field: _Field, word: str) -> set[int]:
    return {value for part in word.split(",") for value in _part(field, part)}


def _part(field: _Field, part: str) -> Iterator[int]:
    for pattern, sign, instead in _FOREIGN:
        if pattern.fullmatch(part) and part not in field.names:
            raise ValueError(f"{field.name}: {sign} is not part of this language: {instead}")
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(_unreadable(field, part))
    step = _step(field, match["step"])
    if match["all"]:
        return iter(range(field.least, field.most + 1, step))
    first = _value(field, match["first"])
    if match["last"] is not None:
        return _range(field, first, _value(field, match["last"]), step)
    return _range(field, first, field.most if match["step"] else first, step)


def _range(field: _Field, first: int, last: int, step: int) -> Iterator[int]:
    """The values from first to last; past the end it goes on at the beginning (fri-mon, 22-2)."""
    size = field.most - field.least + 1
    if first > field.most:
        first -= size
        last = last - size if last > field.most else last
    if last < first:
        last += size
    for value in range(first, last + 1, step):
        yield (value - field.least) % size + field.least


def _step(field: _Field, text: str | None) -> int:
    step = 1 if text is None else int(text)
    if not 1 <= step <= field.most:
        raise ValueError(f"{field.name}: expected a step from 1 to {field.most}, got {step}")
    return step


def _value(field: _Field, text: str) -> int:
    if not text.isdigit():
        if text not in field.names:
            raise ValueError(_unreadable(field, text))
        return field.names.index(text) + field.least
    value = int(text)
    most = _SUNDAY_TOO if field.name == "weekday" else field.most
    if not field.least <= value <= most:
        raise ValueError(f"{field.name}: expected {field.least} to {most}, got {value}")
    return value


def _unreadable(field: _Field, part: str) -> str:
    shown = part[:40]
    if field.names and part.isalpha():
        hint = suggestion(part, field.names) or f"; expected one of {', '.join(field.names)}"
        return f'{field.name}: unknown name "{shown}"{hint}'
    return f'{field.name}: expected *, a value, a range such as 1-5 or a step such as */5, got "{shown}"'
