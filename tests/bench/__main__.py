"""`make bench`: prints, for each target, the figures it came from and then one line, `B1 0.41 target 0.50 missed`.

Bare loop and system run in turn, three times, on the same servers; medians are judged. Where rate and CPU disagree,
CPU decides: it is the steadier figure on a noisy machine.
"""

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fairness import measure_fairness
from tests.bench.gauge import Gauge
from tests.bench.guarded import measure_gate
from tests.bench.latency import EVENTS_PER_SECOND, SECONDS, Latencies, Pace, median, percentile
from tests.bench.load import FINDINGS, PRODUCER, Figures, Storm, System
from tests.bench.modes import measure_inline, measure_shadow
from tests.bench.processes import Spending
from tests.bench.receiver import Receiver
from tests.bench.recovery import measure_recovery
from tests.bench.system import bring_up, import_findings, prepare, take_down
from tests.bench.verdict import judge

ROUNDS = 3
TARGETS = {"B1": 0.5, "B2": 0.25}
"""Shares of the bare loop's speed."""
FIRST_POST_MS = (8.0, 25.0)
"""B4: p50 and p99 from the event to its first POST."""
TIMES_BARE = 2.0
"""B4: to the run's record, beside the bare loop's third result."""
QUICK = (*TARGETS, "B3", "B4", "B9")
LONG = ("B11", "B15")
BARE = re.compile(r"bare_loop (\d+) executions/s, ([\d.]+) CPU-s per 1000")
LATENCY = re.compile(r"bare_loop latency at \d+/s: p50 ([\d.]+) ms, p99 ([\d.]+) ms")


@dataclass
class Bare:
    """One run of the bare loop."""

    rate: float
    cpu_per_thousand: float
    p50_ms: float
    p99_ms: float


