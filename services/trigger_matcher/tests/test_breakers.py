"""The matcher's knowledge of breakers: the latest word on each counts, however often and late words come."""

from collections.abc import Callable

import pytest

from outlast.contracts import codec, topics
from outlast.contracts.messages import Breaker
from outlast.messaging.ports import Received
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.definitions import Runbooks

Say = Callable[[str, int, bool], None]


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(Runbooks())


@pytest.fixture
def say(breakers: Breakers) -> Say:
    """A record of `breakers` about a runbook of acme."""

    def record(name: str, revision: int, is_open: bool) -> None:
        word = Breaker(
            company_id="acme", runbook_id=name, generation=0, is_open=is_open, failures=10, revision=revision
        )
        breakers.apply(Received(topics.BREAKERS, 0, 0, 0, None, codec.encode(word)))

    return record


def counted() -> float:
    return metrics.BREAKERS_OPEN._value.get()


def test_what_is_held_back_is_listed_and_counted_until_its_breaker_is_closed(
    breakers: Breakers, say: Say
) -> None:
    say("one", 1, True)
    say("two", 2, True)
    say("two", 2, True)
    assert (sorted(breakers.open()), counted()) == ([("acme", "one"), ("acme", "two")], 2)
    say("one", 3, False)
    assert (breakers.open(), counted()) == ([("acme", "two")], 1)


def test_an_older_word_changes_nothing(breakers: Breakers, say: Say) -> None:
    say("one", 2, False)
    say("one", 1, True)
    assert (breakers.open(), counted()) == ([], 0)
    assert not breakers.standing("acme", "one").is_open
