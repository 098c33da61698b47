"""What is taken in from compacted topics: the latest word, and nothing that cannot be read."""

from datetime import UTC, datetime

import pytest

from outlast.contracts import codec
from outlast.contracts.messages import Breaker, EngineStatus, Message
from outlast.messaging.ports import Received
from outlast_control_plane.readers import CompactedTopics

AT = datetime(2026, 3, 14, tzinfo=UTC)


@pytest.fixture
def facts() -> dict[str, object]:
    return {}


@pytest.fixture
def topics(facts: dict[str, object]) -> CompactedTopics:
    """Readers of a broker that nobody asks."""
    return CompactedTopics("127.0.0.1:1", "test", facts.__setitem__)


def received(message: Message | None) -> Received:
    return Received("t", 0, 0, 0, b"k", None if message is None else codec.encode(message))


def breaker(revision: int, *, is_open: bool, company: str = "acme") -> Breaker:
    return Breaker(
        company_id=company, runbook_id="page", generation=0, is_open=is_open, failures=0, revision=revision
    )


def test_the_greatest_revision_of_a_breaker_stays_though_the_topic_is_read_again(
    topics: CompactedTopics,
) -> None:
    assert topics.breaker("acme", "page") is None
    for message in (
        breaker(1, is_open=True),
        breaker(3, is_open=False),
        breaker(2, is_open=True),
        breaker(9, is_open=True, company="globex"),
    ):
        topics.apply(received(message))
    assert topics.breaker("acme", "page") == breaker(3, is_open=False)


def test_one_engine_that_is_up_is_up_in_health_too(topics: CompactedTopics, facts: dict[str, object]) -> None:
    assert facts == {}
    for instance, state, expected in (("0", "down", "down"), ("1", "up", "up"), ("1", "down", "down")):
        topics.apply(received(EngineStatus(instance=instance, state=state, at=AT)))
        assert facts == {"engine": expected}
    assert [report.instance for report in topics.engines()] == ["0", "1"]


def test_absence_and_what_cannot_be_read_change_nothing(topics: CompactedTopics) -> None:
    topics.apply(received(breaker(1, is_open=True)))
    topics.apply(received(None))
    topics.apply(Received("t", 0, 1, 0, b"k", b"{"))
    assert topics.breaker("acme", "page") is not None
