"""Durations as users write them: digits and one of s, m, h, d."""

import re
from datetime import timedelta

_DURATION = re.compile(r"([0-9]{1,15})([smhd])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_duration(text: str) -> timedelta:
    """The duration that "30s", "5m", "2h" or "7d" names. ValueError says what was expected."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'expected a duration such as "30s", "5m", "2h" or "7d", got "{text[:40]}"')
    try:
        return int(match[1]) * _UNITS[match[2]]
    except OverflowError:
        raise ValueError(f'expected a duration of less than a million years, got "{text[:40]}"') from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads as this duration of whole seconds."""
    seconds = duration // _UNITS["s"]
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
