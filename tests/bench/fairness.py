"""B15: one company has 50,000 firings recorded and deferred; how long does another's single event wait?"""

import time
from pathlib import Path

import httpx

from tests.bench.latency import percentile
from tests.bench.load import PRODUCER, Driver, System, client
from tests.bench.receiver import Receiver
from tests.bench.system import bring_up, ok, take_down, until_there
from tests.bench.watch import Watch

NOISY, QUIET = "bench-noisy", "bench-quiet"
DEFERRED = 50_000
"""So many firings are on record and deferred, and no event is left to be taken in, when the measurement begins."""
MORE = 10_000
"""What is sent on top, until that is so: some run meanwhile."""
SINGLES = 40
PAUSE_SECONDS = 0.5
P99_MS = 1_000.0
RECORD_SECONDS_MAX = 300.0


def measure_fairness(folder: Path, receiver: Receiver) -> None:
    """A system with the product's own limit for each company, in a folder of its own."""
    system, _ = bring_up(folder, company_runs_max=None)
    try:
        _measure(system, receiver)
    finally:
        take_down(folder)


def _measure(system: System, receiver: Receiver) -> None:
    """Fill, then single events of the other company, one every half second."""
    _save(system, receiver.url)
    driver = Driver(system, f"platform.{PRODUCER}.events")
    watch = Watch(system, ["executions.lifecycle"])
    deferred = _fill(driver, watch)
    watch.close()
    print(f"B15 {deferred} firings are deferred", flush=True)
    asked = httpx.Client(base_url=receiver.url.rsplit("/", 1)[0], trust_env=False)
    asked.get("/arrivals").raise_for_status()
    sent: dict[str, float] = {}
    for number in range(SINGLES):
        sent[f"single-{number}"] = time.monotonic()
        driver.send(QUIET, [f"single-{number}"], "storm")
        time.sleep(PAUSE_SECONDS)
    time.sleep(5)
    arrivals: dict[str, float] = asked.get("/arrivals").json()
    asked.close()
    waited = sorted((arrivals[name] - at) * 1000 for name, at in sent.items() if name in arrivals)
    missing = len(sent) - len(waited)
    if not waited:
        print("B15 no single event had its action target 1000 missed", flush=True)
        return
    p50, p99 = percentile(waited, 0.5), percentile(waited, 0.99)
    print(
        f"B15 event to first action p50 {p50:.0f} p99 {p99:.0f} ms, {missing} without an action", flush=True
    )
    verdict = "met" if p99 <= P99_MS and not missing and deferred >= DEFERRED else "missed"
    print(f"B15 p99 {p99:.0f} ms target {P99_MS:.0f} {verdict}", flush=True)


def _fill(driver: Driver, watch: Watch) -> int:
    """Send until so many are deferred and none is still to be taken in; returns how many are deferred then."""
    sent, chunk = 0, DEFERRED
    seen: set[str] = set()
    waiting: set[str] = set()

    def send() -> None:
        driver.send(NOISY, [f"noisy-{number}" for number in range(sent, sent + chunk)], "storm")

    send()
    for said in watch.read(RECORD_SECONDS_MAX):
        execution, kind = said.document["execution_id"], said.document["type"]
        if kind == "queued.v1" and execution not in seen:
            waiting.add(execution)
        elif kind != "queued.v1":
            waiting.discard(execution)
        seen.add(execution)
        if len(seen) == sent + chunk:
            if len(waiting) >= DEFERRED:
                break
            sent, chunk = sent + chunk, MORE
            send()
    return len(waiting)


def _save(system: System, url: str) -> None:
    """The same runbook in both companies: one POST that says which event it was."""
    condition = {"all": [{"field": "event.data.note", "op": "eq", "value": "storm"}]}
    body = {"finding": "{{ event.data.finding_id }}"}
    document = {
        "name": "bench-fair",
        "active": True,
        "rules": [{"event": "finding_updated", "condition": condition}],
        "actions": [{"type": "http_request", "config": {"method": "POST", "url": url, "body": body}}],
    }
    for company in (NOISY, QUIET):
        with client(system, system.control_plane, company) as api:
            ok(api.put(f"/companies/{company}", json={"name": company}))
            ok(until_there(lambda on=api: on.put("/runbooks/bench-fair", json=document)))
    with client(system, system.control_plane) as api:
        ok(api.put(f"/producers/{PRODUCER}", json={"companies": ["bench", NOISY, QUIET]}))
    time.sleep(3)
