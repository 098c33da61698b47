"""Every metric of the matcher: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("outlast_events_received", "Domain events taken in, by type", ["type"])
EVENTS_DUPLICATE = Counter("outlast_events_duplicate", "Domain events that were seen before")
EVENTS_MATCHED = Counter("outlast_events_matched", "Domain events that fire at least one runbook")
DISPATCHED = Counter("outlast_executions_dispatched", "Executions that events caused, by mode", ["mode"])
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
STARTS_REPEATED = Counter(
    "outlast_starts_repeated", "Starts sent again because the engine did not know the run"
)
DISPATCHES_CLOSED = Counter("outlast_dispatches_closed", "Dispatches whose run record is safe")
