"""The other modes on the real system: degradation when the engine's database alone is away, and shadow.

Degradation: runs that begin while the engine cannot take work go inline and are marked; what was begun as durable
waits for the engine, through a death of everything, and is neither run inline nor run twice. Shadow: the durable
double agrees with a few hundred inline runs, and differs where the engine alone renders a filter in another way.
"""

import os
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from outlast_local import down, up
from tests.faults.proxy import Proxy
from tests.faults.stack import COMPANY, PRODUCER, Stack, wait_until

GRACE_SECONDS = 2
WAITS_SECONDS = 90.0


@dataclass
class ModesOutcome:
    """What the outside saw."""

    runs: int = 0
    marked: int = 0
    faults: list[str] = field(default_factory=list[str])


class ModesStack(Stack):
    """The system with one runbook of a POST, a pause of two seconds, and another POST."""

    def _prepare(self) -> None:
        text = {"n": "{{ event.id | upper }}"}
        action = {
            "type": "http_request",
            "config": {"method": "POST", "url": self.receiver.url, "body": text},
        }
        document = {
            "name": "two-posts",
            "active": True,
            "rules": [{"event": "scan_finished"}],
            "actions": [
                {**action, "id": "first"},
                {"id": "nap", "type": "sleep", "config": {"duration": "2s"}},
                {**action, "id": "second"},
                {
                    "id": "never",
                    "type": "http_request",
                    "when": "{{ event.id == 'x' }}",
                    "config": action["config"],
                },
            ],
        }
        self._put(f"/companies/{COMPANY}", {"name": "Faults"})
        self._put(f"/producers/{PRODUCER}", {"companies": [COMPANY]})
        self._put("/runbooks/two-posts", document)

    def modes(self) -> Counter[tuple[str, bool, str]]:
        """How many runs there are of each (mode, degraded, status)."""
        found = self.rows("select mode, is_degraded, status, count(*) from records.runs group by 1, 2, 3")
        return Counter({(row["mode"], row["is_degraded"], row["status"]): row["count"] for row in found})

    def calls(self) -> Counter[str]:
        """How often each execution called."""
        found = Counter[str]()
        for key, count in self.receiver.calls.items():
            found[key.partition(":")[0]] += count
        return found


class DegradedStack(ModesStack):
    """The same, with a door before the engine's database."""

    def __init__(self, folder: Path) -> None:
        os.environ["OUTLAST_TRIGGER_MATCHER_DEGRADE_SECONDS"] = str(GRACE_SECONDS)
        super().__init__(folder)
        self._restarting: threading.Thread | None = None
        at = urlsplit(self.dsn)
        assert at.port is not None
        self.proxy = Proxy(at.port)
        host = at.netloc.rpartition(":")[0]
        self._through_proxy = urlunsplit(at._replace(netloc=f"{host}:{self.proxy.port}"))

    def restart(self) -> None:
        """Stop, and start with the engine's database behind the door. Does not wait for the engine."""
        down(run_dir=self.folder / "run")
        os.environ |= {"ENGINE_DATABASE_URL": self._through_proxy, "CONTROL_PLANE_ENGINE_URL": self.dsn}
        os.environ["OUTLAST_EGRESS_ALLOW"] = "127.0.0.0/8"
        self._restarting = threading.Thread(target=self._up, daemon=True)
        self._restarting.start()
        wait_until(lambda: self.is_ready("trigger_matcher"), WAITS_SECONDS, "a matcher")
        wait_until(lambda: self.is_ready("action_executor"), WAITS_SECONDS, "an executor")

    def _up(self) -> None:
        up(run_dir=self.folder / "run", owner_pid=os.getpid())

    def begun(self, mode: str, is_degraded: bool) -> int:
        """How many runs of this kind there are."""
        return sum(count for each, count in self.modes().items() if each[:2] == (mode, is_degraded))

    def emit_until(self, mode: str, is_degraded: bool, beyond: int = 0, most: int = 90) -> None:
        """Events one after the other until more runs of this kind than those have begun: the first may still go
        where they went before."""

        def is_there() -> bool:
            return self.begun(mode, is_degraded) > beyond

        for _ in range(most):
            self.emit(1)
            try:
                wait_until(is_there, 1.0, "")
            except AssertionError:
                continue
            return
        raise AssertionError(f"no run {mode}, degraded {is_degraded} after {most} events: {self.modes()}")

    def close(self) -> None:
        """Take it down."""
        self.proxy.open()
        if self._restarting is not None:
            self._restarting.join(60)
        for name in (
            "ENGINE_DATABASE_URL",
            "CONTROL_PLANE_ENGINE_URL",
            "OUTLAST_TRIGGER_MATCHER_DEGRADE_SECONDS",
        ):
            os.environ.pop(name, None)
        super().close()


