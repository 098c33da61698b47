"""Every metric of the timer scheduler: kind, unit, meaning. The loop's own are in outlast.runtime.metrics.

How many timers wait is started - fired - cancelled, over all instances: counting a million rows is not cheap.
"""

from prometheus_client import Counter, Gauge, Histogram

STARTED = Counter("outlast_timers_started", "Timers stored; one that was there already does not count")
FIRED = Counter("outlast_timers_fired", "Timers whose firing the broker has acknowledged, doubles included")
CANCELLED = Counter("outlast_timers_cancelled", "Timers taken back before they fired")
HELD = Gauge("outlast_timers_held", "Timers of the near future that are held in memory")
LATENESS_SECONDS = Histogram(
    "outlast_timer_lateness_seconds",
    "From the instant that a timer was set to until the broker has acknowledged its firing",
    buckets=(0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)
