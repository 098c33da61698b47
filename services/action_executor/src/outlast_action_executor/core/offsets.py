"""The next offset of a partition whose messages finish in any order: the lowest that is unfinished. Pure."""

from collections import deque
from typing import Protocol


class Tracked(Protocol):
    """A message in hand."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether everything that it called for is acknowledged."""
        ...


class Offsets:
    """The messages of one partition in hand, in the order in which they came."""

    def __init__(self, next_offset: int) -> None:
        self._unfinished: deque[Tracked] = deque()
        self._read_upto = next_offset
        self.stored = next_offset
        """What the partition's row holds."""

    @property
    def in_hand_at_most(self) -> int:
        """How many are in hand, counting some that are done: cheap."""
        return len(self._unfinished)

    def __len__(self) -> int:
        """How many are in hand, from the lowest unfinished one on."""
        self.next_offset()
        return len(self._unfinished)

    def take(self, message: Tracked) -> bool:
        """Keep track of it; False if it was read before."""
        if message.offset < self._read_upto:
            return False
        self._unfinished.append(message)
        self._read_upto = message.offset + 1
        return True

    def next_offset(self) -> int:
        """The lowest unfinished offset, or where to read on."""
        unfinished = self._unfinished
        while unfinished and unfinished[0].is_done:
            unfinished.popleft()
        return unfinished[0].offset if unfinished else self._read_upto
