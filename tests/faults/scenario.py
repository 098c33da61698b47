"""One scenario, long in `make faults` and short in `make test`: named points, random moments, all at once."""

import sys
import threading
import time
from pathlib import Path

from tests.faults.points import POINTS
from tests.faults.stack import Outcome, Stack, random_victims, wait_until

STRIKE_SECONDS = 60.0


def run_scenario(
    folder: Path, *, executions: int, random_kills: int, seed: int, settle_seconds: float
) -> Outcome:
    """A tenth of the executions goes to each of the points in turn, the rest runs while processes die at random."""
    stack = Stack(folder)
    try:
        each = max(3, executions // (2 * len(POINTS)))
        for number, (service, point) in enumerate(POINTS):
            token = stack.arm(service, point, 1 + number % 2)
            before = len(stack.sent)
            while not stack.has_struck(token):
                if len(stack.sent) - before > 20 * each:
                    raise AssertionError(f"{service} never came to {point}")
                stack.emit(each)
                deadline = time.monotonic() + 5
                while time.monotonic() < deadline and not stack.has_struck(token):
                    time.sleep(0.02)
            print(
                f"faults: {service} died at {point}; {len(stack.sent)} events so far",
                file=sys.stderr,
                flush=True,
            )
        wait_until(lambda: stack.finished() >= len(stack.sent), settle_seconds, "runs after the named points")
        rest = max(executions - len(stack.sent), executions // 3)
        emitting = threading.Thread(target=stack.emit, args=(rest, rest / (random_kills * 1.5)))
        emitting.start()
        for victim in random_victims(seed, random_kills):
            time.sleep(1.5)  # the moments themselves are what is random here: nothing is waited for
            stack.kill(victim)
            print(f"faults: killed {victim}", file=sys.stderr, flush=True)
        stack.kill_everything()
        print("faults: killed everything", file=sys.stderr, flush=True)
        emitting.join()
        wait_until(lambda: stack.finished() >= len(stack.sent), settle_seconds, "runs after the random kills")
        wait_until(
            lambda: not stack.outcome().faults, 30, f"rest after the kills: {stack.outcome().faults[:3]}"
        )
        return stack.outcome()
    finally:
        stack.close()


def run_broker_loss(folder: Path, *, executions: int, settle_seconds: float) -> Outcome:
    """All of the broker's data is deleted under running services: while runs are under way, and while they wait.

    Lost may be only what nobody had accepted yet; so the events are given time to be taken in first.
    """
    stack = Stack(folder)
    try:
        stack.signaller.hold(True)
        for number in (1, 2):
            stack.emit(executions // 2)
            wait_until(lambda: stack.dispatched() >= len(stack.sent), settle_seconds, "events taken in")
            stack.lose_broker()
            print(f"faults: the broker lost everything, time {number}", file=sys.stderr, flush=True)
        stack.signaller.hold(False)
        wait_until(lambda: stack.finished() >= len(stack.sent), settle_seconds, "runs after the losses")
        stack.emit(3)
        wait_until(lambda: stack.finished() >= len(stack.sent), settle_seconds, "runs of new events")
        wait_until(
            lambda: not stack.outcome().faults, 60, f"rest after the losses: {stack.outcome().faults[:3]}"
        )
        return stack.outcome()
    finally:
        stack.close()
