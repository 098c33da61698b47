"""Every metric of the matcher: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from outlast_trigger_matcher.core.rows import WITHHELD as ENDS
from outlast_trigger_matcher.core.rows import Dispatch

EVENTS = Counter("outlast_events_received", "Domain events taken in, by type", ["type"])
EVENTS_DUPLICATE = Counter("outlast_events_duplicate", "Domain events that were seen before")
EVENTS_MATCHED = Counter("outlast_events_matched", "Domain events that fire at least one runbook")
DISPATCHED = Counter("outlast_executions_dispatched", "Executions that events caused, by mode", ["mode"])
DEGRADED = Counter("outlast_executions_degraded", "Executions that run inline because no engine was there")
IS_DEGRADED = Gauge("outlast_engine_degraded", "1 while new executions run inline because no engine is there")
WITHHELD = Counter("outlast_firings_withheld", "Firings that became no run, by reason", ["reason"])
QUEUED = Counter(
    "outlast_firings_queued", "Firings that had to wait before they start, by reason", ["reason"]
)
ASKED_AGAIN = Counter(
    "outlast_gate_asked_again", "Questions to the gate that were repeated for want of an answer"
)
SLOTS_LEAKED = Counter(
    "outlast_slots_leaked", "Slots that a recorded run still held, and that the reconciler freed"
)
COMMANDS_UNKNOWN = Counter(
    "outlast_commands_without_target",
    "Orders of people about a runbook or an execution that is not there",
    ["kind"],
)
CANDIDATES = Histogram(
    "outlast_match_candidates",
    "Runbooks whose conditions were evaluated for one event",
    buckets=(0, 1, 2, 5, 10, 50, 250),
)
LOOKUP_SECONDS = Histogram(
    "outlast_lookup_seconds",
    "One batched look-up at the platform",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
)
RUNBOOKS = Gauge("outlast_runbooks_known", "Runbook definitions known to the matcher")
BREAKERS_OPEN = Gauge("outlast_breakers_open", "Runbooks that the matcher holds back: their breaker is open")
STARTS_REPEATED = Counter(
    "outlast_starts_repeated", "Starts sent again because the engine did not know the run"
)
DISPATCHES_CLOSED = Counter("outlast_dispatches_closed", "Dispatches whose run record is safe")


def count_born(rows: Iterable[Dispatch]) -> None:
    """New rows, by what they begin as."""
    modes: dict[str, int] = {}
    for row in rows:
        modes[row.start.mode] = modes.get(row.start.mode, 0) + 1
        if row.status != "sent":
            count_moved((row,))
        if row.start.origin.is_degraded:
            DEGRADED.inc()
    for mode, count in modes.items():
        DISPATCHED.labels(mode).inc(count)


def count_moved(rows: Iterable[Dispatch]) -> None:
    """Rows that came to another status."""
    for row in rows:
        if row.status in ENDS:
            WITHHELD.labels(row.reason).inc()
        elif row.reason:
            QUEUED.labels(row.reason).inc()
