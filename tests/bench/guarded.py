"""B9: a storm on one guarded runbook. How fast it is decided, and whether exactly the allowed firings run.

Counted from outside: verdicts on `gate.decisions`, and what `executions.lifecycle` says of each firing. A firing is
decided when the gate has its verdict, or when it is withheld without a question, which the matcher may do where its own
rows leave nothing to give. The gate only advises, so both the verdicts and the runs are looked at.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.load import COMPANY, PRODUCER, Driver, System, client
from tests.bench.processes import Spending
from tests.bench.system import ok
from tests.bench.watch import Said, Watch

DECISIONS, LIFECYCLE = "gate.decisions", "executions.lifecycle"
DECIDED_PER_SECOND = 5_000
EVENTS = 20_000
QUEUE_LIMIT = 100
"""Of the concurrency key: those behind are skipped, so that the storm ends within the minute."""
SECONDS_MAX = 240.0
THROTTLED: dict[str, object] = {"throttle_seconds": 3_600}
SLOTTED: dict[str, object] = {
    "concurrency_key": "{{ event.data.note }}",
    "concurrency_limit": 1,
    "queue_limit": QUEUE_LIMIT,
}


@dataclass
class Outcome:
    """What became of a storm."""

    decided: set[str] = field(default_factory=set[str])
    last_decided_at: float = 0.0
    running: set[str] = field(default_factory=set[str])
    started: set[str] = field(default_factory=set[str])
    most_at_once: int = 0
    ended: set[str] = field(default_factory=set[str])

    def take(self, said: Said, runbook: str) -> None:
        """One message more; those of one runbook are in one partition, so their order is the order of things."""
        document = said.document
        if said.topic == DECISIONS:
            if document["runbook_id"] == runbook:
                self._decide((each["id"] for each in document["verdicts"]), said)
            return
        if document.get("runbook", {}).get("id") != runbook:
            return
        execution, kind = document["execution_id"], document["type"]
        if kind == "started.v1" and execution not in self.started:
            self.started.add(execution)
            self.running.add(execution)
            self.most_at_once = max(self.most_at_once, len(self.running))
        elif kind in ("finished.v1", "withheld.v1"):
            self._decide((execution,), said)
            self.running.discard(execution)
            self.ended.add(execution)

    def _decide(self, executions: Iterable[str], said: Said) -> None:
        """The gate's verdict, or the matcher's word on a firing that needs none, whichever comes first."""
        fresh = set(executions) - self.decided
        if fresh:
            self.decided |= fresh
            self.last_decided_at = said.seen_at


def save(system: System, name: str, note: str, guardrails: dict[str, object]) -> str:
    """A guarded runbook of one no-op action for events with this note; returns its id."""
    condition = {"all": [{"field": "event.data.note", "op": "eq", "value": note}]}
    document = {
        "name": name,
        "active": True,
        "guardrails": guardrails,
        "rules": [{"event": "finding_updated", "condition": condition}],
        "actions": [{"id": "step1", "type": "bench_noop", "config": {"title": "{{ event.data.note }}"}}],
    }
    with client(system, system.control_plane) as api:
        return ok(api.put(f"/runbooks/{name}", json=document)).json()["id"]


def storm(system: System, runbook: str, note: str, count: int = EVENTS) -> tuple[Outcome, float]:
    """So many events at once; returns what became of them, and decisions a second from the first event on."""
    watch, outcome = Watch(system, [DECISIONS, LIFECYCLE]), Outcome()
    driver = Driver(system, f"platform.{PRODUCER}.events")
    began = time.monotonic()
    driver.send(COMPANY, [f"{note}-{number}" for number in range(count)], note)
    for said in watch.read(SECONDS_MAX):
        outcome.take(said, runbook)
        if len(outcome.ended) == count:
            break
    watch.close()
    if len(outcome.ended) < count:
        raise SystemExit(
            f"bench: {len(outcome.ended)} of {count} firings came to an end in {SECONDS_MAX:g} s"
        )
    return outcome, len(outcome.decided) / (outcome.last_decided_at - began)


def measure_gate(system: System, folder: Path) -> None:
    """Both storms, what each process spent on them, and the verdicts."""
    runbook = save(system, "bench-throttled", "throttled", THROTTLED)
    time.sleep(2)
    spending = Spending(folder)
    thrown, throttled_rate = storm(system, runbook, "throttled")
    print(f"B9 throttle by process: {spending.line(EVENTS)}", flush=True)
    print(
        f"B9 throttle: {throttled_rate:.0f} decided/s, {len(thrown.started)} of {EVENTS} ran, allowed 1",
        flush=True,
    )
    runbook = save(system, "bench-slotted", "slotted", SLOTTED)
    time.sleep(2)
    spending = Spending(folder)
    slotted, slotted_rate = storm(system, runbook, "slotted")
    print(f"B9 concurrency by process: {spending.line(EVENTS)}", flush=True)
    print(
        f"B9 concurrency: {slotted_rate:.0f} decided/s, {len(slotted.started)} of {EVENTS} ran,"
        f" at most {slotted.most_at_once} at once, allowed 1",
        flush=True,
    )
    is_exact = len(thrown.started) == 1 and slotted.most_at_once == 1 and len(slotted.started) > QUEUE_LIMIT
    rate = min(throttled_rate, slotted_rate)
    verdict = "met" if is_exact and rate >= DECIDED_PER_SECOND else "missed"
    print(f"B9 {rate:.0f} decided/s target {DECIDED_PER_SECOND} {verdict}", flush=True)
