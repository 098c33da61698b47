"""Instants in payloads: ISO-8601 text with a zone. Without a zone it is no instant, only text."""

import re
from datetime import UTC, datetime

_INSTANT = re.compile(
    r"""(?P<date> [0-9]{4} (?: -[0-9]{2}-[0-9]{2} | [0-9]{4} | -W[0-9]{2}-[0-9] | W[0-9]{3} ) )
        [Tt\ ]
        (?P<clock> [0-9]{2} (?: :[0-9]{2} (?: :[0-9]{2} )? | [0-9]{2} (?: [0-9]{2} )? )? )
        (?: [.,] (?P<fraction> [0-9]+ ) )?
        (?P<zone> [Zz] | [+-][0-9]{2} (?: :?[0-9]{2} )? )?""",
    re.VERBOSE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS = 1_000_000_000


def nanoseconds(instant: datetime) -> int:
    """Nanoseconds since 1970 of an instant with a zone. TypeError if it has none."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NANOSECONDS + since.microseconds * 1_000


def parse_instant(text: str) -> int | None:
    """Nanoseconds since 1970 of ISO-8601 text with a zone; None for any other text.

    The zone is Z, +hh, +hhmm or +hh:mm; T may be a space; digits past the ninth after the point are dropped.
    """
    match = _INSTANT.fullmatch(text)
    if match is None or match["zone"] is None:
        return None
    whole = _whole(match)
    if whole is None:
        return None
    fraction = match["fraction"]
    return nanoseconds(whole) + (int(fraction[:9].ljust(9, "0")) if fraction else 0)


def parse_datetime(text: str) -> datetime | None:
    """The instant in its own zone, to the microsecond; None unless the text is an instant with a zone."""
    match = _INSTANT.fullmatch(text)
    if match is None or match["zone"] is None:
        return None
    whole = _whole(match)
    if whole is None:
        return None
    fraction = match["fraction"]
    return whole.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if fraction else whole


def fraction_and_zone(text: str) -> str:
    """The end of an instant's text that a shift by whole seconds leaves as it is: ".250Z", "+02:00"."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        return ""
    return (f".{match['fraction']}" if match["fraction"] else "") + (match["zone"] or "")


def lacks_zone(text: str) -> bool:
    """Whether the text would be an instant if it only had a zone."""
    match = _INSTANT.fullmatch(text)
    return match is not None and match["zone"] is None and _whole(match) is not None


def format_instant(instant: datetime) -> str:
    """ISO-8601 text; UTC is written Z."""
    text = instant.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _whole(match: re.Match[str]) -> datetime | None:
    if match["fraction"] is not None and len(match["clock"].replace(":", "")) != 6:
        return None  # a fraction belongs to seconds
    zone = (match["zone"] or "").upper()
    try:
        return datetime.fromisoformat(f"{match['date']}T{match['clock']}{zone}")
    except ValueError:
        return None
