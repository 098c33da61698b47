"""Every metric of the finalizer: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from prometheus_client import Counter, Histogram

FINISHED = Counter("outlast_executions_finished", "Executions recorded as ended", ["status", "mode"])
PAYLOADS_ASKED = Counter(
    "outlast_payloads_asked", "Ended executions whose payload was lost with the broker and asked for again"
)
END_TO_END_SECONDS = Histogram(
    "outlast_execution_end_to_end_seconds",
    "From the event's own time to the end of the run",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86400),
)
