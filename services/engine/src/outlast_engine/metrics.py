"""Every metric of the engine: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from prometheus_client import Counter, Gauge, Histogram

EXECUTIONS_STARTED = Counter("outlast_executions_started", "Runs that began, by mode", ["mode"])
EXECUTIONS_ENDED = Counter("outlast_executions_ended", "Runs that ended, by status", ["status"])
REJECTED = Counter("outlast_engine_rejected", "Messages that changed nothing, by reason", ["reason"])
HISTORY_EVENTS = Counter("outlast_history_events", "Events appended to histories")
REPLAYED = Counter("outlast_histories_replayed", "Runs folded again from their stored history")
STATES_CACHED = Gauge("outlast_engine_states_cached", "Runs held in memory")
SHADOW_COMPARED = Counter(
    "outlast_shadow_compared",
    "Shadow runs compared with their inline runs, by whether they agree",
    ["result"],
)
SHADOW_DIFFERENCES = Counter(
    "outlast_shadow_differences",
    "Differences between shadow and inline runs, by what differs and whether a wait stood before",
    ["what", "after_wait"],
)
DURABLE = Gauge(
    "outlast_engine_durable",
    "1 while durable work is taken, 0 while the database was never there since the start",
)
BACKEND_FAILED = Counter(
    "outlast_engine_backend_failed", "Attempts to reach the database at the start that failed"
)
LIVE_SECONDS = Histogram(
    "outlast_execution_seconds",
    "From the start of a run to its end, by the broker's clock",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86400),
)
