"""How fast the machine is while something is measured: the same small piece of work, again and again.

A shared machine's cores slow down by half and more for minutes (neighbours, heat, credits), and CPU-seconds grow by
as much. `slowness` tells that from a change of ours: 1.00 is a core that does the work in 3 ms.
"""

import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any

PAUSE_SECONDS = 0.5
REFERENCE_SECONDS = 0.003


def piece_of_work() -> float:
    """CPU-seconds that it took."""
    began = time.thread_time()
    texts: dict[int, str] = {}
    for number in range(20_000):
        texts[number % 5_000] = str(number)
    return time.thread_time() - began


def _look(is_over: Event, out: Any) -> None:
    seconds = [piece_of_work()]
    while not is_over.wait(PAUSE_SECONDS):
        seconds.append(piece_of_work())
    out.send(statistics.mean(seconds))


class Gauge:
    """`with Gauge() as gauge: ...`, then `gauge.slowness`. Costs about 1 % of a core."""

    slowness = 1.0

    def __enter__(self) -> "Gauge":
        self._is_over = multiprocessing.Event()
        self._answer, out = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.Process(target=_look, args=(self._is_over, out), daemon=True)
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if kind is None:
            self.slowness = self._answer.recv() / REFERENCE_SECONDS
        self._process.join(5)
