"""What the gate knows of one runbook: who went through which window, who holds which slot, who waits for it.

A shelf for each kind and key, never one value that grows. All of it may be lost or wrong: the dispatch decides.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from outlast import limits
from outlast.guardrails.shelf import Row, Shelf

Kind: TypeAlias = Literal["window", "holder", "queue", "skipped"]
WINDOW: Final = "window"
HOLDER: Final = "holder"
QUEUE: Final = "queue"
SKIPPED: Final = "skipped"
"""Who was told that the slot is taken: told the same again."""

LATENESS: Final = 3_600 * 1_000_000
"""Microseconds. An ask may be as late as this, compared with later ones of its key, and is still counted exactly."""
FORGOTTEN: Final = 30 * 86_400 * 1_000_000
"""Microseconds. Who has held or waited this long is forgotten: it was lost, or the dispatch will say so again."""


class Place(NamedTuple):
    """Where a row is kept."""

    kind: Kind
    key: str
    number: int


class Guards:
    """The shelves of one runbook of one company."""

    __slots__ = ("_rotation", "_shelves", "_touched")

    def __init__(self, rows: Mapping[Place, Row] | None = None) -> None:
        of_shelf: dict[tuple[Kind, str], dict[int, Row]] = {}
        for (kind, key, number), row in (rows or {}).items():
            of_shelf.setdefault((kind, key), {})[number] = row
        self._shelves = {name: Shelf(each) for name, each in of_shelf.items()}
        self._rotation = deque(self._shelves)
        self._touched: set[tuple[Kind, str]] = set()

    def __len__(self) -> int:
        return len(self._shelves)

    def read(self, kind: Kind, key: str) -> Shelf | None:
        """The shelf, None if nothing is on it."""
        return self._shelves.get((kind, key))

    def write(self, kind: Kind, key: str) -> Shelf:
        """The shelf, to be changed."""
        name = (kind, key)
        self._touched.add(name)
        shelf = self._shelves.get(name)
        if shelf is None:
            shelf = self._shelves[name] = Shelf()
            self._rotation.append(name)
        return shelf

    def holds(self, kind: Kind, key: str, execution_id: str) -> bool:
        """Whether it is on that shelf."""
        shelf = self._shelves.get((kind, key))
        return shelf is not None and execution_id in shelf

    def sweep(self, now: datetime, shelves: int) -> None:
        """Look at so many shelves, each in its turn, and forget what is too old to matter."""
        at = microseconds(now)
        for _ in range(min(shelves, len(self._rotation))):
            name = self._rotation.popleft()
            shelf = self._shelves[name]
            if (first := shelf.first) is not None and first.at <= _oldest(name[0], shelf, at):
                self._touched.add(name)
                shelf.drop_until(_oldest(name[0], shelf, at))
            if len(shelf) or name in self._touched:
                self._rotation.append(name)
            else:
                del self._shelves[name]

    def changes(self) -> Iterable[tuple[Place, Row | None]]:
        """The rows that differ from what is stored, None for one that is gone. Afterwards none differs."""
        touched, self._touched = sorted(self._touched), set()
        return [
            (Place(kind, key, number), row)
            for kind, key in touched
            for number, row in self._shelves[kind, key].changes()
        ]


def _oldest(kind: Kind, shelf: Shelf, now: int) -> int:
    """Entries up to this instant are of no use."""
    if kind == WINDOW:
        newest = shelf.newest
        assert newest is not None
        return now - int(newest.number * 1_000_000) - LATENESS
    return now - (LATENESS if kind == SKIPPED else FORGOTTEN)


def keep_of_window(limit: int, seconds: float) -> int:
    """How many entries of a window are kept: those that count, and those that may be asked again after they do.

    The newest `limit` decide: whether fewer than `limit` are later than an instant is to be seen from them alone.
    """
    asked_again = int(limit * limits.GATE_ASKED_AGAIN_SECONDS / seconds) + 1
    return limit + min(asked_again, limits.GATE_ANSWERS_MAX)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Since 1970."""
    return (instant - _EPOCH) // _MICROSECOND
