"""Tables for people, JSON for scripts. What a script reads goes to stdout and is stable; all else to stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    "success": "green",
    "active": "green",
    "ready": "green",
    "create": "green",
    "failed": "red",
    "refused": "red",
    "partial": "yellow",
    "update": "yellow",
    "running": "cyan",
    "waiting": "cyan",
    "queued": "cyan",
    "cancelled": "yellow",
    "tripped": "red",
    "skipped": "dim",
    "unchanged": "dim",
    "inactive": "dim",
}


WIDTH_WITHOUT_TERMINAL = 200


def console(*, to_stderr: bool = False) -> Console:
    """A console that is as wide as the terminal, and wide enough where there is none."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL,
        highlight=False,
        soft_wrap=False,
    )


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or the sentence that says why there is none."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in {"id", "run", "status"}, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(coloured(cell) for cell in row))
        count += 1
    if count:
        console().print(table)
    else:
        click.echo(empty)


def coloured(value: object) -> Text:
    """A cell; words that are a status have their colour."""
    text = "" if value is None else str(value)
    return Text(text, style=COLOURS.get(text, ""))


def ago(instant: str | None, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    if instant is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(instant)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def milliseconds(value: float | None) -> str:
    """A duration as people read it."""
    if value is None:
        return ""
    return (
        f"{value / 1000:.1f} s"
        if value >= 10_000
        else f"{value:.0f} ms"
        if value >= 10
        else f"{value:.1f} ms"
    )


def printable(text: str) -> str:
    """Text from outside without what a terminal would obey (escape sequences, NUL)."""
    return "".join(
        c
        if c in "\n\t" or (c.isprintable() and not "\ud800" <= c <= "\udfff")
        else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def pretty(value: object) -> str:
    """A JSON value, indented, safe for a terminal."""
    return printable(json.dumps(value, ensure_ascii=False, indent=2))
