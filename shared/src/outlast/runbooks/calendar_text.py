"""Instants in templates: `date` with a format and a zone, `plus` and `minus` a duration.

strftime is not used: its directives take widths (`%999999d`) and depend on the machine's locale.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from outlast.runbooks.instants import format_instant, fraction_and_zone, parse_datetime

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_FORMAT_CHARACTERS_MAX = 200


def _offset(at: datetime) -> str:
    return at.isoformat()[-6:].replace(":", "")


DIRECTIVES: Mapping[str, Callable[[datetime], str]] = MappingProxyType(
    {
        "Y": lambda at: f"{at.year:04}",
        "y": lambda at: f"{at.year % 100:02}",
        "m": lambda at: f"{at.month:02}",
        "B": lambda at: _MONTHS[at.month - 1],
        "b": lambda at: _MONTHS[at.month - 1][:3],
        "d": lambda at: f"{at.day:02}",
        "j": lambda at: f"{at.timetuple().tm_yday:03}",
        "A": lambda at: _DAYS[at.weekday()],
        "a": lambda at: _DAYS[at.weekday()][:3],
        "u": lambda at: str(at.isoweekday()),
        "G": lambda at: f"{at.isocalendar().year:04}",
        "V": lambda at: f"{at.isocalendar().week:02}",
        "H": lambda at: f"{at.hour:02}",
        "I": lambda at: f"{(at.hour - 1) % 12 + 1:02}",
        "p": lambda at: "AM" if at.hour < 12 else "PM",
        "M": lambda at: f"{at.minute:02}",
        "S": lambda at: f"{at.second:02}",
        "f": lambda at: f"{at.microsecond:06}",
        "z": _offset,
        "Z": lambda at: at.tzname() or "",
        "F": lambda at: f"{at.year:04}-{at.month:02}-{at.day:02}",
        "T": lambda at: f"{at.hour:02}:{at.minute:02}:{at.second:02}",
        "%": lambda _: "%",
    }
)
"""What may follow % in a date format; names are English."""


def format_fault(text: str) -> str | None:
    """Why this is no date format, None if it is one."""
    if len(text) > _FORMAT_CHARACTERS_MAX:
        return f"expected a date format of at most {_FORMAT_CHARACTERS_MAX} characters"
    for directive in re.findall("%(.?)", text, re.DOTALL):
        if directive not in DIRECTIVES:
            return f'expected %{", %".join(DIRECTIVES)} in a date format, got "%{directive}"'
    return None


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of this IANA name, None if there is none. Reads the zone's data once."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def zone_fault(name: str) -> str | None:
    """Why this is no zone, None if it is one."""
    return None if zone_named(name) else f'expected a time zone such as "Europe/Berlin", got "{name[:60]}"'


def format_in_zone(text: str, format_text: str, zone: str) -> str:
    """An instant's text in a format and a zone. ValueError says what is wrong."""
    instant = _instant(text)
    fault = format_fault(format_text) or zone_fault(zone)
    if fault is not None:
        raise ValueError(fault)
    try:
        local = instant.astimezone(zone_named(zone))
    except OverflowError:
        raise ValueError(f'expected an instant within the years 1 to 9999, got "{text}"') from None
    return re.sub("%(.)", lambda match: DIRECTIVES[match[1]](local), format_text, flags=re.DOTALL)


def shift(text: str, duration: timedelta) -> str:
    """The instant's text moved by a duration of whole seconds; zone and fraction stay as they are written."""
    instant = _instant(text)
    try:
        moved = instant.replace(tzinfo=None, microsecond=0) + duration
    except OverflowError:
        raise ValueError(
            f'expected an instant within the years 1 to 9999, got "{text}" and a shift'
        ) from None
    return format_instant(moved) + fraction_and_zone(text)


def _instant(text: str) -> datetime:
    instant = parse_datetime(text)
    if instant is None:
        raise ValueError(f'expected an ISO-8601 instant with a zone, got "{text[:60]}"')
    return instant
