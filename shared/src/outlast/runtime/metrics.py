"""Metrics of every loop. A service's own metrics stand in its metrics.py; labels are bounded sets."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from outlast.contracts.topics import TopicPartition
from outlast.runtime.logging import get_logger

_log = get_logger(__name__)

SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class LoopMetrics:
    """What one loop does, by its name. The names are the same in every service."""

    def __init__(self, loop: str, registry: CollectorRegistry = REGISTRY) -> None:
        made = _made.setdefault(registry, {})

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            if name not in made:
                made[name] = Counter(name, meaning, ("loop", *labels), registry=registry)
            known = made[name]
            assert isinstance(known, Counter)
            return known

        self._loop = loop
        self._consumed = counter("outlast_messages_consumed", "Messages taken in and committed").labels(loop)
        self._batches = counter("outlast_batches_committed", "Batches committed").labels(loop)
        self._emitted = counter("outlast_messages_emitted", "Messages sent for committed batches").labels(
            loop
        )
        self._derived = counter(
            "outlast_messages_derived", "Messages derived again for an earlier owner"
        ).labels(loop)
        self._fenced = counter(
            "outlast_fenced_writes", "Commits refused because a newer owner exists"
        ).labels(loop)
        self._acquired = counter("outlast_partitions_acquired", "Partitions acquired").labels(loop)
        self._paused = counter("outlast_loop_pauses", "Turns that found something away").labels(loop)
        self._bisected = counter("outlast_batches_bisected", "Batches halved around a bad message").labels(
            loop
        )
        self._left_out = counter(
            "outlast_messages_left_out", "What a run had to say and could not: unreadable, or too large"
        ).labels(loop)
        self._alarms = counter(
            "outlast_partition_alarms", "What an operator must look at: offset_out_of_range", "kind"
        )
        self._buried = counter("outlast_dead_letters", "Messages sent to the dead-letter topic", "error")
        name = "outlast_turn_phase_seconds"
        if name not in made:
            labels = ("loop", "phase")
            made[name] = Histogram(
                name, "Time in one phase of a turn", labels, registry=registry, buckets=SECONDS
            )
        phase_seconds = made[name]
        assert isinstance(phase_seconds, Histogram)
        self._phases = {phase: phase_seconds.labels(loop, phase) for phase in ("decide", "commit", "flush")}

    def consumed(self, count: int) -> None:
        """A batch of `count` messages was committed."""
        self._consumed.inc(count)
        self._batches.inc()

    def emitted(self, count: int) -> None:
        """Messages were sent for a committed batch."""
        self._emitted.inc(count)

    def derived(self, count: int) -> None:
        """Messages were derived again from what is stored."""
        self._derived.inc(count)

    def fenced(self) -> None:
        """A newer owner exists."""
        self._fenced.inc()

    def acquired(self) -> None:
        """A partition was acquired."""
        self._acquired.inc()

    def paused(self) -> None:
        """A turn found something away."""
        self._paused.inc()

    def bisected(self) -> None:
        """A batch was halved."""
        self._bisected.inc()

    def left_out(self) -> None:
        """Something that should have been said never will be: an operator's to look at."""
        self._left_out.inc()

    def buried(self, error: str) -> None:
        """A message went to the dead-letter topic, by the class of its error."""
        self._buried.labels(self._loop, error).inc()

    def alarm(self, kind: str, at: TopicPartition) -> None:
        """Something happened to a partition that should not: its messages were dropped before they were read."""
        self._alarms.labels(self._loop, kind).inc()
        _log.error("partition_alarm", kind=kind, loop=self._loop, topic=at.topic, partition=at.partition)

    def deciding(self) -> AbstractContextManager[None]:
        """Times loading and deciding."""
        return self._timed("decide")

    def committing(self) -> AbstractContextManager[None]:
        """Times the transaction."""
        return self._timed("commit")

    def flushing(self) -> AbstractContextManager[None]:
        """Times the wait for delivery reports."""
        return self._timed("flush")

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self._phases[phase].observe(perf_counter() - began)


_made: dict[CollectorRegistry, dict[str, Counter | Histogram]] = {}
"""Two loops of one process share a metric and differ by label."""
