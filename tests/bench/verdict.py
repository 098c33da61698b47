"""What is said of two sorts of runs that were measured in turn."""

import statistics
from collections.abc import Sequence
from typing import Protocol


class Speed(Protocol):
    """One measured run, of whatever ran."""

    @property
    def rate(self) -> float:
        """Executions a second."""
        ...

    @property
    def cpu_per_thousand(self) -> float:
        """CPU-seconds of the whole machine for a thousand executions."""
        ...


def judge(name: str, ours: Sequence[Speed], beside: Sequence[Speed], target: float, unit: str = "") -> None:
    """How many times as fast as the others, on the medians; where rate and CPU disagree, CPU decides."""
    rate = statistics.median(each.rate for each in ours) / statistics.median(each.rate for each in beside)
    cpu = statistics.median(each.cpu_per_thousand for each in beside) / statistics.median(
        each.cpu_per_thousand for each in ours
    )
    verdict = "met" if cpu >= target else "missed"
    print(f"{name} {rate:.2f} by rate, {cpu:.2f} by CPU-seconds")
    print(f"{name} {cpu:.2f}{unit} target {target:.2f} {verdict}", flush=True)
