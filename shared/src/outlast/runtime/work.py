"""What a service brings to the loop: its work, and what it does of its own accord."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.messaging.ports import Outgoing, Received


@dataclass(slots=True)
class Turn:
    """What one batch came to: what to store, what to say when it is stored, what could not be read."""

    changes: object
    """The service's own value, handed back to `Work.commit`."""
    outgoing: list[Outgoing] = field(default_factory=list[Outgoing])
    pending: dict[TopicPartition, list[str]] = field(default_factory=dict[TopicPartition, list[str]])
    """Ids whose messages are in `outgoing`, by the partition that a later owner would derive them for."""
    dead: list[tuple[Received, Exception]] = field(default_factory=list[tuple[Received, Exception]])
    answers: list[Outgoing] = field(default_factory=list[Outgoing])
    """What no stored row could derive again ("unknown"): delivered before the offsets move, like dead letters."""
    touched: set[TopicPartition] = field(default_factory=set[TopicPartition])
    """Partitions whose rows change although no message of theirs was read: their owner is checked all the same."""
    is_nothing: bool = False
    """The messages left nothing to store, to say or to bury: no commit is made for their offsets alone."""


class Work(Protocol):
    """What one service does with its messages. Nothing is sent here; nothing is stored but in `commit`."""

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Load what the messages touch and decide. TransientError: try the same messages again."""
        ...

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """One transaction: `moves` first, then the changes. Fenced, DataRejected, or TransientError (unknown)."""
        ...

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop every cached state of these partitions: their truth may have moved on."""
        ...

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """What these ids have to say, derived from what is stored."""
        ...

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Ids of this partition after `after` that may have something to say, in order; empty at the end."""
        ...


class Agenda(Protocol):
    """What a service does of its own accord, without a message: a timer fires, something unanswered is sent again."""

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """In how many seconds there is something to do for these partitions; None if nothing is known of."""
        ...

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """What is due now, a bounded part of it; None if nothing is. It is stored like the turn of a batch."""
        ...
