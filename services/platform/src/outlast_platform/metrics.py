"""Metrics of this service: what they count, in which unit, by which bounded labels."""

from prometheus_client import Counter, Histogram

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2.5, 5, 10, 30)

requests = Histogram(
    "outlast_http_request_seconds", "Time to answer a request", ("method", "route", "status"), buckets=SECONDS
)
looked_up = Counter("outlast_platform_lookups", "Findings and assets asked for in look-ups")
operations = Counter("outlast_platform_operations", "Runbooks' operations on findings", ("status",))
imported = Counter("outlast_platform_imported_findings", "Findings in imported reports", ("change",))
"""change: created | updated | closed | unchanged"""
