"""What may go wrong with messages on the broker in memory; the simulation decides, from its seed."""

from collections.abc import Sequence
from typing import Protocol

from outlast.contracts.topics import TopicPartition
from outlast.messaging.ports import Outgoing


class Faults(Protocol):
    """What goes wrong with messages; asked at each send and at each poll. Never breaks the order of one key."""

    def is_early(self, message: Outgoing) -> bool:
        """Whether this message reaches the broker at once, so that it is there even if its sender dies unflushed."""
        ...

    def copies(self, message: Outgoing) -> int:
        """How often the broker stores it: 1; more for a duplicate; 0 for one lost, so that `flush` raises."""
        ...

    def order(self, count: int) -> Sequence[int]:
        """The order (a permutation of range(count)) in which one flush reaches the broker."""
        ...

    def take(self, at: TopicPartition, available: int) -> int:
        """How many of the available messages this poll may have: fewer for a slow fetch, 0 for a late one."""
        ...


class NoFaults:
    """Everything as it should be."""

    def is_early(self, message: Outgoing) -> bool:
        """Never."""
        return False

    def copies(self, message: Outgoing) -> int:
        """One."""
        return 1

    def order(self, count: int) -> Sequence[int]:
        """As sent."""
        return range(count)

    def take(self, at: TopicPartition, available: int) -> int:
        """All."""
        return available
