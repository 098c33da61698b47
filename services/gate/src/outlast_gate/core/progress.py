"""Does the stream move? An agent may die without a word, so where it stands is compared with the broker's ends."""

from collections.abc import Collection, Mapping


class Progress:
    """For each lane: up to where it is done, and since when it has had something to do and done nothing."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._idle: dict[int, tuple[int, float]] = {}
        """Lane to the offset where it stood when it was first seen standing, and when that was."""

    def done(self, lane: int, offset: int) -> None:
        """The message at this offset is done with."""
        self._next[lane] = offset + 1

    def unknown(self, lanes: Collection[int]) -> set[int]:
        """Those that have done nothing yet: the group's committed offsets have to say where they are."""
        return {lane for lane in lanes if lane not in self._next}

    def begin(self, committed: Mapping[int, int]) -> None:
        """Where lanes begin that have done nothing yet."""
        for lane, offset in committed.items():
            self._next.setdefault(lane, offset)

    def forget(self) -> None:
        """The lanes are dealt anew."""
        self._next.clear()
        self._idle.clear()

    def look(self, ends: Mapping[int, int], now: float) -> None:
        """Compare with the ends of these lanes, which are ours; `now` in seconds."""
        self._idle = {
            lane: self._since(lane, now) for lane, end in ends.items() if self._next.get(lane, 0) < end
        }

    def pause(self) -> None:
        """The broker does not answer: standing still is no fault."""
        self._idle.clear()

    def idle_seconds(self, now: float) -> float:
        """How long the slowest lane has had something to do and done nothing."""
        return max((now - since for _, since in self._idle.values()), default=0.0)

    def _since(self, lane: int, now: float) -> tuple[int, float]:
        position = self._next.get(lane, 0)
        before = self._idle.get(lane)
        return before if before is not None and before[0] == position else (position, now)
