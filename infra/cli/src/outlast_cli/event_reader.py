"""Reads the topics of domain events from now on: no group, no commit, nothing of what was before."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from outlast.contracts.domain_events import decode_data
from outlast.errors import ContractError
from outlast.messaging.cloudevents import CloudEvent, parse
from outlast.messaging.ports import Received
from outlast_cli.failures import Failure
from outlast_cli.kafka_records import need_address, received_of

TOPIC = re.compile(r"platform\.[^.]+\.events")
TIMEOUT_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 10.0
"""How often producers that are new are looked for."""
BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One message on a topic of domain events."""

    received: Received
    event: CloudEvent | None
    fault: str
    """Why it is no event that can be taken; "" if it is one."""


class EventReader:
    """What arrives on every topic of domain events after it was made."""

    def __init__(self, bootstrap: str) -> None:
        need_address(bootstrap)
        self._bootstrap = bootstrap
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "outlast-cli-reads-without-committing",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "log_level": 2,
            }
        )
        self._positions: dict[tuple[str, int], int] = {}
        self._looked_at = 0.0
        self._look(from_end=True)

    @property
    def topics(self) -> list[str]:
        """What is read."""
        return sorted({topic for topic, _ in self._positions})

    def read(self, seconds: float) -> Iterator[Seen]:
        """What came, waiting at most so long for the first."""
        if time.monotonic() - self._looked_at > LOOK_AGAIN_SECONDS:
            self._look(from_end=False)
        messages = self._consumer.consume(1, seconds)
        messages += self._consumer.consume(BATCH_MAX - 1, 0.02) if messages else []
        for message in messages:
            received = received_of(message)
            self._positions[received.topic, received.partition] = received.offset + 1
            yield _seen(received)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _look(self, *, from_end: bool) -> None:
        """Take in partitions that are new; those that came after the start are read whole."""
        try:
            topics = self._consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
            fresh = [
                (name, partition)
                for name, topic in topics.items()
                for partition in topic.partitions
                if TOPIC.fullmatch(name) and (name, partition) not in self._positions
            ]
            for name, partition in fresh:
                ends = self._consumer.get_watermark_offsets(
                    TopicPartition(name, partition), timeout=TIMEOUT_SECONDS
                )
                self._positions[name, partition] = ends[1] if from_end else ends[0]
        except KafkaException as fault:
            raise Failure(
                f"the broker at {self._bootstrap} does not answer: {fault.args[0].str()}",
                next_step="is it running? outlast status",
                code="unreachable",
            ) from fault
        self._looked_at = time.monotonic()
        if fresh:
            self._consumer.assign([TopicPartition(*each, offset) for each, offset in self._positions.items()])


def _seen(received: Received) -> Seen:
    try:
        event = parse(received)
        decode_data(event.type, event.data)
    except ContractError as fault:
        return Seen(received, None, str(fault))
    return Seen(received, event, "")
