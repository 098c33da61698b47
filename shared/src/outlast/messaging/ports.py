"""What a loop needs of a broker: a source with ownership, a sink that says when everything is delivered.

`kafka` implements it on a real broker, `local` in memory; `outlast.testing.broker_suite` holds both to
this text.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from outlast.contracts.topics import Claim, TopicPartition
from outlast.errors import PermanentError

PLACES_MAX = 4096
"""More partitions than one process reads."""
_place = lru_cache(PLACES_MAX)(TopicPartition)
"""A loop asks each message several times where it is from: making the same pair anew costs twice as much."""


class Received(msgspec.Struct, frozen=True):
    """A message as it came. `timestamp_ms` is the broker's append time on our own topics."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def at(self) -> TopicPartition:
        """Where it came from."""
        return _place(self.topic, self.partition)


class Outgoing(msgspec.Struct, frozen=True):
    """A message to send. `partition` None leaves the choice to the partitioner (murmur2 of the key)."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class InstanceTaken(PermanentError):
    """Another process joined under our instance id: we are the zombie and must stop, not join again."""


def lost_topic_id(topic_id: str, expected_offset: int) -> str:
    """What a topic is called in a claim when it ends before the offset that its owner expects.

    The broker lost messages under the topic's own id. To the owner that is a new topic: start over, say again what
    is outstanding. The next ordinary claim names the topic's own id, and so starts over once more.
    """
    return f"{topic_id}+lost-before-{expected_offset}"


class Owner(Protocol):
    """The loop, as the source sees it: asked for start offsets when partitions are assigned."""

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Become the owner (epoch + 1) and say at which offset to start each partition. Called before any
        message.
        """
        ...

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer ours: forget their state, write nothing more for them."""
        ...


class Source(Protocol):
    """A consumer in a group. Offsets that count are the owner's; the broker's are only told for lag tools."""

    async def poll(self, messages_max: int, timeout_seconds: float) -> Sequence[Received]:
        """Block up to the timeout for the first message, then take what is already there, in partition order.

        Assignments and revocations happen inside, through the owner. Empty when nothing came.
        """
        ...

    def position(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the broker how far we are (for lag tools); cheap, sent every few seconds, never read back."""
        ...

    async def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Deliver nothing of these until resumed (back pressure)."""
        ...

    async def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Deliver again."""
        ...

    async def rejoin(self) -> None:
        """Give up every partition and ask the group anew: after a fence, or a commit of unknown outcome."""
        ...

    async def close(self) -> None:
        """Leave without waiting; a static member's partitions wait for its return."""
        ...


class Sink(Protocol):
    """A producer. `send` queues; `flush` returns when every queued message is acknowledged by the broker."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Queue in order. Never blocks for the broker."""
        ...

    async def flush(self) -> None:
        """Wait until all that was sent is acknowledged. TransientError if some was not: send it all again."""
        ...

    async def partition_count(self, topic: str) -> int:
        """How many partitions the topic has (cached)."""
        ...

    async def close(self) -> None:
        """Flush and close."""
        ...
