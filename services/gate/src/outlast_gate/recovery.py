"""The stream processor's table and its recovery, where the library's own would lose messages, or hang, or be slow.

Three things are ours. The changelog is read in one go (`changelog`), before the library looks at it: it then finds
nothing left to read. A change of the table goes to its changelog through our producer: 20 µs, not 500. And the
lanes are opened last: Faust lets messages in before it has gone back to the committed offsets and emptied its queues,
and what comes in meanwhile is thrown away and never read again, so that a lane stands still until the next start.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.types import TP
from faust.types.transports import ConsumerT

Publish = Callable[[int, bytes, bytes | None], None]
"""Partition, key, value; None deletes."""
Restore = Callable[[set[int]], Awaitable[None]]
"""Put the rows of these partitions into the table, and say in `restored_to` how far they go."""


class PublishedTable(Table[bytes, bytes]):
    """A table whose changes go where `publish` takes them."""

    publish: Publish
    restored_to: dict[int, int]
    """By partition: the last offset that is in the table."""

    def on_key_set(self, key: bytes, value: bytes) -> None:
        """A row was written."""
        self.publish(self._partition(key), key, value)

    def on_key_del(self, key: bytes) -> None:
        """A row was deleted."""
        self.publish(self._partition(key), key, None)

    def persisted_offset(self, tp: TP) -> int | None:
        """Up to where the changelog is in the table."""
        return self.restored_to.get(tp.partition)

    def _partition(self, key: bytes) -> int:
        partition = self.partition_for_key(key)
        assert partition is not None
        return partition


class OrderedRecovery(Recovery):
    """Opens the lanes when everything else is done, and takes the table's word for how far it is restored.

    The library's questions would each wait for a fetch that is under way on their connection: a second and a half.
    """

    async def _build_highwaters(
        self, consumer: ConsumerT, tps: set[TP], destination: Counter[TP], title: str
    ) -> None:
        destination.clear()
        for tp, offset in self._restored_to(tps).items():
            destination[tp] = offset

    async def _build_offsets(
        self, consumer: ConsumerT, tps: set[TP], destination: Counter[TP], title: str
    ) -> None:
        for tp, offset in self._restored_to(tps).items():
            destination[tp] = offset

    def _restored_to(self, tps: set[TP]) -> dict[TP, int]:
        found = {tp: self.tp_to_table[tp].persisted_offset(tp) for tp in tps}
        return {tp: -1 if offset is None else offset for tp, offset in found.items()}

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Call when the tables are restored."""
        consumer: Any = self.app.consumer
        held: set[TP] = set()

        def hold(partitions: Iterable[TP]) -> None:
            held.update(partitions)

        consumer.resume_partitions = hold
        try:
            await super().on_recovery_completed(generation_id)
        finally:
            del consumer.resume_partitions
        consumer.resume_partitions(held)


class RestoringTableManager(TableManager):
    """Restores the table itself when partitions are dealt."""

    restore: Restore

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when it is first asked for."""
        if self._recovery is None:
            self._recovery = OrderedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Call when the app starts. Without the library's pause of a second: all agents are known here."""
        await self._update_channels()
        await self.recovery.start()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Call when partitions are dealt."""
        await self.restore({tp.partition for tp in assigned if tp.topic in self.changelog_topics})
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