def run_bare(system: System, dsn: str) -> Bare:
    """The floor, on the same servers, as its own process."""
    command = [sys.executable, "tests/bench/bare_loop.py", "--kafka", system.kafka, "--postgres", dsn,
               "--executions", str(FINDINGS)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    rate, latency = BARE.search(done.stdout), LATENCY.search(done.stdout)
    if rate is None or latency is None:
        raise SystemExit(f"bench: the bare loop failed:\n{done.stdout}{done.stderr[-2000:]}")
    return Bare(float(rate[1]), float(rate[2]), float(latency[1]), float(latency[2]))


@dataclass(frozen=True)
class Bench:
    """What is measured, and where."""

    system: System
    dsn: str
    folder: Path
    findings: list[str]
    rounds: int
    is_alone: bool
    """Without the bare loop: no verdict, only what ours costs."""


def measure(name: str, on: Bench) -> None:
    """Bare and ours in turn; prints each round, what each process cost, and the verdict on the medians."""
    storm = Storm(on.system, f"platform.{PRODUCER}.events")
    storm.run(on.findings[:500])  # warm
    bares: list[Bare] = []
    ours: list[Figures] = []
    for number in range(on.rounds):
        said = f"{name} round {number + 1}:"
        if not on.is_alone:
            bares.append(run_bare(on.system, on.dsn))
            said += f" bare {bares[-1].rate:.0f}/s {bares[-1].cpu_per_thousand:.2f} CPU-s/1000;"
        spending = Spending(on.folder)
        with Gauge() as gauge:
            ours.append(storm.run(on.findings))
        spent = spending.line(len(on.findings))
        said += f" ours {ours[-1].rate:.0f}/s {ours[-1].cpu_per_thousand:.2f} CPU-s/1000"
        print(f"{said} on a machine of slowness {gauge.slowness:.2f}", flush=True)
        print(f"{name} round {number + 1} by process: {spent}", flush=True)
    storm.close()
    if on.is_alone:
        return
    judge(name, ours, bares, TARGETS[name])


def measure_latency(on: Bench, receiver: Receiver) -> None:
    """Bare and ours in turn at a calm pace; the medians of the rounds' percentiles are judged."""
    pace = Pace(on.system, f"platform.{PRODUCER}.events", receiver.url)
    count = EVENTS_PER_SECOND * SECONDS
    pace.run(on.findings[:100])  # warm
    bares: list[Bare] = []
    ours: list[Latencies] = []
    for number in range(on.rounds):
        said = f"B4 round {number + 1}:"
        if not on.is_alone:
            bares.append(run_bare(on.system, on.dsn))
            said += f" bare p50 {bares[-1].p50_ms:.1f} p99 {bares[-1].p99_ms:.1f} ms;"
        first = number * count
        spending = Spending(on.folder)
        ours.append(pace.run(on.findings[first : first + count]))
        spent = spending.line(count)
        posts, records = ours[-1].first_post, ours[-1].recorded
        print(
            f"{said} first POST p50 {percentile(posts, 0.5):.1f} p99 {percentile(posts, 0.99):.1f} ms,"
            f" record p50 {percentile(records, 0.5):.1f} p99 {percentile(records, 0.99):.1f} ms",
            flush=True,
        )
        print(f"B4 round {number + 1} by process: {spent}", flush=True)
    pace.close()
    middle, slow = (median([percentile(each.first_post, share) for each in ours]) for share in (0.5, 0.99))
    verdict = "met" if middle <= FIRST_POST_MS[0] and slow <= FIRST_POST_MS[1] else "missed"
    target = "/".join(f"{each:g}" for each in FIRST_POST_MS)
    print(f"B4 first POST p50/p99 {middle:.1f}/{slow:.1f} ms target {target} {verdict}", flush=True)
    if on.is_alone:
        return
    ratio = median([percentile(each.recorded, 0.5) for each in ours]) / median(
        [each.p50_ms for each in bares]
    )
    verdict = "met" if ratio <= TIMES_BARE else "missed"
    print(f"B4 record {ratio:.2f} x bare target {TIMES_BARE:g} {verdict}", flush=True)


def main() -> None:
    """Bring the system up in a folder of its own, measure what ONLY names, take it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help="B1,B2,B9: any of both groups")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--long", action="store_true", help="without --only: the long group")
    parser.add_argument("--alone", action="store_true", help="without the bare loop: no verdict")
    options = parser.parse_args()
    known = (*QUICK, *LONG)
    only = [name for name in options.only.upper().split(",") if name] or list(LONG if options.long else QUICK)
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(f"bench: {', '.join(unknown)}: not in this release; there are {', '.join(known)}")
    folder = Path(tempfile.mkdtemp(prefix="outlast-bench-"))
    folder.chmod(0o711)  # Postgres runs as another user if we are root, and must pass through
    began = time.monotonic()
    receiver = Receiver.start()
    try:
        system, dsn = bring_up(folder)
        prepare(system, None, "no-op")
        findings = import_findings(system)
        print(
            f"bench: {len(findings)} findings are in the platform, {time.monotonic() - began:.0f} s",
            file=sys.stderr,
        )
        on = Bench(system, dsn, folder / "run", findings, options.rounds, options.alone)
        if "B1" in only:
            measure("B1", on)
        if "B2" in only:
            prepare(system, receiver.url, "POST")
            measure("B2", on)
            print(f"B2 receiver: {receiver.requests.value} POSTs, {receiver.distinct.value} distinct keys")
        if "B4" in only:
            prepare(system, receiver.url, "POST", is_calm=True)
            measure_latency(on, receiver)
        if "B9" in only:
            measure_gate(system, folder / "run")
        if "B11" in only:
            measure_recovery(system, folder / "run")
        if "B3" in only:
            prepare(system, receiver.url, "POST")
            durable = measure_inline(system, folder / "run", findings, receiver, options.rounds)
            take_down(folder)
            measure_shadow(folder, receiver, durable, options.rounds)
        if "B15" in only:
            take_down(folder)
            measure_fairness(folder, receiver)
    finally:
        receiver.stop()
        take_down(folder)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
