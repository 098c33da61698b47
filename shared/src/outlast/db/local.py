"""The fenced partition rows in memory, for the simulation; passes the same suite as the Postgres ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Move, Owned
from outlast.errors import Fenced


@dataclass(slots=True)
class _Row:
    topic_id: str
    epoch: int = 1
    next_offset: int = 0
    pending: tuple[str, ...] = ()
    rederive_after: str | None = None
    acquired_at_offset: int = 0
    acquisitions: int = 1
    attempts: int = 0


class LocalFence:
    """The partition rows of one loop, kept over restarts of the loop's process."""

    def __init__(self) -> None:
        self.rows: dict[TopicPartition, _Row] = {}

    async def acquire(self, claims: Sequence[Claim]) -> list[Owned]:
        """Own these partitions from now on: epoch + 1."""
        return [self._acquire(claim) for claim in claims]

    def _acquire(self, claim: Claim) -> Owned:
        row = self.rows.get(claim.at)
        if row is None:
            row = self.rows[claim.at] = _Row(claim.topic_id, rederive_after="")
        else:
            row.epoch += 1
            if row.topic_id != claim.topic_id:
                row.topic_id, row.next_offset, row.rederive_after, row.attempts = claim.topic_id, 0, "", 0
                row.acquisitions = 1
            else:
                row.acquisitions = row.acquisitions + 1 if row.acquired_at_offset == row.next_offset else 1
            row.acquired_at_offset = row.next_offset
        return Owned(claim.at, row.epoch, row.next_offset, row.pending, row.rederive_after, row.acquisitions)

    def check(self, moves: Sequence[Move]) -> None:
        """Fenced unless every row is as the moves expect; changes nothing."""
        for each in moves:
            row = self.rows.get(each.at)
            if row is None or row.epoch != each.epoch or row.next_offset != each.expected_offset:
                raise Fenced(
                    f"expected to own {each.at} at epoch {each.epoch}, offset {each.expected_offset}"
                )

    def apply(self, moves: Sequence[Move]) -> None:
        """Move the offsets (after `check`, in the same step)."""
        for each in moves:
            row = self.rows[each.at]
            row.next_offset, row.attempts = each.next_offset, 0
            if each.pending is not None:
                row.pending = each.pending

    async def clear_pending(self, owned: Mapping[TopicPartition, int]) -> None:
        """Everything said is delivered."""
        for at, epoch in owned.items():
            row = self.rows.get(at)
            if row is not None and row.epoch == epoch:
                row.pending = ()

    async def store_rederived(self, at: TopicPartition, epoch: int, after: str | None) -> None:
        """Progress of the walk over what is outstanding; None when it is done."""
        row = self.rows[at]
        if row.epoch == epoch:
            row.rederive_after = after

    async def count_attempt(self, at: TopicPartition, epoch: int) -> int:
        """One more attempt at the message at the stored offset begins; returns which one it is."""
        row = self.rows[at]
        if row.epoch != epoch:
            raise Fenced(f"expected to own {at} at epoch {epoch}")
        row.attempts += 1
        return row.attempts

    async def take_back_attempts(self, at: TopicPartition, offset: int, count: int) -> None:
        """So many attempts at this offset ended without the death of their process: they do not count."""
        row = self.rows.get(at)
        if row is not None and row.next_offset == offset:
            row.attempts = max(0, row.attempts - count)
