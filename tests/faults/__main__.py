"""`make faults`: kill everything, at named points and at random, and count from outside what came of it."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.scenario import run_scenario


def main() -> None:
    """Run what ONLY names; one line a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""))
    parser.add_argument("--executions", type=int, default=500)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if set(filter(None, options.only.upper().split(","))) - {"F1"}:
        raise SystemExit("faults: in this release there is F1 only (the simulation is part of `make test`)")
    folder = Path(tempfile.mkdtemp(prefix="outlast-faults-"))
    outcome = run_scenario(
        folder,
        executions=options.executions,
        random_kills=options.kills,
        seed=options.seed,
        settle_seconds=180,
    )
    shutil.rmtree(folder, ignore_errors=True)
    for fault in outcome.faults[:20]:
        print(f"faults: {fault}", file=sys.stderr)
    is_met = not (outcome.faults or outcome.lost or outcome.not_successful or outcome.repeated_after_record)
    print(
        f"F1 events {outcome.events} kills {outcome.kills} lost {outcome.lost} "
        f"repeated_after_record {outcome.repeated_after_record} in_flight_doubles {outcome.in_flight_doubles} "
        f"unknown_resolved {outcome.unknown_resolved} {'met' if is_met else 'missed'}"
    )
    raise SystemExit(0 if is_met else 1)


if __name__ == "__main__":
    main()
