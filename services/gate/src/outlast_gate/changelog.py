"""Reading the table's changelog at a start, in one go.

Faust reads it a row a millisecond and waits for ever for an offset that holds no row: a transaction's marker, or what
was compacted away. The client library takes some microseconds and says where a partition ends.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import TopicPartition as KafkaPartition

from outlast.errors import TransientError
from outlast.messaging.member import QUIET

POLL_SECONDS = 0.05
"""`consume` waits as long for more, even when it has some."""
ROWS_AT_ONCE = 5_000
REQUEST_SECONDS = 5.0


@dataclass(slots=True)
class Restored:
    """What was read."""

    rows: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    next_offsets: dict[int, int] = field(default_factory=dict[int, int])
    """By partition."""
    is_whole: bool = True
    """False if it could not be read to its end: the rows are none."""


def read_changelog(
    kafka: str,
    topic: str,
    partitions: Collection[int],
    stalled_seconds: float,
    monotonic: Callable[[], float],
) -> Restored:
    """All rows of these partitions. After so many seconds without a row it is given up, and there are none.

    Blocking. TransientError when the broker does not even say where the partitions end.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"{topic}.reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            **QUIET,
        }
    )
    try:
        consumer.assign([KafkaPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
        return _read(consumer, topic, partitions, stalled_seconds, monotonic)
    except KafkaException as fault:
        raise TransientError(f"expected {topic} to be read, got {fault}") from fault
    finally:
        consumer.close()


def _read(
    consumer: Consumer,
    topic: str,
    partitions: Iterable[int],
    stalled_seconds: float,
    monotonic: Callable[[], float],
) -> Restored:
    restored = Restored()
    open_partitions = set(partitions)
    moved_at = monotonic()
    while open_partitions:
        messages = consumer.consume(ROWS_AT_ONCE, POLL_SECONDS)
        for message in messages:
            _take(message, restored, open_partitions)
        if messages:
            moved_at = monotonic()
        elif monotonic() - moved_at > stalled_seconds:
            ends = {
                each: consumer.get_watermark_offsets(KafkaPartition(topic, each), REQUEST_SECONDS)[1]
                for each in partitions
            }
            return Restored(next_offsets=ends, is_whole=False)
    return restored


def _take(message: Message, restored: Restored, open_partitions: set[int]) -> None:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    error = message.error()
    if error is None:
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        if isinstance(value, bytes):
            restored.rows[key] = value
        else:
            restored.rows.pop(key, None)
    elif error.code() == KafkaError._PARTITION_EOF:
        restored.next_offsets[partition] = offset
        open_partitions.discard(partition)
    elif error.fatal():
        raise KafkaException(error)
