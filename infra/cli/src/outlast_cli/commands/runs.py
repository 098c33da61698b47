"""`outlast run`: what ran, and why it came out so."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from outlast_cli import held
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.explain import explain
from outlast_cli.failures import refuse
from outlast_cli.output import ago, milliseconds, pretty, print_json, print_table
from outlast_cli.waits import in_short

STATUSES = ("queued", "running", "waiting", "success", "failed", "partial", "skipped", "cancelled")
REASONS = (
    "slot_taken", "company_limit", "engine_down", "gate_silent", "throttled", "queue_full", "queue_age", "breaker_open",
    "loop", "inactive", "overlap", "guard_key_failed", "cancelled",
)  # fmt: skip
MODES = ("inline", "workflow", "shadow")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.group()
def run() -> None:
    """Runs: executions of runbooks."""


@run.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs of this status.")
@click.option("--reason", type=click.Choice(REASONS), help="Only runs held back or ended for this reason.")
@click.option("--mode", type=click.Choice(MODES), help="Only runs of this mode.")
@click.option("--degraded", is_flag=True, help="Only runs that went inline because the engine was away.")
@click.option("--by", metavar="NAME", help="Only runs that this person triggered.")
@click.option("--event", metavar="ID", help="Only runs that this event caused.")
@click.option("--runbook", metavar="NAME", help="Only runs of this runbook.")
@click.option("--since", metavar="WHEN", help="Only runs born since: 30m, 24h, 7d, or an instant.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--after", metavar="ID", help="`next` of the page before.")
@as_json
@pass_session
def list_(
    session: Session,
    status: str | None,
    reason: str | None,
    mode: str | None,
    degraded: bool,
    by: str | None,
    event: str | None,
    runbook: str | None,
    since: str | None,
    limit: int,
    after: str | None,
    is_json: bool,
) -> None:
    """Runs, newest first: what they wait for, why they were held back or ended."""
    page = session.client().get(
        "/executions", status=status, reason=reason, mode=mode, is_degraded=True if degraded else None,
        started_by=by, event_id=event, runbook=runbook, since=_instant(since), limit=limit, after=after,
    )  # fmt: skip
    if is_json:
        print_json(page)
        return
    print_runs(page["items"])
    if page["next"]:
        click.echo(f"more: outlast run list --after {page['next']}", err=True)


def print_runs(items: list[dict[str, Any]]) -> None:
    """Runs as a table."""
    rows = [
        (
            item["id"], item["runbook"], item["status"],
            (item["event"] or {}).get("type", ""), _steps(item["steps"]),
            milliseconds(item["duration_ms"]), ago(item["started_at"]), _why(item),
        )
        for item in items
    ]  # fmt: skip
    print_table(
        ("id", "runbook", "status", "event", "steps", "took", "started", "why, or waits for"), rows,
        empty="No runs. Import a report (outlast import FILE) or emit an event (outlast events emit FILE).",
    )  # fmt: skip


def _why(item: dict[str, Any]) -> str:
    parts = (in_short(item.get("waits") or ()), held.in_short(item))
    return "; ".join(part for part in parts if part)


def _steps(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


@run.command("show")
@click.argument("run_id", metavar="ID")
@as_json
@pass_session
def show(session: Session, run_id: str, is_json: bool) -> None:
    """One run explained: for each step what went in, what came out, why it did not run, or what it waits for."""
    client = session.client()
    body = client.get(f"/executions/{run_id}")
    if is_json:
        print_json(body)
        return
    explain(body)


@run.command("cancel")
@click.argument("run_id", metavar="ID")
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why: it goes to the run's record and the audit log."
)
@as_json
@pass_session
def cancel(session: Session, run_id: str, reason: str, is_json: bool) -> None:
    """End a run: at once while it is queued, else when what is in flight has settled."""
    answer = session.client().post(f"/executions/{run_id}/cancel", {"reason": reason})
    if is_json:
        print_json(answer)
        return
    click.echo(f"{run_id} is being cancelled; follow it: outlast run watch {run_id}")


@run.command("history")
@click.argument("run_id", metavar="ID")
@as_json
@pass_session
def history(session: Session, run_id: str, is_json: bool) -> None:
    """Every recorded event of a run, in order."""
    items = list(session.client().pages(f"/executions/{run_id}/history"))
    if is_json:
        print_json({"items": items, "next": None})
        return
    for item in items:
        click.secho(f"{item['seq']:>4}  {item['at']}  {item['type']}", bold=True)
        data = {name: value for name, value in item["data"].items() if name not in {"type", "payload"}}
        click.echo("\n".join(f"      {line}" for line in pretty(data).splitlines()))


def _instant(text: str | None) -> str | None:
    if text is None:
        return None
    if text[:-1].isdigit() and text[-1] in UNITS:
        return (datetime.now(UTC) - timedelta(**{UNITS[text[-1]]: int(text[:-1])})).isoformat()
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"cannot read {text!r} as a time", next_step="expected 30m, 24h, 7d, or 2026-01-31T12:00:00Z")
    return (instant if instant.tzinfo else instant.astimezone()).isoformat()
