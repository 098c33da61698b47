"""How we meet the client library as a consumer: its settings, its errors that matter, its messages as ours."""

from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from outlast.messaging.ports import Received

CONNECTION = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})
"""A connection is lost, or could not be made. Each client says so for every attempt: not worth a line each."""
SUSPICIOUS = frozenset(
    {
        *CONNECTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
"""Errors after which a topic may be another one under its name, so that its id has to be compared."""
QUIET: dict[str, str | int | float | bool] = {
    "log_level": 2,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
}
"""Settings of every client: we say ourselves that the broker is away, once; and we are soon back with it."""


class Member(NamedTuple):
    """Who joins which group where. `instance_id` is static: service and ordinal, the same after a restart."""

    bootstrap: str
    group: str
    instance_id: str
    client_id: str

    def settings(self, on_error: Callable[[KafkaError], None]) -> dict[str, object]:
        """The client library's settings; the reasons are in docs/architecture.md, "The loop"."""
        return {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "group.id": self.group,
            "group.instance.id": self.instance_id,
            "group.protocol": "classic",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 2_000,
            "max.poll.interval.ms": 600_000,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # not "earliest": an offset that is gone must be seen, it is never the normal start
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": 500,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32 * 1024,
            "fetch.message.max.bytes": 1024 * 1024,
            "topic.metadata.refresh.interval.ms": 60_000,
            **QUIET,
            "error_cb": on_error,
        }


UNREADABLE = [("outlast-headers-unreadable", b"1")]
"""In place of headers whose names are not UTF-8."""


def to_received(message: Message) -> Received:
    """A message of the client library as ours."""
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        # a header's name is not UTF-8, which the library cannot say properly; the message must not stop its partition
        headers = UNREADABLE
    return Received(
        message.topic(),  # pyright: ignore[reportArgumentType] a message without error has all of these
        message.partition(),  # pyright: ignore[reportArgumentType]
        message.offset(),  # pyright: ignore[reportArgumentType]
        message.timestamp()[1],
        message.key(),  # pyright: ignore[reportArgumentType] no deserialiser: bytes
        message.value(),  # pyright: ignore[reportArgumentType]
        _headers(headers) if headers else (),
    )


def _headers(headers: object) -> tuple[tuple[str, bytes], ...]:
    return tuple([(name, value or b"") for name, value in headers])  # pyright: ignore[reportGeneralTypeIssues] pairs
