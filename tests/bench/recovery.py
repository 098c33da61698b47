"""B11: SIGKILL of each service in turn under load; how long from its restart to its first progress?

Progress is what only that service says: the matcher a start or an ask, the engine a lifecycle message, and so on. The
restart is when the supervisor's new process is seen, at most a twentieth of a second after it began.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from outlast_local import status
from tests.bench.guarded import save
from tests.bench.load import COMPANY, PRODUCER, Driver, System, client
from tests.bench.system import ok
from tests.bench.watch import Watch

EVENTS_PER_SECOND = 150
"""Plain, guarded, sleeping in turn: about half of what B2 reaches on two cores."""
SECONDS_MAX = 60.0
TARGET_SECONDS = 5.0
INBOX = "engine.inbox"
PROGRESS: dict[str, tuple[str, frozenset[str]]] = {
    "trigger_matcher": (INBOX, frozenset({"start.v1"})),
    "gate": ("gate.decisions", frozenset({"gate_decision.v1"})),
    "engine": ("executions.lifecycle", frozenset({"started.v1", "finished.v1"})),
    "action_executor": (INBOX, frozenset({"activity_result.v1"})),
    "timer_scheduler": (INBOX, frozenset({"timer_due.v1"})),
    "signal_delivery": (INBOX, frozenset({"deliver_signal.v1"})),
    "finalizer": ("executions.recorded", frozenset({"recorded.v1"})),
}


@dataclass
class Load:
    """Events at a steady pace, and a signal now and then, until it is stopped."""

    system: System
    signals_url: str

    def __post_init__(self) -> None:
        self._is_over = threading.Event()
        self._fault = ""
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._events, self._signals)]
        for thread in self._threads:
            thread.start()

    def _events(self) -> None:
        driver, number = Driver(self.system, f"platform.{PRODUCER}.events"), 0
        while not self._is_over.wait(0.1):
            for note in ("plain", "guarded", "sleeping"):
                count = EVENTS_PER_SECOND // 30
                driver.send(COMPANY, [f"{note}-{number + each}" for each in range(count)], note)
            number += EVENTS_PER_SECOND // 30

    def _signals(self) -> None:
        """To an execution that nobody knows: it is delivered, and answered as unknown."""
        number = 0
        while not self._is_over.wait(0.2):
            number += 1
            body: dict[str, Any] = {
                "name": "approved",
                "execution_id": f"01900000-0000-8000-8000-{number:012x}",
            }
            try:
                with client(self.system, self.signals_url) as api:
                    answer = api.post("/signals", json=body, timeout=2)
            except (httpx.TransportError, OSError):
                continue  # the service is being killed: the next one will do
            if answer.is_client_error:
                self._fault = f"bench: a signal was refused: {answer.text}"
                return

    def stop(self) -> None:
        """End it; and the bench, if it was no load."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(10)
        if self._fault:
            raise SystemExit(self._fault)


def measure_recovery(system: System, folder: Path) -> None:
    """Each service in turn, with a calm between."""
    for name, guardrails in (("plain", {}), ("guarded", {"concurrency_limit": 50}), ("sleeping", {})):
        _save(system, name, guardrails)
    time.sleep(3)
    state = status(run_dir=folder)
    load = Load(system, state.processes["signal_delivery"].links["api"])
    worst = 0.0
    try:
        time.sleep(5)
        for service, (topic, kinds) in PROGRESS.items():
            took = _kill_and_wait(system, folder, service, topic, kinds)
            worst = max(worst, took)
            print(f"B11 {service}: {took:.2f} s from its restart to its first progress", flush=True)
            time.sleep(5)
    finally:
        load.stop()
    verdict = "met" if worst <= TARGET_SECONDS else "missed"
    print(f"B11 {worst:.2f} s target {TARGET_SECONDS:g} {verdict}", flush=True)


def _kill_and_wait(system: System, folder: Path, service: str, topic: str, kinds: frozenset[str]) -> float:
    watch = Watch(system, [topic])
    old = status(run_dir=folder).processes[service].pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    restarted_at = _restart(folder, service, old)
    try:
        for said in watch.read(SECONDS_MAX):
            if said.document.get("type") in kinds and said.at > restarted_at:
                return said.at - restarted_at
    finally:
        watch.close()
    raise SystemExit(f"bench: {service} made no progress within {SECONDS_MAX:g} s of its restart")


def _restart(folder: Path, service: str, old: int) -> float:
    ends = time.monotonic() + SECONDS_MAX
    while time.monotonic() < ends:
        pid = status(run_dir=folder).processes[service].pid
        if pid is not None and pid != old:
            return (
                time.time()
            )  # not the process's own instant: that is the machine's uptime, and its clock is set
        time.sleep(0.02)
    raise SystemExit(f"bench: the supervisor did not start {service} again")


def _save(system: System, name: str, guardrails: dict[str, object]) -> None:
    if name == "sleeping":
        condition = {"all": [{"field": "event.data.note", "op": "eq", "value": name}]}
        document = {
            "name": "bench-sleeping",
            "active": True,
            "rules": [{"event": "finding_updated", "condition": condition}],
            "actions": [{"type": "sleep", "config": {"duration": "1s"}}],
        }
        with client(system, system.control_plane) as api:
            ok(api.put("/runbooks/bench-sleeping", json=document))
    else:
        save(system, f"bench-{name}", name, guardrails)
