"""Every metric of the gate: kind, unit, meaning."""

from prometheus_client import Counter, Gauge, Histogram

VERDICTS = Counter("outlast_gate_verdicts", "Verdicts given, by word and reason", ["verdict", "reason"])
ASKS = Counter("outlast_gate_asks", "Asks answered, those that came again included")
RELEASES = Counter("outlast_gate_releases", "Releases of slots and of places in a queue")
ROWS_WRITTEN = Counter("outlast_gate_rows_written", "Rows of the tables written or deleted")
DECIDE_SECONDS = Histogram(
    "outlast_gate_decide_seconds",
    "From a request in hand to its decision handed to the producer, rows included",
    buckets=(0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 1),
)
ROWS = Gauge("outlast_gate_rows", "Rows of the tables held here when they were last restored")
LANES = Gauge("outlast_gate_lanes", "Lanes of this instance")
IDLE_SECONDS = Gauge(
    "outlast_gate_idle_seconds", "How long the slowest lane has had requests and answered none"
)
UNDELIVERED = Counter(
    "outlast_gate_undelivered", "Times that some decisions were not delivered; they are asked for again"
)
