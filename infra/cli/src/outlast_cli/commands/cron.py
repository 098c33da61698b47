"""`outlast cron next`: when a schedule comes, without a server."""

from datetime import UTC, datetime
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import click

from outlast.runbooks.calendar_text import zone_fault, zone_named
from outlast.runbooks.cron import parse_cron
from outlast.runbooks.cron_times import next_after
from outlast.runbooks.instants import parse_datetime
from outlast_cli.batch import members_of, run_batch, takes_batch
from outlast_cli.context import as_json
from outlast_cli.failures import Failure, refuse
from outlast_cli.output import print_json

COUNT_DEFAULT = 5
COUNT_MAX = 10_000
KEYS = ("expr", "tz", "from", "count")
NEXT_STEPS = {
    "expr": 'five fields in quotes: minute hour day-of-month month weekday, such as "0 9 * * mon-fri"',
    "tz": "an IANA name, such as Europe/Berlin; UTC if it is left out",
    "from": "such as 2026-03-29T01:30:00+01:00, or 2026-03-29T00:30:00Z",
    "count": f"a whole number from 1 to {COUNT_MAX}",
}


@click.group()
def cron() -> None:
    """Schedules: try a cron entry, no server needed."""


@cron.command("next")
@click.argument("entry", nargs=-1, metavar="[EXPR]")
@click.option("--zone", "--tz", "zone", metavar="ZONE", help="IANA time zone; UTC if not given.")
@click.option(
    "--from", "start", metavar="INSTANT", help="Times strictly after this; the present if not given."
)
@click.option("--count", type=int, metavar="N", help=f"How many times; {COUNT_DEFAULT} if not given.")
@takes_batch
@as_json
def cron_next(
    entry: tuple[str, ...],
    zone: str | None,
    start: str | None,
    count: int | None,
    batch: str | None,
    is_json: bool,
) -> None:
    """The next times of a cron entry in a time zone, as the timer scheduler has them: ISO-8601, one a line.

    \b
    outlast cron next "0 9 * * mon-fri" --zone Europe/Berlin --count 3
    outlast cron next "30 2 * * *" --zone Europe/Berlin --from 2026-03-28T12:00:00Z      a day when clocks change
    echo '{"expr": "@daily", "tz": "Asia/Kolkata", "count": 2}' | outlast cron next --batch -

    \b
    --json and each line of --batch:  {"times": ["2026-03-28T09:00:00+01:00", ...]}
    A line is {"expr", "tz"?, "from"?, "count"?, "id"?}; its id comes back. What is refused is
    {"error": {"path", "message", ...}}; its path is the name of what is wrong.

    Exit status: 0 answered; 2 refused; with --batch 0 if every line was answered, if with an error.
    """
    if batch is not None:
        if entry or start is not None or count is not None or zone is not None:
            refuse("with --batch these come with each line", next_step="see --help")
        return run_batch(_line, batch)
    if len(entry) != 1:
        got = "none" if not entry else f"{len(entry)} words"
        refuse(f"expected one cron entry, got {got}", next_step=NEXT_STEPS["expr"])
    asked = {"expr": entry[0], "tz": zone, "from": start, "count": count}
    times = _times({name: value for name, value in asked.items() if value is not None})
    if is_json:
        return print_json({"times": times})
    for each in times:
        click.echo(each)
    return None


def _line(question: dict[str, Any]) -> dict[str, Any]:
    members_of(question, KEYS)
    return {"times": _times(question)}


def _times(asked: dict[str, Any]) -> list[str]:
    expr, zone, start, count = _text(asked, "expr"), _zone(asked), _start(asked), _count(asked)
    try:
        entry = parse_cron(expr)
    except ValueError as refused:
        _refuse("expr", str(refused))
    times: list[str] = []
    at: datetime | None = start
    while len(times) < count and (at := next_after(entry, zone, at)) is not None:
        times.append(at.astimezone(zone).isoformat())
    return times


def _zone(asked: dict[str, Any]) -> ZoneInfo:
    name = _text(asked, "tz") if "tz" in asked else "UTC"
    zone = zone_named(name)
    if zone is None:
        _refuse("tz", zone_fault(name) or "")
    return zone


def _start(asked: dict[str, Any]) -> datetime:
    if "from" not in asked:
        return datetime.now(UTC)
    text = _text(asked, "from")
    start = parse_datetime(text)
    if start is None:
        _refuse("from", f'expected an instant with its offset from UTC, got "{text[:60]}"')
    try:
        return start.astimezone(UTC)
    except OverflowError:
        _refuse("from", "expected an instant within the years 1 to 9999")


def _count(asked: dict[str, Any]) -> int:
    count = asked.get("count", COUNT_DEFAULT)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= COUNT_MAX:
        _refuse("count", f"expected a whole number from 1 to {COUNT_MAX}, got {str(count)[:60]}")
    return count


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        _refuse(name, f"expected {name} as text, got {'none' if value is None else type(value).__name__}")
    return value


def _refuse(path: str, message: str) -> NoReturn:
    raise Failure(message, errors=[(path, message)], next_step=NEXT_STEPS[path], status=2, code="refused")
