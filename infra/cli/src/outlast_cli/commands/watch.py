"""`outlast run watch`: one run step by step until its end, or every run as it changes."""

import json
import time
from typing import Any

import click

from outlast_cli.client import Client
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import refuse
from outlast_cli.follow import INTERVAL_SECONDS, INTERVAL_SECONDS_LEAST, Patience, RunChanges
from outlast_cli.output import COLOURS, milliseconds, printable
from outlast_cli.waits import in_short, remaining

GOOD = {"success", "skipped"}


@click.command("watch")
@click.argument("run_id", metavar="[ID]", required=False)
@click.option("--runbook", metavar="NAME", help="Without ID: only runs of this runbook.")
@click.option(
    "--interval", metavar="SECONDS", default=INTERVAL_SECONDS, show_default=True,
    type=click.FloatRange(min=INTERVAL_SECONDS_LEAST), help="How often to ask; at least 0.5.",
)  # fmt: skip
@as_json
@pass_session
def watch(session: Session, run_id: str | None, runbook: str | None, interval: float, is_json: bool) -> None:
    """Follow one run, each event as it is recorded, until it ends; or all runs, until Ctrl-C.

    \b
    With ID the exit status says how the run came out: 0 success or skipped, 1 anything else.
    --json prints one object a line: history events with ID, runs without.
    """
    if run_id is None:
        _watch_all(session.client(), runbook, interval, is_json)
    elif runbook is not None:
        refuse("expected either ID or --runbook", next_step="outlast run watch ID, or: --runbook NAME")
    else:
        raise click.exceptions.Exit(_watch_one(session.client(), run_id, interval, is_json))


def _watch_one(client: Client, run_id: str, interval: float, is_json: bool) -> int:
    patience, teller, after = Patience(), Teller(), 0
    while True:
        page = patience.ask(lambda: client.get(f"/executions/{run_id}/history", after=after))  # noqa: B023 asked now
        for event in page["items"] if page else ():
            after = event["seq"]
            if is_json:
                click.echo(json.dumps({"run": run_id} | event, ensure_ascii=False))
            elif line := teller.line(event):
                click.echo(line)
            kind = event["type"].partition(".")[0]
            if kind in {"workflow_completed", "workflow_failed", "workflow_cancelled"}:
                ends = {"workflow_failed": "failed", "workflow_cancelled": "cancelled"}
                status = ends.get(kind) or event["data"].get("status", "success")
                return 0 if status in GOOD else 1
        if page is None or page["next"] is None:
            time.sleep(interval)


def _watch_all(client: Client, runbook: str | None, interval: float, is_json: bool) -> None:
    patience, changes = Patience(), RunChanges(client, runbook)
    click.echo(f"asking every {interval:g} s; Ctrl-C ends it", err=True)
    while True:
        for run in patience.ask(changes.round) or ():
            click.echo(json.dumps(run, ensure_ascii=False) if is_json else run_line(run))
        time.sleep(interval)


def run_line(run: dict[str, Any]) -> str:
    """One run as it is now."""
    steps = ", ".join(f"{count} {status}" for status, count in sorted(run["steps"].items()))
    parts = [steps, milliseconds(run["duration_ms"]), in_short(run.get("waits") or ())]
    at = _clock(run["finished_at"] or run["started_at"])
    said = " · ".join(part for part in parts if part)
    return f"{at}  {run['id']}  {run['runbook']}  {_coloured(run['status'])}  {said}".rstrip()


class Teller:
    """Tells the events of one history to people; remembers which step a timer belongs to."""

    def __init__(self) -> None:
        self._timers: dict[str, dict[str, Any]] = {}

    def line(self, event: dict[str, Any]) -> str:
        """What one event says; "" for what an earlier or a later event says too."""
        kind, data = event["type"].partition(".")[0], event["data"]
        if kind == "timer_started":
            self._timers[data["timer_id"]] = data
        told = _told(kind, data, self._timers.get(data.get("timer_id", ""), {}))
        if told is None:
            return ""
        step, word, said = told
        text = printable(said)
        return f"{_clock(event['at'])}  {printable(step):<24} {_coloured(word)}{f'  {text}' if text else ''}"


def _told(kind: str, data: dict[str, Any], timer: dict[str, Any]) -> tuple[str, str, str] | None:
    step = str(data.get("activity_id") or timer.get("activity_id") or "")
    attempt = data.get("attempt", 1)
    match kind:
        case "workflow_started":
            runbook, event = data.get("runbook") or {}, data.get("event") or {}
            return (
                str(runbook.get("name", "run")),
                "running",
                f"fired by {event.get('type')} {event.get('id')}",
            )
        case "activity_scheduled":
            again = f", attempt {attempt}" if attempt > 1 else ""
            return step, "running", f"{data.get('action', '')}{again}"
        case "activity_completed":
            return step, "success", milliseconds(data.get("duration_ms"))
        case "activity_failed":
            error = data.get("error") or {}
            return step, "failed", f"attempt {attempt}: {error.get('code')}: {error.get('message')}"
        case "activity_skipped":
            return step, "skipped", str(data.get("reason", ""))
        case "timer_started":
            word = {"sleep": "sleeps", "retry": "tries again", "timeout": "times out", "cancel": "gives up"}
            until = data["fire_at"]
            said = f"{word.get(str(data['purpose']), data['purpose'])} {remaining(until)} ({until})"
            return step, "waiting", said
        case "signal_awaited":
            key = f" with the key {data['key']}" if data.get("key") else ""
            return step, "waiting", f"for the signal {data.get('signal')}{key}"
        case "signal_received":
            return "", "signal", f"{data.get('name')} ({data.get('signal_id')}) from {data.get('sent_by')}"
        case "signal_consumed" | "timer_cancelled" | "timer_fired":
            return None
        case "workflow_completed":
            return "the run", str(data.get("status", "success")), ""
        case "workflow_failed":
            error = data.get("error") or {}
            return "the run", "failed", f"{error.get('code', '')} {error.get('message', '')}".strip()
        case "cancel_requested":
            why = f": {data['reason']}" if data.get("reason") else ""
            return "the run", "cancelling", f"by {data.get('by') or 'its inline run'}{why}"
        case "workflow_cancelled":
            return "the run", "cancelled", ""
        case "slot_asked":
            return step, "waiting", "for a slot of its runbook"
        case _:
            return step, kind, ""


def _clock(instant: str | None) -> str:
    return (instant or "")[11:19]


def _coloured(word: str) -> str:
    colour = COLOURS.get(word)
    return click.style(word, fg=None if colour == "dim" else colour)
