"""A dead letter keeps the message as it was, with where it came from and why it is there."""

import pytest

from outlast.clock import from_milliseconds
from outlast.errors import ContractError
from outlast.limits import DEAD_LETTER_ERROR_BYTES_MAX
from outlast.messaging.dead_letter import dead_letter, origin_of
from outlast.messaging.ports import Outgoing, Received

POISON = Received(
    "engine.inbox",
    3,
    41,
    1_763_700_000_123,
    b"\x00k",
    b"\xff\x00",
    (("traceparent", b"00"), ("a", b"1"), ("a", b"2")),
)


def as_received(message: Outgoing) -> Received:
    return Received(message.topic, 0, 7, 1_763_700_009_000, message.key, message.value, message.headers)


def test_it_goes_to_the_services_own_topic_with_key_and_value_as_they_came() -> None:
    message = dead_letter("engine", POISON, ContractError("expected an object", "data"))
    assert (message.topic, message.key, message.value) == ("engine.dead_letters", b"\x00k", b"\xff\x00")


def test_it_is_read_back_with_origin_and_error() -> None:
    error = ContractError("expected an object", "data")
    origin = origin_of(as_received(dead_letter("engine", POISON, error, "contract")))
    assert origin.id == "engine.inbox-3-41"
    assert (origin.service, origin.error_class) == ("engine", "ContractError")
    assert (origin.error, origin.cause_code) == ("data: expected an object", "contract")
    assert origin.at == from_milliseconds(POISON.timestamp_ms)
    assert origin.original == POISON


def test_it_can_be_sent_again_as_it_was() -> None:
    again = origin_of(as_received(dead_letter("engine", POISON, "by hand"))).resend()
    assert again == Outgoing("engine.inbox", b"\xff\x00", b"\x00k", 3, POISON.headers)


def test_a_dead_letter_of_a_dead_letter_keeps_both_origins() -> None:
    first = as_received(dead_letter("engine", POISON, "first"))
    second = origin_of(as_received(dead_letter("cli", first, "second")))
    assert second.original == first
    assert origin_of(second.original).original == POISON


@pytest.mark.parametrize("value", [None, b""])
def test_no_value_and_no_key_stay_none(value: bytes | None) -> None:
    bare = Received("t", 0, 0, -1, None, value)
    assert origin_of(as_received(dead_letter("engine", bare, "x"))).original == bare


def test_the_errors_text_is_made_safe_and_short() -> None:
    headers = dict(dead_letter("engine", POISON, ValueError("\x00\ud800é" + "ü" * 10_000)).headers)
    text = headers["dlq-error"]
    assert len(text) <= DEAD_LETTER_ERROR_BYTES_MAX
    assert text.decode().startswith("\\0\\ud800éü")


def test_what_is_no_dead_letter_is_refused() -> None:
    with pytest.raises(ContractError, match="dlq-partition"):
        origin_of(POISON)
