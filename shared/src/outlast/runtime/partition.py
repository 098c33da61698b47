"""A partition in a loop's hands: what is stored of its progress, and how far it has been read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move, Owned
from outlast.errors import Fenced
from outlast.messaging.ports import Received
from outlast.runtime.work import Turn


@dataclass(slots=True)
class Partition:
    """Owned since `epoch`."""

    epoch: int
    next_offset: int
    """As stored: what the next commit expects."""
    read_offset: int
    """The next message to take in. Ahead of what is stored by messages that left nothing to store."""
    rederive_after: str | None
    suspect_left: int
    """Messages still to be taken one at a time, because the partition was acquired again and again at one offset."""

    @classmethod
    def acquired(cls, owned: Owned, suspect_left: int) -> "Partition":
        """As it was found."""
        return cls(owned.epoch, owned.next_offset, owned.next_offset, owned.rederive_after, suspect_left)

    def stored(self, move: Move) -> None:
        """This move is committed."""
        self.next_offset = move.next_offset
        self.read_offset = max(self.read_offset, move.next_offset)
        self.suspect_left = max(0, self.suspect_left - 1)


def moves(owned: Mapping[TopicPartition, Partition], messages: Sequence[Received], turn: Turn) -> list[Move]:
    """The offsets that this turn's commit moves: those of its messages, and of what was read before without a commit.

    A partition that the turn speaks for without having read of it keeps its offset, and is checked all the same.
    """
    upto: dict[TopicPartition, int] = {at: each.read_offset for at, each in owned.items() if is_ahead(each)}
    upto |= {at: owned[at].read_offset for at in turn.touched if at in owned}
    read = {message.at: message.offset + 1 for message in messages}
    upto |= read
    missing = [at for at in (*turn.touched, *upto) if at not in owned]
    if missing:
        raise Fenced(f"expected to own {missing[0]}, but it was released")
    found: list[Move] = []
    for at, offset in upto.items():
        each, said = owned[at], tuple(turn.pending.get(at, ()))
        pending = said if at in read else said or None
        found.append(Move(at, each.epoch, each.next_offset, offset, pending))
    return found


def is_ahead(each: Partition) -> bool:
    """Whether more was read than is stored."""
    return each.read_offset > each.next_offset