def run_degradation(folder: Path, *, durable: int, settle_seconds: float) -> ModesOutcome:
    """Away at the start, back, a death of everything with durable runs under way and the door shut, back again."""
    stack = DegradedStack(folder)
    outcome = ModesOutcome()
    try:
        stack.restart()
        stack.emit_until("inline", True)
        print(f"faults: without the engine: {dict(stack.modes())}", file=sys.stderr, flush=True)
        stack.proxy.open()
        wait_until(lambda: stack.is_ready("engine"), WAITS_SECONDS, "an engine")
        stack.emit_until("workflow", False)
        stack.emit(durable)
        wait_until(lambda: stack.dispatched() >= len(stack.sent), settle_seconds, "events taken in")
        durable_rows = "select execution_id::text from dispatch.dispatches where mode = 'workflow'"
        durables = {row[0] for row in stack.rows(durable_rows)}
        marked = stack.begun("inline", True)
        stack.proxy.shut()
        stack.kill_everything()
        wait_until(lambda: stack.is_ready("trigger_matcher"), WAITS_SECONDS, "a matcher")
        stack.emit_until("inline", True, beyond=marked)
        stack.proxy.open()
        wait_until(
            lambda: stack.finished() >= len(stack.sent), settle_seconds, f"an end of all: {stack.modes()}"
        )
        _judge(stack, durables, outcome)
        return outcome
    finally:
        stack.close()


def _judge(stack: DegradedStack, durables: set[str], outcome: ModesOutcome) -> None:
    records = stack.rows("select execution_id::text, mode, is_degraded, status from records.runs")
    calls = stack.calls()
    resolved = {
        row[0]
        for row in stack.rows(
            'select execution_id::text from engine.history where data like \'%"resolved":"%\''
        )
    }
    outcome.runs = len(records)
    outcome.marked = sum(row["is_degraded"] for row in records)
    if len(records) != len(stack.sent):
        outcome.faults.append(f"{len(records)} runs of {len(stack.sent)} events")
    for row in records:
        execution = row["execution_id"]
        if row["status"] != "success":
            outcome.faults.append(f"{execution} ended as {row['status']}")
        if execution in durables and (row["mode"], row["is_degraded"]) != ("workflow", False):
            outcome.faults.append(f"{execution} was durable and ran {row['mode']}")
        if row["is_degraded"] != (row["mode"] == "inline"):
            outcome.faults.append(f"{execution} ran {row['mode']}, its mark is {row['is_degraded']}")
        if calls[execution] != 2 and execution not in resolved:
            outcome.faults.append(f"{execution} called {calls[execution]} times")


def run_shadow(folder: Path, *, events: int, settle_seconds: float) -> tuple[ModesOutcome, ModesOutcome]:
    """First everything as it is, then with another filter in the engine's environment alone."""
    found: list[ModesOutcome] = []
    for patched in ("", "upper"):
        os.environ["FAULTS_PATCH_FILTER"] = patched
        stack = ModesStack(folder / (patched or "plain"), mode="shadow")
        try:
            stack.emit(events)
            wait_until(partial(_is_compared, stack, events), settle_seconds, f"comparisons: {stack.modes()}")
            found.append(_compared(stack, events))
        finally:
            del os.environ["FAULTS_PATCH_FILTER"]
            stack.close()
    return found[0], found[1]


def _is_compared(stack: ModesStack, events: int) -> bool:
    return stack.rows("select count(*) from records.comparisons")[0][0] >= events


def _compared(stack: ModesStack, events: int) -> ModesOutcome:
    outcome = ModesOutcome(runs=events)
    outcome.marked = stack.rows("select count(*) from records.comparisons where not is_agreed")[0][0]
    doubled = [key for key, count in stack.receiver.calls.items() if count != 1]
    if doubled or len(stack.receiver.calls) != 2 * events:
        outcome.faults.append(
            f"{len(stack.receiver.calls)} calls of {2 * events}, {len(doubled)} of them twice"
        )
    left = stack.rows("select count(*) from engine.open")[0][0]
    if left:
        outcome.faults.append(f"{left} doubles are still open")
    return outcome
