"""Every metric of signal delivery: kind, unit, meaning. The loop's own are in outlast.runtime.metrics."""

from prometheus_client import Counter, Histogram

from outlast.runtime.metrics import SECONDS

requests = Histogram(
    "outlast_signals_request_seconds",
    "Time to answer a request, by method, route and status",
    ("method", "route", "status"),
    buckets=SECONDS,
)
received = Counter("outlast_signals_received", "Signals recorded, by how they are addressed", ("by",))
"""by: execution | key"""
sent = Counter("outlast_signals_sent", "Signals sent to a run", ("attempt",))
"""attempt: first | again"""
verdicts = Counter("outlast_signals_verdicts", "What runs made of their signals", ("verdict",))
expired = Counter("outlast_signals_expired", "Signals closed because their time was over")
pokes_lost = Counter("outlast_signals_pokes_lost", "Recorded signals whose poke the broker did not take")
