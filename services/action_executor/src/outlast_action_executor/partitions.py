"""The partitions in hand: what was read of each, what may be stored of it, and whether it is paused."""

from collections.abc import Collection, Sequence

from outlast import limits
from outlast.clock import Clock
from outlast.contracts.topics import INLINE, TopicPartition
from outlast.db.fence import Move, Owned
from outlast.messaging.ports import Source
from outlast_action_executor.core.offsets import Offsets
from outlast_action_executor.inbound import Partition

MOVE_AFTER_SECONDS = 0.5
"""An offset that may move is stored with the next commit after this time, or in one of its own."""


class Partitions:
    """Owned partitions by their place. An offset that moves is stored lazily: the ledger answers what comes again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._owned: dict[TopicPartition, Partition] = {}
        self._move_at: float | None = None

    def __contains__(self, at: TopicPartition) -> bool:
        """Whether it is owned."""
        return at in self._owned

    @property
    def owned(self) -> Collection[TopicPartition]:
        """Where they are."""
        return self._owned.keys()

    def get(self, at: TopicPartition) -> Partition | None:
        """The partition, if it is owned."""
        return self._owned.get(at)

    def gain(self, owned: Owned) -> None:
        """It is ours from now on."""
        is_inline = owned.at.topic == INLINE
        self._owned[owned.at] = Partition(owned.epoch, Offsets(owned.next_offset), is_inline)

    def lose(self, places: Collection[TopicPartition]) -> bool:
        """They are ours no more; whether any of them was."""
        lost = [self._owned.pop(at) for at in places if at in self._owned]
        for partition in lost:
            partition.is_lost = True
        return bool(lost)

    def move_at(self) -> float | None:
        """When offsets are to be stored (monotonic); None if none may move."""
        if self._move_at is None and any(
            each.offsets.next_offset() != each.offsets.stored for each in self._owned.values()
        ):
            self._move_at = self._clock.monotonic() + MOVE_AFTER_SECONDS
        return self._move_at

    def moves(self, *, is_last: bool = False) -> list[tuple[Partition, Move]]:
        """The offsets to store now: none until some have been waiting for `MOVE_AFTER_SECONDS`."""
        if not is_last and (self._move_at is None or self._clock.monotonic() < self._move_at):
            return []
        self._move_at = None
        moves: list[tuple[Partition, Move]] = []
        for at, partition in self._owned.items():
            stored, upto = partition.offsets.stored, partition.offsets.next_offset()
            if upto != stored:
                moves.append((partition, Move(at, partition.epoch, stored, upto, None)))
        return moves

    async def apply_pressure(self, source: Source) -> None:
        """Pause what has too much in hand, resume what has half of it done."""
        full: list[TopicPartition] = []
        roomy: list[TopicPartition] = []
        for at, partition in self._owned.items():
            if not partition.is_paused and _load(partition, partition.offsets.in_hand_at_most) <= 1:
                continue
            load = _load(partition, len(partition.offsets))
            if not partition.is_paused and load > 1:
                partition.is_paused = True
                full.append(at)
            elif partition.is_paused and load <= 0.5:
                partition.is_paused = False
                roomy.append(at)
        if full:
            await source.pause(full)
        if roomy:
            await source.resume(roomy)


def _load(partition: Partition, in_hand: int) -> float:
    """How much of what a partition may have in hand it has: above 1 it is too much.

    An inline run may take minutes, and those behind it go on meanwhile: they count until they have ended, and what
    has ended behind it is a number.
    """
    if not partition.is_inline:
        return in_hand / limits.UNFINISHED_MAX
    return max(
        in_hand / limits.INLINE_UNFINISHED_MAX,
        partition.runs / limits.INLINE_RUNS_MAX,
        partition.run_bytes / limits.INLINE_BYTES_MAX,
    )


def stored(moves: Sequence[tuple[Partition, Move]]) -> None:
    """The commit that held these moves is done."""
    for partition, move in moves:
        partition.offsets.stored = move.next_offset
