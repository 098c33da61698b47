"""Reads the services' dead-letter topics as they are: no group, no commit, the newest of each partition."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from outlast.contracts.topics import SERVICES, dead_letters
from outlast.errors import ContractError
from outlast.messaging.dead_letter import Origin, origin_of
from outlast_cli.failures import Failure, refuse
from outlast_cli.kafka_records import need_address, received_of

TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.5
FIND_MAX = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that nobody could take."""

    at: datetime
    """When it was given up."""
    origin: Origin

    def as_json(self) -> dict[str, object]:
        """For scripts: the value as JSON where it is JSON, else as text."""
        origin = self.origin
        return {
            "id": origin.id,
            "service": origin.service,
            "at": self.at.isoformat(),
            "error": origin.error,
            "error_class": origin.error_class,
            "cause_code": origin.cause_code,
            "topic": origin.original.topic,
            "headers": {name: _text(value) for name, value in origin.original.headers},
            "key": _text(origin.original.key),
            "value": _shown(origin.original.value),
        }


def read(bootstrap: str, services: Sequence[str] = SERVICES, newest_max: int = 100) -> list[DeadLetter]:
    """The newest dead letters of these services, newest first."""
    need_address(bootstrap)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "outlast-cli-reads-without-committing",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "log_level": 2,
        }
    )
    try:
        found = [letter for service in services for letter in _of_service(consumer, service, newest_max)]
    except KafkaException as fault:
        raise Failure(
            f"the broker at {bootstrap} does not answer: {fault.args[0].str()}",
            next_step="is it running? outlast status",
            code="unreachable",
        ) from fault
    finally:
        consumer.close()
    return sorted(found, key=lambda letter: letter.at, reverse=True)[:newest_max]


def find(bootstrap: str, letter_id: str) -> DeadLetter:
    """One dead letter by its id."""
    found = [letter for letter in read(bootstrap, newest_max=FIND_MAX) if letter.origin.id == letter_id]
    if not found:
        refuse(f"there is no dead letter {letter_id}", next_step="list them: outlast dlq list")
    return found[0]


def resend(bootstrap: str, letter: DeadLetter) -> str:
    """Send the message to the topic and partition that it came from; returns the topic."""
    message = letter.origin.resend()
    failures: list[str] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 10_000, "log_level": 2}
    )
    producer.produce(
        message.topic,
        message.value,
        message.key,
        -1 if message.partition is None else message.partition,
        headers=[*message.headers],
        on_delivery=lambda error, _: failures.append(str(error)) if error else None,
    )
    if producer.flush(TIMEOUT_SECONDS) or failures:
        raise Failure(
            f"{message.topic} did not take it: {', '.join(failures) or 'no answer'}",
            next_step="is the broker running? outlast status",
        )
    return message.topic


def _of_service(consumer: Consumer, service: str, newest_max: int) -> Iterator[DeadLetter]:
    topic = dead_letters(service)
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if metadata.error is not None:
        return  # a service that never ran has no such topic
    ends: dict[int, int] = {}
    starts: list[TopicPartition] = []
    for partition in metadata.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS)
        if high > low:
            ends[partition] = high
            starts.append(TopicPartition(topic, partition, max(low, high - newest_max)))
    if not starts:
        return
    consumer.assign(starts)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while ends and time.monotonic() < deadline:
        for message in consumer.consume(500, POLL_SECONDS):
            received = received_of(message)
            if received.offset + 1 >= ends.get(received.partition, 0):
                ends.pop(received.partition, None)
            try:
                letter = DeadLetter(
                    datetime.fromtimestamp(received.timestamp_ms / 1000, UTC), origin_of(received)
                )
            except ContractError:
                continue  # somebody else's message on this topic
            yield letter
    consumer.unassign()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _shown(value: bytes | None) -> object:
    if value is None:
        return None
    try:
        shown = json.loads(value)
        json.dumps(shown, ensure_ascii=False).encode()  # a lone surrogate cannot be printed
    except (ValueError, RecursionError):
        return _text(value)
    return shown
