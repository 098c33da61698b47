"""Every metric of the control plane: kind, unit, meaning. Labels are bounded: routes as written, never paths."""

from prometheus_client import Counter, Histogram

from outlast.runtime.metrics import SECONDS

requests = Histogram(
    "outlast_api_request_seconds",
    "Time to answer a request, by method, route and status",
    ("method", "route", "status"),
    buckets=SECONDS,
)
events_accepted = Counter(
    "outlast_api_events_accepted", "Events recorded in the outbox, by whether they were new", ("status",)
)
events_refused = Counter("outlast_api_events_refused", "Requests whose events were not taken")
commands = Counter("outlast_api_commands", "Commands recorded in the outbox, by their kind", ("kind",))
republished = Counter(
    "outlast_compacted_republished",
    "Times a compacted topic was new or empty and was published again",
    ("topic",),
)
