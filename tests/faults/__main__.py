"""`make faults`: kill everything, at named points and at random, and count from outside what came of it."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.guards import run_gate_under_fire
from tests.faults.modes import run_degradation, run_shadow
from tests.faults.scenario import run_broker_loss, run_scenario
from tests.faults.stack import Outcome, own_folder

ALL = ("F1", "F2", "G1", "G2", "G3")
SHADOWED = 300
"""Runs with a double, twice."""


def main() -> None:
    """Run what ONLY names; one line a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""))
    parser.add_argument("--executions", type=int, default=500)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    only = [name for name in options.only.upper().split(",") if name] or list(ALL)
    if unknown := sorted(set(only) - set(ALL)):
        raise SystemExit(
            f"faults: {', '.join(unknown)}: not in this release; there are {', '.join(ALL)} (F3 is in make test)"
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
    if "G2" in only:
        is_met &= _report_degradation()
    if "G3" in only:
        is_met &= _report_shadow()
    raise SystemExit(0 if is_met else 1)


def _report_degradation() -> bool:
    """Without the engine's database, and with it again."""
    with own_folder() as folder:
        outcome = run_degradation(folder, durable=100, settle_seconds=300)
    _say(outcome.faults)
    is_met = not outcome.faults
    print(f"G2 runs {outcome.runs} marked {outcome.marked} {'met' if is_met else 'missed'}", flush=True)
    return is_met


def _report_shadow() -> bool:
    """Doubles as they should be, and where the engine alone renders one filter in another way."""
    with own_folder() as folder:
        plain, patched = run_shadow(folder, events=SHADOWED, settle_seconds=300)
    _say([*plain.faults, *patched.faults])
    is_met = not (plain.faults or patched.faults) and (plain.marked, patched.marked) == (0, SHADOWED)
    print(
        f"G3 runs {SHADOWED} differ {plain.marked}, patched {patched.marked} {'met' if is_met else 'missed'}",
        flush=True,
    )
    return is_met


def _report_gate(firings: int, kills: int, seed: int) -> bool:
    """The gate under fire."""
    with own_folder() as folder:
        outcome = run_gate_under_fire(folder, firings=firings, kills=kills, seed=seed, settle_seconds=300)
    _say(outcome.faults)
    print(
        f"G1 firings {outcome.firings} kills {outcome.kills} ran {outcome.ran} allowed {outcome.allowed} "
        f"{'missed' if outcome.faults else 'met'}",
        flush=True,
    )
    return not outcome.faults


def _report(name: str, run: Callable[[Path], Outcome]) -> bool:
    """Run one of the kill scenarios; its line, and whether it is met."""
    with own_folder() as folder:
        outcome = run(folder)
    _say(outcome.faults)
    is_met = not (outcome.faults or outcome.lost or outcome.not_successful or outcome.repeated_after_record)
    print(
        f"{name} events {outcome.events} kills {outcome.kills} lost {outcome.lost} "
        f"repeated_after_record {outcome.repeated_after_record} in_flight_doubles {outcome.in_flight_doubles} "
        f"unknown_resolved {outcome.unknown_resolved} {'met' if is_met else 'missed'}",
        flush=True,
    )
    return is_met


def _say(faults: Sequence[str]) -> None:
    """The first of them."""
    for fault in faults[:20]:
        print(f"faults: {fault}", file=sys.stderr)


if __name__ == "__main__":
    main()
