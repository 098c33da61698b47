"""Every metric of the finalizer: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from collections.abc import Collection

from prometheus_client import Counter, Histogram

WITHHELD_REASONS = frozenset(
    {
        "throttled",
        "slot_taken",
        "queue_full",
        "queue_age",
        "breaker_open",
        "loop",
        "inactive",
        "overlap",
        "guard_key_failed",
        "cancelled",
    }
)
DIFFERENCES = frozenset(
    {"input", "status", "reason", "order", "output", "missing", "extra", "conclusion", "incomparable"}
)

FINISHED = Counter("outlast_executions_finished", "Executions recorded as ended", ["status", "mode"])
WITHHELD = Counter(
    "outlast_executions_withheld",
    "Firings recorded that became no run: skipped or cancelled before",
    ["reason"],
)
PAYLOADS_ASKED = Counter(
    "outlast_payloads_asked", "Ended executions whose payload was lost with the broker and asked for again"
)
COMPARISONS = Counter(
    "outlast_shadow_comparisons", "Inline runs compared with their durable doubles, by result", ["result"]
)
DIVERGENCES = Counter(
    "outlast_shadow_divergences",
    "Differences between inline runs and their durable doubles, by kind",
    ["what"],
)
BREAKERS = Counter(
    "outlast_breaker_changes", "Circuit breakers that opened (tripped) or were closed (reset)", ["change"]
)
SILENT_ASKED = Counter(
    "outlast_silent_runs_asked", "Questions about running runs of which nothing was heard for long", ["mode"]
)
GIVEN_UP = Counter(
    "outlast_silent_runs_failed",
    "Runs that are not the engine's, failed because nothing more was heard of them",
)
END_TO_END_SECONDS = Histogram(
    "outlast_execution_end_to_end_seconds",
    "From the event's own time to the end of the run",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86400),
)


def known(value: str, values: Collection[str]) -> str:
    """The value if it is one of these, else `other`: labels are bounded whatever comes."""
    return value if value in values else "other"
