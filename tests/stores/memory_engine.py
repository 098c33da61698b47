"""The engine's rows in memory: the same promises as PostgresEngineStore, held to them by the same suite."""

from bisect import bisect_right, insort
from collections.abc import Collection, Mapping, Sequence

from outlast import ids
from outlast.db.fence import Move
from outlast.db.local import LocalFence
from outlast.errors import Fenced
from outlast.history import codec
from outlast.history.events import Recorded
from outlast_engine.store import Changes
from tests.stores.columns import check_execution_ids, check_text


class MemoryEngineStore:
    """The schema `engine`, shared by every instance of the engine."""

    def __init__(self, fence: LocalFence) -> None:
        self._fence = fence
        self.histories: dict[str, list[Recorded]] = {}
        """By execution, in order. Stored as bytes and read back, so that what replays is what was written."""
        self.bodies: dict[str, bytes] = {}
        self.open: dict[int, list[str]] = {}
        """By partition, in the order of ids."""
        self.uncompared: set[str] = set()
        """Shadow runs without their comparison."""
        self.has_unique_sequences = True
        """The primary key (execution, seq), for a mutant to remove."""

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Recorded]]:
        """The histories of these executions; those without any are absent."""
        check_execution_ids(execution_ids)
        histories = self.histories
        return {each: list(histories[each]) for each in execution_ids if each in histories}

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """The bodies of these definitions; unknown ones are absent."""
        return {each: self.bodies[each] for each in digests if each in self.bodies}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None:
        """All of it or nothing, offsets first."""
        self._fence.check(moves)
        check_execution_ids([execution_id for execution_id, _ in changes.events])
        for each in changes.opened:
            check_text(each.company_id, each.runbook_id, each.runbook_name, each.mode)
        check_execution_ids(changes.compared)
        check_execution_ids(changes.closed)
        written: dict[str, list[Recorded]] = {}
        for execution_id, recorded in changes.events:
            written.setdefault(execution_id, []).append(_as_stored(recorded))
        for execution_id, added in written.items():
            taken = {each.sequence for each in self.histories.get(execution_id, ())}
            for each in added:
                if each.sequence in taken and self.has_unique_sequences:
                    raise Fenced(
                        f"expected to be the only writer of {execution_id}, but {each.sequence} is there"
                    )
                taken.add(each.sequence)
        self._fence.apply(moves)
        for digest, body in changes.definitions.items():
            self.bodies.setdefault(digest, body)
        for execution_id, added in written.items():
            self.histories.setdefault(execution_id, []).extend(added)
        for opened in changes.opened:
            rows = self.open.setdefault(ids.engine_partition(opened.execution_id), [])
            if opened.execution_id not in rows:
                insort(rows, opened.execution_id)
                if opened.mode == "shadow":
                    self.uncompared.add(opened.execution_id)
        self.uncompared -= set(changes.compared)
        for execution_id in changes.closed:
            rows = self.open.get(ids.engine_partition(execution_id), [])
            if execution_id in rows and execution_id not in self.uncompared:
                rows.remove(execution_id)

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        """Open runs of a partition after `after` ("" for the first page), in order."""
        rows = self.open.get(partition, [])
        first = bisect_right(rows, after)
        return rows[first : first + page_max]


def _as_stored(recorded: Recorded) -> Recorded:
    return Recorded(recorded.sequence, recorded.at, codec.decode(codec.encode(recorded.event)))
