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
CRON_LIVE = Gauge("outlast_cron_live", "Rules with a schedule that this process fires")
CRON_FIRED = Counter(
    "outlast_cron_fired", "Firings of schedules that the broker has acknowledged", ["is_catch_up"]
)
CRON_SKIPPED = Counter(
    "outlast_cron_skipped", "Times of schedules that were missed and not made up for, by policy or window"
)
CRON_REPEATED = Counter("outlast_cron_repeated", "Firings said again because the broker's data was lost")
CRON_LATENESS_SECONDS = Histogram(
    "outlast_cron_lateness_seconds",
    "From the instant in the schedule, jitter included, until the firing is stored; what is made up for left out",
    buckets=(0.004, 0.016, 0.064, 0.25, 0.5, 1, 2.5, 5, 15, 60, 600, 3600),
)
