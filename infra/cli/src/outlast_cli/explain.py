"""A run told to people: the event, each step with its input, output, reason or wait, and the end."""

from collections.abc import Sequence
from typing import Any

import click

from outlast_cli import held, waits
from outlast_cli.output import COLOURS, milliseconds, pretty, printable

SHOWN_LINES_MAX = 40
MARKS = {"success": "✓", "failed": "✗", "skipped": "–", "running": "…", "waiting": "…"}


def explain(run: dict[str, Any]) -> None:
    """Print one run of `GET /executions/{id}`."""
    _heading(run)
    for number, step in enumerate(run["steps"], 1):
        _step(run["id"], number, step)
    if not run["steps"]:
        click.echo("\nNo step has begun.")
    for number, (name, text) in enumerate(held.comparison(run)):
        if number == 0:
            click.echo()
        _line(name, printable(text))
    if run.get("error"):
        click.echo()
        _error("the run failed", run["error"])
    _early_signals(run.get("signals") or ())
    click.echo(f"\nEvery recorded event: outlast run history {run['id']}", err=True)


def _heading(run: dict[str, Any]) -> None:
    version = f" v{run['runbook_version']}" if run.get("runbook_version") else ""
    click.echo(click.style(f"{run['runbook']}{version}", bold=True) + "  " + _status(run["status"]))
    if run["runbook_name"] != run["runbook"]:
        _line("name", run["runbook_name"])
    _line("run", f"{run['id']} ({run['mode']}, company {run['company']})")
    event = run.get("event") or {}
    if event:
        _line("event", f"{event['type']} {event['id']} from {event['source']} at {event.get('time') or '?'}")
    subject = _subject(run.get("payload"))
    if subject:
        _line("about", subject)
    for name, text in (*held.origin(run), *held.why(run)):
        _line(name, printable(text))
    took = milliseconds(run.get("duration_ms"))
    if run.get("started_at") or not run.get("finished_at"):
        _line("started", f"{run.get('started_at') or '?'}{f', took {took}' if took else ''}")


def _subject(payload: Any) -> str:
    if not isinstance(payload, dict):
        return ""
    finding, asset = payload.get("finding"), payload.get("asset")
    parts: list[str] = []
    if isinstance(finding, dict):
        title = finding.get("title") or finding.get("rule_id") or ""
        parts.append(f"finding {finding.get('id', '?')} ({finding.get('severity', '?')}) {title}".rstrip())
    if isinstance(asset, dict):
        parts.append(f"asset {asset.get('name') or asset.get('id', '?')}")
    return " on ".join(parts)


def _early_signals(signals: Sequence[dict[str, Any]]) -> None:
    kept = [each for each in signals if not each.get("consumed_by")]
    for number, each in enumerate(kept):
        said = f"{each['name']} ({each['id']}) from {each['sent_by']} at {each['sent_at']}"
        if number == 0:
            click.echo("\nsignals that no step took:")
        _line("signal", printable(said))


def _step(run_id: str, number: int, step: dict[str, Any]) -> None:
    status = str(step.get("status", ""))
    mark = click.style(MARKS.get(status, "?"), fg=_colour(status))
    details = [
        step.get("action") or "",
        milliseconds(step.get("duration_ms")) if status in {"success", "failed"} else "",
        _attempts(step),
    ]
    if step.get("resolved"):
        details.append(f"outcome was unknown, {step['resolved']}")
    label = step["id"] + (f" “{step['name']}”" if step.get("name") else "")
    heading = f"\n{mark} {number}. {click.style(printable(label), bold=True)}  {_status(status)}"
    click.echo(f"{heading}  {' · '.join(detail for detail in details if detail)}")
    if status == "skipped":
        reason = step.get("reason") or "its `when` was false"
        _line("why", "inline: an inline run does not wait" if reason == "inline" else reason)
    if step.get("wait"):
        for index, line in enumerate(waits.in_full(run_id, step)):
            _line("" if index else "waits for", line)
    for line in waits.tries(step):
        _line("tried", line)
    if step.get("when") is not None:
        _value("when", step["when"])
    if step.get("expression") is not None:
        _value("asks", step["expression"])
    if step.get("input") is not None:
        _value("input", step["input"])
    if step.get("output") is not None:
        _value("output", step["output"])
    if step.get("fold") is not None:
        _value("folded in", step["fold"])
    if step.get("error"):
        _error("error", step["error"])


def _attempts(step: dict[str, Any]) -> str:
    attempts, attempts_max = step.get("attempts") or 1, step.get("max_attempts")
    if step.get("status") in {"running", "waiting"} and step.get("tries"):
        return f"attempt {attempts} of {attempts_max}"
    return f"{attempts} attempts" if attempts > 1 else ""


def _error(name: str, error: dict[str, Any]) -> None:
    where = f" at {error['path']}" if error.get("path") else ""
    again = " (trying again could help)" if error.get("retryable") else ""
    _line(
        name,
        click.style(
            printable(f"{error.get('code', '?')}{where}: {error.get('message', '')}{again}"), fg="red"
        ),
    )


def _value(name: str, value: Any) -> None:
    lines = pretty(value).splitlines()
    if len(lines) > SHOWN_LINES_MAX:
        lines = [*lines[:SHOWN_LINES_MAX], f"… {len(lines) - SHOWN_LINES_MAX} more lines: --json shows all"]
    _line(name, lines[0])
    for line in lines[1:]:
        click.echo(f"{'':16}{line}")


def _line(name: str, text: str) -> None:
    click.echo(f"   {click.style(f'{name:<12}', dim=True)} {text}")


def _status(status: str) -> str:
    return click.style(status, fg=_colour(status))


def _colour(status: str) -> str | None:
    colour = COLOURS.get(status)
    return None if colour == "dim" else colour
