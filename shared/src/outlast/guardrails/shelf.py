"""A set of entries in their order, and the small rows that keep it.

A queue may be long and a window may count thousands. Kept as one value, each change would write all of it; so the
entries lie in rows of a few dozen, an entry stays in the row that it came into, and a change writes its row.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from outlast import limits


class Entry(NamedTuple):
    """One firing, in the order of the broker's time of its event."""

    at: int
    """Microseconds since 1970."""
    id: str
    number: float = 0
    """Of who waits: the limit that it asked with. Of who was let through a window: the seconds of that window."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of some entries."""

    entries: tuple[Entry, ...]


class Shelf:
    """Entries by id, ordered by (at, id). Remembers which rows have changed since it was last asked."""

    __slots__ = ("_by_id", "_changed", "_last", "_order", "_rows", "_stored")

    def __init__(self, rows: Mapping[int, Row] | None = None) -> None:
        self._by_id: dict[str, tuple[Entry, int]] = {}
        """With the number of the row that keeps it."""
        self._rows: dict[int, dict[str, Entry]] = {}
        for number, row in (rows or {}).items():
            self._rows[number] = {entry.id: entry for entry in row.entries}
            self._by_id.update((entry.id, (entry, number)) for entry in row.entries)
        self._order = sorted(entry for entry, _ in self._by_id.values())
        self._last = max(self._rows, default=0)
        self._changed: set[int] = set()
        self._stored = set(self._rows)

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._by_id

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._order)

    @property
    def first(self) -> Entry | None:
        """The earliest."""
        return self._order[0] if self._order else None

    @property
    def newest(self) -> Entry | None:
        """The latest."""
        return self._order[-1] if self._order else None

    def count_after(self, at: int) -> int:
        """How many are later than this instant."""
        return len(self._order) - bisect_left(self._order, (at + 1,))

    def add(self, entry: Entry) -> None:
        """One more; an id that is there already stays as it is."""
        if entry.id in self._by_id:
            return
        row = self._rows.setdefault(self._last, {})
        if len(row) >= limits.GATE_ROW_ENTRIES_MAX:
            self._last += 1
            row = self._rows.setdefault(self._last, {})
        row[entry.id] = entry
        self._by_id[entry.id] = (entry, self._last)
        self._changed.add(self._last)
        insort(self._order, entry)

    def remove(self, execution_id: str) -> bool:
        """Whether it was there."""
        entry, number = self._by_id.pop(execution_id, (None, 0))
        if entry is None:
            return False
        del self._order[bisect_left(self._order, entry)]
        self._take_from_row(entry, number)
        return True

    def drop_first(self, count: int) -> None:
        """Forget the earliest."""
        for entry in self._order[:count]:
            _, number = self._by_id.pop(entry.id)
            self._take_from_row(entry, number)
        del self._order[:count]

    def drop_until(self, at: int) -> None:
        """Forget those that are not later than this instant."""
        self.drop_first(len(self._order) - self.count_after(at))

    def changes(self) -> Iterable[tuple[int, Row | None]]:
        """The rows that differ from what is stored, None for one that is gone. Afterwards none differs."""
        changed, self._changed = sorted(self._changed), set()
        rows: list[tuple[int, Row | None]] = []
        for number in changed:
            if number in self._rows:
                rows.append((number, Row(tuple(self._rows[number].values()))))
                self._stored.add(number)
            elif number in self._stored:
                rows.append((number, None))
                self._stored.discard(number)
        return rows

    def _take_from_row(self, entry: Entry, number: int) -> None:
        row = self._rows[number]
        del row[entry.id]
        if not row:
            del self._rows[number]
        self._changed.add(number)
