"""Runbooks that wait: they sleep, try again, and await signals by execution and by key.

Beside them stands what their runs must come to, in plain numbers that share no code with the interpreter.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.workload import Event, PlannedRunbook, planned

SIGNAL_OF = {"approval": "approved", "order": "go"}
"""What the runs of a runbook wait for: `approved` with the asset as its key, `go` without one."""
LONG_WAIT = "first"
"""The step of both that waits for so long that what is there for it cannot be too late."""
LONG = "6h"


class Attempts(NamedTuple):
    """What is to become of an action that fails and may be tried again."""

    count: int
    """Attempts until it succeeds or is given up."""
    is_success: bool
    pause_seconds: float
    """After the first attempt, a quarter more or less; doubled after each."""


TRIED = {
    "naps.hard": Attempts(3, True, 2.0),
    "naps.hopeless": Attempts(2, False, 1.0),
    "order.once": Attempts(2, True, 1.0),
}
"""By runbook's name and step; everything else is tried once."""


def runbooks() -> list[PlannedRunbook]:
    """Three of each company, on events about assets, by the tool that reports them."""
    return [
        each
        for company in ("acme", "zenith")
        for each in (_naps(company), _approval(company), _order(company))
    ]


def _naps(company: str) -> PlannedRunbook:
    return planned(
        company,
        "naps",
        [_rule("trivy")],
        [
            {"id": "nap", "type": "sleep", "config": {"duration": "3s"}},
            {
                "id": "hard",
                "type": "say",
                "config": {"text": "{{ event.id }}", "fails": 2},
                "retry": {"max_attempts": 4, "initial_backoff": "2s"},
            },
            {"id": "rest", "type": "sleep", "config": {"duration": "2m"}},
            {
                "id": "hopeless",
                "type": "tag",
                "config": {"fails": 9},
                "retry": {"max_attempts": 2},
            },
        ],
        _fires("trivy"),
    )


def _approval(company: str) -> PlannedRunbook:
    """By key: first a wait that outlasts everything, then one that may be in vain."""
    first = {
        "signal": "approved",
        "key": "{{ event.data.asset_id }}",
        "timeout": LONG,
        "on_timeout": "continue",
    }
    second = {"signal": "approved", "key": "{{ event.data.asset_id }}", "timeout": "20s"}
    return planned(
        company,
        "approval",
        [_rule("bandit")],
        [
            {"id": "ask", "type": "say", "config": {"text": "{{ event.data.asset_id }}"}},
            {"id": "first", "type": "await_signal", "config": first},
            {
                "id": "note",
                "type": "say",
                "when": {"field": "steps.first.output.received", "op": "eq", "value": True},
                "config": {"text": "{{ steps.first.output.id }}"},
            },
            {"id": "second", "type": "await_signal", "config": second, "continue_on_error": False},
            {"id": "thanks", "type": "say", "config": {"text": "{{ steps.second.output.payload.word }}"}},
        ],
        _fires("bandit"),
    )


def _order(company: str) -> PlannedRunbook:
    """By execution: something to do before it waits, so that signals come early."""
    return planned(
        company,
        "order",
        [_rule("nessus")],
        [
            {"id": "once", "type": "scan", "config": {"text": "{{ event.id }}", "fails": 1}},
            {"id": "first", "type": "await_signal", "config": {"signal": "go", "timeout": LONG}},
            {"id": "nap", "type": "sleep", "config": {"duration": "1s"}},
            {
                "id": "second",
                "type": "await_signal",
                "config": {"signal": "go", "timeout": "10s", "on_timeout": "continue"},
            },
            {"id": "done", "type": "say", "config": {"text": "{{ event.id }}"}},
        ],
        _fires("nessus"),
    )


def _rule(tool: str) -> dict[str, object]:
    return {"event": "asset_updated", "condition": {"field": "event.data.tool", "op": "eq", "value": tool}}


def _fires(tool: str) -> Callable[[Event], bool]:
    return lambda event: event.type == "asset_updated" and event.tool == tool
