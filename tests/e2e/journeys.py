"""The whole system with the samples in it, and the command, as journeys use them."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx

from outlast_cli.sample import receiver_log
from outlast_local import Running
from outlast_local.layout import RunFolder

T = TypeVar("T")

WAIT_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Result:
    """How one command went."""

    status: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class System:
    """The whole system and the command, as one of its identities."""

    folder: RunFolder
    running: Running
    receiver: str
    busy: "BusyServer"

    def command(self, *arguments: str, profile: str = "acme", key: str = "") -> list[str]:
        """The words of a command."""
        who = ["--key", key] if key else ["--profile", profile]
        return [sys.executable, "-m", "outlast_cli", *([] if arguments[0] == "up" else who), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What a command runs in."""
        return os.environ | {"OUTLAST_RUN_DIR": str(self.folder.root), "COLUMNS": "200"}

    def outlast(
        self,
        *arguments: str,
        profile: str = "acme",
        key: str = "",
        text: str | bytes = b"",
        seconds: float = 60,
    ) -> Result:
        """Run the command as a person would."""
        done = subprocess.run(
            self.command(*arguments, profile=profile, key=key),
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=self.environment,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def apply(self, folder: Path, source: str, profile: str = "acme") -> None:
        """Save a runbook and switch it on."""
        path = folder / "runbook.yaml"
        path.write_text(source)
        before = self.runbooks_known()
        done = self.outlast("runbook", "apply", str(path), "--yes", "--activate", profile=profile)
        assert done.status == 0, done.error
        eventually(lambda: self.runbooks_known() > before, "the matcher to know one more runbook")

    def emit(self, event_id: str, **changes: object) -> None:
        """Send one event."""
        done = self.outlast("events", "emit", "-", text=json.dumps(event(event_id, **changes)))
        assert done.status == 0, done.error

    def started(self, runbook: str, event_id: str, status: str) -> dict[str, Any]:
        """The run that an event caused, once it has this status."""

        def found() -> dict[str, Any] | None:
            runs = [run for run in self.runs(runbook) if run["event"]["id"] == event_id]
            return runs[0] if runs and runs[0]["status"] == status else None

        return eventually(found, f"a {status} run of {runbook} for {event_id}")

    def runbooks_known(self) -> float:
        """How many runbooks the matcher knows; an event that comes before its runbook fires nothing."""
        return self.matcher_metric("outlast_runbooks_known")

    def breakers_open(self) -> float:
        """How many runbooks the matcher holds back because their breaker is open."""
        return self.matcher_metric("outlast_breakers_open")

    def matcher_metric(self, name: str) -> float:
        """One of the matcher's numbers."""
        metrics = self.running.processes["trigger_matcher"].links["metrics"]
        text = httpx.get(metrics, trust_env=False, timeout=10).text
        found = re.search(rf"^{name} ([\d.e+]+)$", text, re.MULTILINE)
        assert found, f"expected the matcher's metric {name}"
        return float(found[1])

    def runs(self, runbook: str, profile: str = "acme") -> list[dict[str, Any]]:
        """The newest runs of a runbook."""
        return self.outlast("run", "list", "--runbook", runbook, "--json", profile=profile).json["items"]

    def run_of(self, runbook: str, event_id: str, profile: str = "acme") -> dict[str, Any]:
        """The finished run that an event caused."""

        def found() -> dict[str, Any] | None:
            runs = [run for run in self.runs(runbook, profile) if run["event"]["id"] == event_id]
            return runs[0] if runs and runs[0]["finished_at"] else None

        return eventually(found, f"a finished run of {runbook} for {event_id}")

    def received(self) -> list[dict[str, Any]]:
        """What the receiver got."""
        return [json.loads(line) for line in receiver_log(self.folder).read_text().splitlines()]


def eventually(ask: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS_MAX) -> T:
    """The first answer that is something; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"expected {what} within {seconds:.0f} s"
        time.sleep(0.1)


RUNBOOK = """\
name: {name}
rules: [{{event: {event}{condition}}}]
actions:
{actions}
"""


def runbook(name: str, actions: str, event: str = "finding_created", condition: str = "") -> str:
    indented = "\n".join(f"  {line}" for line in actions.strip().splitlines())
    return RUNBOOK.format(name=name, event=event, actions=indented, condition=condition)


def event(event_id: str, **changes: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "journeys",
        "type": "finding_created",
        "companyid": "acme",
        "data": {"finding_id": "F-1", "severity": "critical", "title": "from outside"},
    } | changes


@dataclass
class BusyServer:
    """An outside that answers the first calls of each path with 503 and `Retry-After: 1`, then with 200.

    What stands in `answers` is answered always and at once.
    """

    refusals: int = 2
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Path and idempotency key of every call."""
    answers: dict[str, int] = field(default_factory=dict[str, int])
    """Path: status."""
    address: str = ""

    def start(self) -> None:
        """Listen on a free port of the loopback until the process ends."""
        busy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                busy.calls.append((self.path, self.headers.get("idempotency-key", "")))
                agreed = busy.answers.get(self.path)
                is_busy = agreed is None and sum(path == self.path for path, _ in busy.calls) <= busy.refusals
                self.send_response(503 if is_busy else agreed or 200)
                if is_busy:
                    self.send_header("retry-after", "1")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
