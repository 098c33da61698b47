"""The oracle: walks every minute of real time and reads the clock on the wall, with no idea of how far to jump."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def walk(entry: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """All times of the entry after one instant and up to another."""
    minute, hour, day, month, weekday = entry.split()
    fits = _Fits(minute, hour, day, month, weekday)
    is_elapsed = hour.startswith("*")
    first = after.replace(second=0, microsecond=0)
    # whatever the wall showed in the two days before has been shown
    shown: datetime = _wall(first - timedelta(days=2), zone)
    at, found = first - timedelta(days=2), []
    while (at := at + MINUTE) <= until:
        wall = _wall(at, zone)
        if is_elapsed:
            is_due = fits(wall)
        else:
            is_due = any(fits(each) for each in _minutes(shown, wall))
            shown = max(shown, wall)
        if is_due and at > after:
            found.append(at)
    return found


def _wall(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _minutes(shown: datetime, wall: datetime) -> Iterator[datetime]:
    """What the wall shows now for the first time, what it jumped over included."""
    while shown < wall:
        shown += MINUTE
        yield shown


class _Fits:
    """Reads numbers, `*`, `*/n`, `a-b`, `a-b/n`, `a/n` and lists, each in the dullest way."""

    def __init__(self, minute: str, hour: str, day: str, month: str, weekday: str) -> None:
        self._minutes, self._hours = _values(minute, 0, 59), _values(hour, 0, 23)
        self._days, self._months, self._weekdays = (
            _values(day, 1, 31), _values(month, 1, 12), _values(weekday, 0, 6)
        )  # fmt: skip
        self._is_either = not day.startswith("*") and not weekday.startswith("*")

    def __call__(self, wall: datetime) -> bool:
        if wall.minute not in self._minutes or wall.hour not in self._hours or wall.month not in self._months:
            return False
        in_month, in_week = wall.day in self._days, wall.isoweekday() % 7 in self._weekdays
        return (in_month or in_week) if self._is_either else (in_month and in_week)


def _values(field: str, least: int, most: int) -> set[int]:
    return {value for value in range(least, most + 1) if _fits(field, value, least, most)}


def _fits(field: str, value: int, least: int, most: int) -> bool:
    for part in field.split(","):
        values, _, step = part.partition("/")
        if values == "*":
            first, last = least, most
        elif "-" in values:
            first, last = (int(each) for each in values.split("-"))
        else:
            first, last = int(values), (most if step else int(values))
        if first <= value <= last and (value - first) % int(step or 1) == 0:
            return True
    return False


def utc(text: str) -> datetime:
    """An instant with or without its offset; without one it is UTC."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
