"""What a run waits for, said to people."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from outlast_cli.output import printable


def remaining(instant: str | None, now: datetime | None = None) -> str:
    """How long until then, in one unit; "now" when it has passed."""
    if not instant:
        return ""
    seconds = (datetime.fromisoformat(instant) - (now or datetime.now(UTC))).total_seconds()
    if seconds <= 0:
        return "now"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"in {seconds / size:.0f} {unit}"
    return f"in {seconds:.0f} s"


def in_short(waits: Iterable[Mapping[str, Any]], now: datetime | None = None) -> str:
    """One cell of a table: `signal approved (F-1), times out in 3 d`."""
    return "; ".join(_short(wait, now) for wait in waits)


def _short(wait: Mapping[str, Any], now: datetime | None) -> str:
    left = remaining(wait.get("until"), now)
    match wait.get("kind"):
        case "signal":
            key = f" ({wait['key']})" if wait.get("key") else ""
            return printable(f"signal {wait.get('signal', '?')}{key}") + (
                f", times out {left}" if left else ""
            )
        case "retry":
            return f"attempt {wait.get('attempt', '?')} of {wait.get('activity_id', '?')} {left}"
        case "slot":
            return f"a slot for {wait.get('activity_id', '?')}"
        case kind:
            return f"{kind} {wait.get('activity_id', '?')}, goes on {left}".rstrip()


def in_full(run_id: str, step: Mapping[str, Any], now: datetime | None = None) -> list[str]:
    """Lines that say what a step waits for, until when, and what brings it on earlier."""
    wait: Mapping[str, Any] = step["wait"]
    until = wait.get("until")
    when = f"{until} ({remaining(until, now)})" if until else "?"
    match wait.get("kind"):
        case "signal":
            signal, key = printable(str(wait.get("signal", "?"))), printable(str(wait.get("key", "")))
            end = "fails" if step.get("on_timeout", "fail") == "fail" else "goes on"
            named = f" with the key {key}" if key else ""
            lines = [
                f"the signal {signal}{named}; without it the step {end} at {when}",
                f"send it: outlast signal {signal} --run {run_id}",
            ]
            return [*lines, f"or to every run that waits with the key: --key {key}"] if key else lines
        case "retry":
            return [f"attempt {_of(wait.get('attempt'), step.get('max_attempts'))} at {when}"]
        case "slot":
            return ["one of its runbook's slots: it gave its own back while it waited"]
        case _:
            return [f"until {when}"]


def tries(step: Mapping[str, Any]) -> list[str]:
    """A line for each attempt that failed and was followed by another."""
    lines: list[str] = []
    for each in step.get("tries") or ():
        error = each.get("error") or {}
        said = printable(f"{error.get('code', '?')}: {error.get('message', '')}".rstrip(": "))
        attempt = _of(each.get("attempt"), step.get("max_attempts"))
        lines.append(
            f"attempt {attempt} at {each.get('at', '?')}: {said}; next at {each.get('next_at', '?')}"
        )
    return lines


def _of(attempt: object, attempts_max: object) -> str:
    return f"{attempt} of {attempts_max}" if attempts_max else str(attempt)
