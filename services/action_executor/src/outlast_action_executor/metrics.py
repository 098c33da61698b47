"""Every metric of the executor: kind, unit, meaning. Labels are bounded: action types are registered ones."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from outlast.contracts.topics import TopicPartition
from outlast.runtime.logging import get_logger
from outlast.runtime.tally import Tally
from outlast_action_executor.ports import Ran

_log = get_logger(__name__)

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600)
OTHER = "other"


class ExecutorMetrics:
    """What one executor does."""

    def __init__(self, actions: frozenset[str], registry: CollectorRegistry = REGISTRY) -> None:
        names = (*sorted(actions), OTHER)

        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"outlast_executor_{name}", meaning, registry=registry)

        waits = Tally("outlast_activity_schedule_to_start_seconds", "From the activity's message to its call",
                      "action", SECONDS, registry)  # fmt: skip
        calls = Tally("outlast_activity_seconds", "Duration of a call", "action", SECONDS, registry)
        ends = Counter("outlast_activities", "Calls that ended, by outcome: success, failed, retryable",
                       ["action", "outcome"], registry=registry)  # fmt: skip
        unknown = Counter("outlast_activities_unknown", "Calls of unknown outcome, by how it was resolved",
                          ["action", "resolved"], registry=registry)  # fmt: skip
        late = Counter("outlast_activities_late", "Results dropped because the claim was resolved before",
                       ["action"], registry=registry)  # fmt: skip
        self._waits = {name: waits.of(name) for name in names}
        self._calls = {name: calls.of(name) for name in names}
        self._successes = {name: ends.labels(name, "success") for name in names}
        self._ends, self._unknown, self._late = ends, unknown, late
        self._names = actions
        self.inline = InlineMetrics(registry)
        self._alarms = Counter("outlast_executor_partition_alarms", "What an operator must look at",
                               ["kind"], registry=registry)  # fmt: skip
        self._running = 0
        running = Gauge("outlast_executor_calls_in_flight", "Calls running now", registry=registry)
        running.set_function(lambda: self._running)
        self._claimed = counter("claims", "Attempts claimed")
        self._deferred = counter("deferred", "Activities put off to the deadline of another's claim")
        self._answered = counter("answers", "Activities answered from the ledger")
        self._buried = counter("dead_letters", "Messages sent to the dead-letter topic")
        self._fenced = counter("fenced_writes", "Commits refused because a newer owner or life exists")
        self._acquired = counter("partitions_acquired", "Partitions acquired")
        self._paused = counter("pauses", "Turns that found the database or the broker away")

    def alarm(self, kind: str, at: TopicPartition) -> None:
        """Something happened to a partition that should not: its messages were dropped before they were read."""
        self._alarms.labels(kind).inc()
        _log.error("partition_alarm", kind=kind, topic=at.topic, partition=at.partition)

    def started(self, action: str, waited_seconds: float) -> None:
        """A call begins, that long after its message was appended."""
        self._running += 1
        self._waits[self._label(action)].observe(max(waited_seconds, 0.0))

    def ended(self, action: str, ran: Ran, seconds: float) -> None:
        """A call has ended."""
        label = self._label(action)
        self._running -= 1
        self._calls[label].observe(seconds)
        if ran.error is None:
            self._successes[label].inc()
        else:
            self._ends.labels(label, "retryable" if ran.error.retryable else "failed").inc()
        if ran.resolved:
            self._unknown.labels(label, ran.resolved).inc()

    def late(self, action: str) -> None:
        """A result lost the compare-and-set."""
        self._late.labels(self._label(action)).inc()

    def claimed(self, count: int) -> None:
        """Attempts were claimed."""
        self._claimed.inc(count)

    def deferred(self) -> None:
        """An activity was put off."""
        self._deferred.inc()

    def answered(self) -> None:
        """An activity was answered from the ledger."""
        self._answered.inc()

    def buried(self) -> None:
        """A message went to the dead-letter topic."""
        self._buried.inc()

    def fenced(self) -> None:
        """A newer owner exists."""
        self._fenced.inc()

    def acquired(self) -> None:
        """A partition was acquired."""
        self._acquired.inc()

    def paused(self) -> None:
        """A turn found something away."""
        self._paused.inc()

    def _label(self, action: str) -> str:
        return action if action in self._names else OTHER


class InlineMetrics:
    """What becomes of inline runs."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        started = Counter("outlast_inline_runs_started", "Inline runs begun: first, or again after they were cut off",
                          ["which"], registry=registry)  # fmt: skip
        self._started = {False: started.labels("first"), True: started.labels("again")}
        self._finished = Counter("outlast_inline_runs_finished", "Inline runs that ended, by status", ["status"],
                                 registry=registry)  # fmt: skip
        self._seconds = Tally("outlast_inline_run_seconds", "From an inline run's start message to its end", "mode",
                              SECONDS, registry).of("inline")  # fmt: skip
        self._in_hand = Gauge(
            "outlast_inline_runs_in_hand", "Inline runs in this process now", registry=registry
        )
        self._answered = Counter("outlast_inline_runs_answered", "Starts answered from the ledger: ended runs",
                                 registry=registry)  # fmt: skip
        self._ignored = Counter("outlast_inline_cancels_ignored", "Cancellations of runs that are not in hand here",
                                registry=registry)  # fmt: skip
        self._buried = Counter(
            "outlast_inline_dead_letters", "Starts that could not be decided over", registry=registry
        )

    def started(self, *, is_again: bool) -> None:
        """A run begins."""
        self._started[is_again].inc()

    def finished(self, status: str, seconds: float) -> None:
        """A run has ended."""
        self._finished.labels(status).inc()
        self._seconds.observe(max(seconds, 0.0))

    def in_hand(self, count: int) -> None:
        """So many are in hand."""
        self._in_hand.set(count)

    def answered(self) -> None:
        """A start was answered from the ledger."""
        self._answered.inc()

    def cancel_ignored(self) -> None:
        """A cancellation found no run."""
        self._ignored.inc()

    def buried(self) -> None:
        """A start went to the dead letters."""
        self._buried.inc()
