"""Kafka's messages as the values that the product's own code reads, and the refusal where no broker is known."""

from confluent_kafka import KafkaException, Message

from outlast.messaging.ports import Received
from outlast_cli.failures import Failure


def received_of(message: Message) -> Received:
    """The message; a KafkaException if it is an error."""
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    headers = tuple(
        (name, value if isinstance(value, bytes) else str(value or "").encode())
        for name, value in message.headers() or ()
    )
    key, value = message.key(), message.value()
    return Received(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        key if isinstance(key, bytes) else None,
        value if isinstance(value, bytes) else None,
        headers,
    )


def need_address(bootstrap: str) -> None:
    """Fail unless a broker's address is known."""
    if not bootstrap:
        raise Failure(
            "the broker's address is not known", next_step="set KAFKA_BOOTSTRAP_SERVERS, or: outlast up"
        )
