"""Following runs by asking again: no faster than twice a second, and only for what can have changed."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from outlast_cli.client import Client
from outlast_cli.failures import Failure

T = TypeVar("T")

INTERVAL_SECONDS = 1.0
INTERVAL_SECONDS_LEAST = 0.5
AWAY_SECONDS_MAX = 120.0
PAGE_MAX = 200
PAGES_MAX = 10
"""Pages of new runs in one round: 2,000; of a greater flood the oldest are not shown."""
REMEMBERED_MAX = 10_000
LOST_MAX = 20
"""Open runs in one round that no list has any more and that are asked for one by one."""
UNFINISHED = ("queued", "running", "waiting")


class Patience:
    """Goes on asking while the other side is away for a moment, and says so once."""

    def __init__(self) -> None:
        self._away_since: float | None = None

    def ask(self, question: Callable[[], T]) -> T | None:
        """The answer, None while nobody answers; the Failure after two minutes of that."""
        try:
            answer = question()
        except Failure as failure:
            if failure.code not in {"unreachable", "unavailable"}:
                raise
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
                click.echo(f"{failure.message}; still asking", err=True)
            if now - self._away_since > AWAY_SECONDS_MAX:
                raise
            return None
        if self._away_since is not None:
            self._away_since = None
            click.echo("it answers again", err=True)
        return answer


class RunChanges:
    """What changed in a company's runs between two rounds.

    A round costs one request, the newest runs, plus three while a run that is older than those is unfinished.
    """

    def __init__(self, client: Client, runbook: str | None = None) -> None:
        self._client = client
        self._runbook = runbook
        self._marks: dict[str, tuple[object, ...]] = {}
        self._open: set[str] = set()
        self._is_first = True
        self._floor = ""
        """The oldest run that the first round saw: older ones are news only while they are unfinished."""

    def round(self) -> list[dict[str, Any]]:
        """Runs that are new or changed, the oldest first. The first round has those that are unfinished."""
        found = dict(self._newest())
        if self._is_first and len(found) == PAGE_MAX:
            self._floor = min(found)
        if self._is_first or self._open - found.keys():
            for status in UNFINISHED:
                found |= {run["id"]: run for run in self._page(status=status)["items"]} | found
        for run_id in sorted(self._open - found.keys())[:LOST_MAX]:
            found |= self._one(run_id)
        changed = [run for run_id, run in sorted(found.items()) if self._marks.get(run_id) != _mark(run)]
        for run_id, run in found.items():
            self._marks[run_id] = _mark(run)
            (self._open.discard if run["finished_at"] else self._open.add)(run_id)
        shown = [run for run in changed if not (self._is_first and run["finished_at"])]
        self._is_first = False
        self._forget()
        return shown

    def _newest(self) -> Iterator[tuple[str, dict[str, Any]]]:
        after = None
        for _ in range(1 if self._is_first else PAGES_MAX):
            page = self._page(after=after)
            yield from ((run["id"], run) for run in page["items"] if run["id"] >= self._floor)
            after = page["next"]
            is_known = all(run["id"] in self._marks for run in page["items"])
            if after is None or after < self._floor or is_known:
                return

    def _page(self, **query: object) -> dict[str, Any]:
        return self._client.get("/executions", limit=PAGE_MAX, runbook=self._runbook, **query)

    def _one(self, run_id: str) -> dict[str, dict[str, Any]]:
        try:
            run = self._client.get(f"/executions/{run_id}")
        except Failure as failure:
            if failure.code != "not_found":
                raise
            self._open.discard(run_id)
            return {}
        return {run_id: run | {"steps": _counts(run["steps"])}}

    def _forget(self) -> None:
        for run_id in sorted(self._marks)[: max(0, len(self._marks) - REMEMBERED_MAX)]:
            if run_id not in self._open:
                del self._marks[run_id]


def _mark(run: dict[str, Any]) -> tuple[object, ...]:
    waits = [(each["activity_id"], each["kind"], each.get("until")) for each in run.get("waits") or ()]
    return run["status"], run["finished_at"], *waits


def _counts(steps: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in steps:
        counts[step["status"]] = counts.get(step["status"], 0) + 1
    return counts
