"""The cheap histogram says what the client library's says."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from outlast.runtime.tally import Tally

BOUNDS = (0.001, 0.5, 1, 30)


def _scrape(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line and not line.startswith("#"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=50))
def test_a_tally_is_scraped_like_a_histogram_of_the_client_library(amounts: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("call_seconds", "Duration of a call", "action", BOUNDS, ours)
    histogram = Histogram("call_seconds", "Duration of a call", ["action"], buckets=BOUNDS, registry=theirs)
    for name in "ab":
        tally.of(name)
        histogram.labels(name)
    for name, amount in amounts:
        tally.of(name).observe(amount)
        histogram.labels(name).observe(amount)
    assert _scrape(ours) == _scrape(theirs)
