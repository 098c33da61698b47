"""`outlast run watch`: one run step by step until its end, or every run as it changes."""

import json
import time
from typing import Any

import click

from outlast_cli import held
from outlast_cli.client import Client
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import refuse
from outlast_cli.follow import INTERVAL_SECONDS, INTERVAL_SECONDS_LEAST, Patience, RunChanges
from outlast_cli.output import COLOURS, milliseconds, printable
from outlast_cli.waits import in_short, remaining

GOOD = {"success", "skipped"}
ENDS = {"workflow_completed": "", "workflow_failed": "failed", "workflow_cancelled": "cancelled"}
"""The events that end a history, and the status that they mean; "" if the event says it."""


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
    --json prints one object a line: history events with ID (what has no history of its own: changes of its
    status), runs without.
    """
    if run_id is None:
        _watch_all(session.client(), runbook, interval, is_json)
    elif runbook is not None:
        refuse("expected either ID or --runbook", next_step="outlast run watch ID, or: --runbook NAME")
    else:
        raise click.exceptions.Exit(_watch_one(session.client(), run_id, interval, is_json))


def _watch_one(client: Client, run_id: str, interval: float, is_json: bool) -> int:
    """A durable run by its history; a run that has none of its own (queued, inline, shadow) by its record."""
    follower = _Follower(client, run_id, is_json)
    while True:
        ended, is_more = follower.round()
        if ended is not None:
            return 0 if ended in GOOD else 1
        if not is_more:
            time.sleep(interval)


class _Follower:
    """What one run has come to since the last look."""

    def __init__(self, client: Client, run_id: str, is_json: bool) -> None:
        self._client = client
        self._run_id = run_id
        self._is_json = is_json
        self._patience, self._teller = Patience(), Teller()
        self._after = 0
        self._status = ""
        self._is_durable: bool | None = None

    def round(self) -> tuple[str | None, bool]:
        """How the run ended, None while it goes on; and whether more can be asked for at once."""
        ended: str | None = None
        if not self._is_durable or not self._after:
            run = self._patience.ask(lambda: self._client.get(f"/executions/{self._run_id}"))
            if run is None:
                return None, False
            self._is_durable = run["mode"] == "workflow"
            self._tell_record(run)
            ended = run["status"] if run["finished_at"] else None
        if not self._is_durable:
            return ended, False
        told, is_more = self._history()
        return told or (None if self._after else ended), is_more

    def _history(self) -> tuple[str | None, bool]:
        path = f"/executions/{self._run_id}/history"
        page = self._patience.ask(lambda: self._client.get(path, after=self._after))
        for event in page["items"] if page else ():
            self._after = event["seq"]
            if self._is_json:
                click.echo(json.dumps({"run": self._run_id} | event, ensure_ascii=False))
            elif line := self._teller.line(event):
                click.echo(line)
            kind = event["type"].partition(".")[0]
            if kind in ENDS:
                return ENDS[kind] or event["data"].get("status", "success"), False
        return None, page is not None and page["next"] is not None

    def _tell_record(self, run: dict[str, Any]) -> None:
        """The record's status where it is news, and where no history tells it."""
        is_told_by_history = self._is_durable and run["started_at"] is not None
        if run["status"] == self._status or is_told_by_history:
            return
        self._status = run["status"]
        if self._is_json:
            told = {name: run.get(name) for name in ("status", "reason", "detail", "mode", "finished_at")}
            click.echo(json.dumps({"run": self._run_id, "type": "status", "data": told}, ensure_ascii=False))
        else:
            said = held.in_short(run)
            at = _clock(run["finished_at"] or run["started_at"])
            click.echo(f"{at:<8}  {'the run':<24} {_coloured(run['status'])}{f'  {said}' if said else ''}")


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
    parts = [steps, milliseconds(run["duration_ms"]), in_short(run.get("waits") or ()), held.in_short(run)]
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
