"""What the system says on its topics while something is measured: read from now on, as anybody may."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from tests.bench.load import System


@dataclass(frozen=True, slots=True)
class Said:
    """One message."""

    topic: str
    partition: int
    document: dict[str, Any]
    at: float
    """When the broker took it, seconds since 1970."""
    seen_at: float
    """When it was read, seconds of the monotonic clock."""


class Watch:
    """Reads topics from their present end."""

    def __init__(self, system: System, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": system.kafka, "group.id": f"watch-{uuid.uuid4()}", "enable.auto.commit": False,
             "fetch.min.bytes": 1, "fetch.wait.max.ms": 200, "log_level": 2, "auto.offset.reset": "latest"}
        )  # fmt: skip
        parts: list[TopicPartition] = []
        for name in topics:
            metadata = self._consumer.list_topics(name, timeout=10)
            parts += [TopicPartition(name, number) for number in metadata.topics[name].partitions]
        for part in parts:
            end = self._consumer.get_watermark_offsets(part, timeout=10)[1]
            part.offset = end if end >= 0 else OFFSET_END
        self._consumer.assign(parts)

    def read(self, seconds: float) -> Iterator[Said]:
        """Everything that comes within so many seconds; ends as soon as the caller has enough."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            for message in self._consumer.consume(500, min(left, 0.1)):
                if message.error() is None:
                    yield Said(
                        message.topic() or "",
                        message.partition() or 0,
                        json.loads(message.value() or b"{}"),
                        message.timestamp()[1] / 1000,
                        time.monotonic(),
                    )

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
