"""What could not be handled, kept as it came: one topic a service, its origin and its error in the headers.

`outlast dlq` reads them back with `origin_of` and sends the original again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from outlast.clock import from_milliseconds
from outlast.contracts.topics import dead_letters
from outlast.errors import ContractError
from outlast.limits import DEAD_LETTER_ERROR_BYTES_MAX
from outlast.messaging.ports import Outgoing, Received

PREFIX = "dlq-"
ORIGINAL_PREFIX = "dlq-original-"
_COUNTED = {"partition": "dlq-partition", "offset": "dlq-offset", "timestamp": "dlq-timestamp-ms"}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter read back: where it came from, why it is here, and the message as it was."""

    id: str
    """topic-partition-offset of the original: the same message dead-lettered twice has one id."""
    service: str
    error_class: str
    error: str
    cause_code: str
    """Bounded and stable, for counting; "" where the error's class says enough."""
    at: datetime
    """When the original was appended by the broker, UTC. The dead letter's own time is its broker time."""
    original: Received

    def resend(self) -> Outgoing:
        """The original, to the topic and partition that it came from."""
        return Outgoing(
            self.original.topic,
            self.original.value,
            self.original.key,
            self.original.partition,
            self.original.headers,
        )


def dead_letter(service: str, received: Received, error: Exception | str, cause_code: str = "") -> Outgoing:
    """The message for `<service>.dead_letters`: key and value as they came, everything else in headers."""
    headers = (
        ("dlq-id", message_id(received).encode()),
        ("dlq-service", service.encode()),
        ("dlq-topic", received.topic.encode()),
        ("dlq-partition", str(received.partition).encode()),
        ("dlq-offset", str(received.offset).encode()),
        ("dlq-timestamp-ms", str(received.timestamp_ms).encode()),
        ("dlq-error-class", _plain("" if isinstance(error, str) else type(error).__name__)),
        ("dlq-error", _plain(str(error))),
        ("dlq-cause-code", _plain(cause_code)),
    )
    originals = tuple((ORIGINAL_PREFIX + name, content) for name, content in received.headers)
    return Outgoing(dead_letters(service), received.value, received.key, headers=headers + originals)


def message_id(received: Received) -> str:
    """topic-partition-offset."""
    return f"{received.topic}-{received.partition}-{received.offset}"


def origin_of(received: Received) -> Origin:
    """A message of a dead-letter topic read back. ContractError if it is not one of ours."""
    headers = dict(received.headers)
    numbers = {name: _number(headers, header) for name, header in _COUNTED.items()}
    original = Received(
        _text(headers, "dlq-topic"),
        numbers["partition"],
        numbers["offset"],
        numbers["timestamp"],
        received.key,
        received.value,
        tuple(
            (name.removeprefix(ORIGINAL_PREFIX), content)
            for name, content in received.headers
            if name.startswith(ORIGINAL_PREFIX)
        ),
    )
    return Origin(
        id=_text(headers, "dlq-id"),
        service=_text(headers, "dlq-service"),
        error_class=_text(headers, "dlq-error-class"),
        error=_text(headers, "dlq-error"),
        cause_code=_text(headers, "dlq-cause-code"),
        at=from_milliseconds(numbers["timestamp"]).astimezone(UTC),
        original=original,
    )


def _text(headers: Mapping[str, bytes], name: str) -> str:
    content = headers.get(name)
    if content is None:
        raise ContractError("expected a dead letter's header, found none", name)
    return content.decode("utf-8", "replace")


def _number(headers: Mapping[str, bytes], name: str) -> int:
    text = _text(headers, name)
    try:
        return int(text)
    except ValueError as fault:
        raise ContractError(f"expected a whole number, got {text!r}", name) from fault


def _plain(text: str) -> bytes:
    """UTF-8 that every tool can show: no NUL, no lone surrogate, not endless."""
    encoded = text.replace("\x00", "\\0").encode("utf-8", "backslashreplace")
    if len(encoded) > DEAD_LETTER_ERROR_BYTES_MAX:
        cut = encoded[: DEAD_LETTER_ERROR_BYTES_MAX - 3].decode("utf-8", "ignore")
        encoded = cut.encode() + "…".encode()
    return encoded
