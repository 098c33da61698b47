"""`make faults`: kill everything, at named points and at random, and count from outside what came of it."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults.guards import run_gate_under_fire
from tests.faults.scenario import run_broker_loss, run_scenario
from tests.faults.stack import Outcome


def main() -> None:
    """Run what ONLY names; one line a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""))
    parser.add_argument("--executions", type=int, default=500)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    only = [name for name in options.only.upper().split(",") if name] or ["F1", "F2", "G1"]
    if unknown := sorted(set(only) - {"F1", "F2", "G1"}):
        raise SystemExit(
            f"faults: {', '.join(unknown)}: not in this release; there are F1, F2 and G1 (F3 is in make test)"
        )
    is_met = True
    if "F1" in only:
        is_met &= _report(
            "F1",
            lambda folder: run_scenario(
                folder,
                executions=options.executions,
                random_kills=options.kills,
                seed=options.seed,
                settle_seconds=180,
            ),
        )
    if "F2" in only:
        is_met &= _report(
            "F2", lambda folder: run_broker_loss(folder, executions=options.executions, settle_seconds=180)
        )
    if "G1" in only:
        is_met &= _report_gate(options.executions * 20, options.kills // 2, options.seed)
    raise SystemExit(0 if is_met else 1)


def _report_gate(firings: int, kills: int, seed: int) -> bool:
    """The gate under fire."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-faults-"))
    outcome = run_gate_under_fire(folder, firings=firings, kills=kills, seed=seed, settle_seconds=300)
    shutil.rmtree(folder, ignore_errors=True)
    for fault in outcome.faults[:20]:
        print(f"faults: {fault}", file=sys.stderr)
    print(
        f"G1 firings {outcome.firings} kills {outcome.kills} ran {outcome.ran} allowed {outcome.allowed} "
        f"{'missed' if outcome.faults else 'met'}",
        flush=True,
    )
    return not outcome.faults


def _report(name: str, run: Callable[[Path], Outcome]) -> bool:
    """Run one in a folder of its own; its line, and whether it is met."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-faults-"))
    outcome = run(folder)
    shutil.rmtree(folder, ignore_errors=True)
    for fault in outcome.faults[:20]:
        print(f"faults: {fault}", file=sys.stderr)
    is_met = not (outcome.faults or outcome.lost or outcome.not_successful or outcome.repeated_after_record)
    print(
        f"{name} events {outcome.events} kills {outcome.kills} lost {outcome.lost} "
        f"repeated_after_record {outcome.repeated_after_record} in_flight_doubles {outcome.in_flight_doubles} "
        f"unknown_resolved {outcome.unknown_resolved} {'met' if is_met else 'missed'}",
        flush=True,
    )
    return is_met


if __name__ == "__main__":
    main()
