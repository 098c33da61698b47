"""For one field: which entries to look at, given its value in a payload."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection

from outlast.runbooks.documents import Json
from outlast.runbooks.severities import SEVERITY_RANK
from outlast_trigger_matcher.core.entries import Entry
from outlast_trigger_matcher.core.keys import FALSE, NULL, TRUE, Bound, Exact, ExactValue, Key, Prefix

Hits = list[Collection[Entry]]


class _Limits:
    """Entries by a limit, in its order."""

    __slots__ = ("entries", "limits")

    def __init__(self) -> None:
        self.limits: list[int | float] = []
        self.entries: list[Entry] = []

    def add(self, limit: int | float, entry: Entry) -> None:
        at = bisect_right(self.limits, limit)
        self.limits.insert(at, limit)
        self.entries.insert(at, entry)

    def remove(self, limit: int | float, entry: Entry) -> None:
        at = self.entries.index(entry, bisect_left(self.limits, limit), bisect_right(self.limits, limit))
        del self.limits[at], self.entries[at]


class _Sides:
    """Entries that want a value above (lower limits) or below (upper limits) something."""

    __slots__ = ("lower", "upper")

    def __init__(self) -> None:
        self.lower = _Limits()
        self.upper = _Limits()

    def side(self, key: Bound) -> _Limits:
        return self.lower if key.is_lower else self.upper

    def look_up(self, value: int | float, hits: Hits) -> int:
        reached = bisect_right(self.lower.limits, value)
        left = bisect_left(self.upper.limits, value)
        if reached:
            hits.append(self.lower.entries[:reached])
        if left < len(self.upper.limits):
            hits.append(self.upper.entries[left:])
        return reached + len(self.upper.limits) - left


class _Prefixes:
    """Entries by prefix, found by cutting a text to every length that occurs."""

    __slots__ = ("by_length",)

    def __init__(self) -> None:
        self.by_length: dict[int, dict[str, dict[Entry, None]]] = {}

    def add(self, text: str, entry: Entry) -> None:
        self.by_length.setdefault(len(text), {}).setdefault(text, {})[entry] = None

    def remove(self, text: str, entry: Entry) -> None:
        same_length = self.by_length[len(text)]
        del same_length[text][entry]
        if not same_length[text]:
            del same_length[text]
        if not same_length:
            del self.by_length[len(text)]

    def look_up(self, text: str, hits: Hits) -> int:
        count = 0
        for length, by_text in self.by_length.items():
            found = by_text.get(text[:length])
            if found is not None:
                hits.append(found)
                count += len(found)
        return count


class Postings:
    """The entries that one field leads to. `entries` counts each entry's keys here."""

    __slots__ = ("_exact", "_folded", "_folded_prefixes", "_numbers", "_prefixes", "_ranks", "entries")

    def __init__(self) -> None:
        self.entries: dict[Entry, int] = {}
        self._exact: dict[ExactValue, dict[Entry, None]] = {}
        self._folded: dict[ExactValue, dict[Entry, None]] = {}
        self._prefixes = _Prefixes()
        self._folded_prefixes = _Prefixes()
        self._numbers = _Sides()
        self._ranks = _Sides()

    def add(self, key: Key, entry: Entry) -> None:
        """Lead to the entry where the key hits."""
        self.entries[entry] = self.entries.get(entry, 0) + 1
        match key:
            case Exact(_, value, is_folded):
                (self._folded if is_folded else self._exact).setdefault(value, {})[entry] = None
            case Prefix(_, text, is_folded):
                (self._folded_prefixes if is_folded else self._prefixes).add(text, entry)
            case Bound(_, limit, _, is_rank):
                (self._ranks if is_rank else self._numbers).side(key).add(limit, entry)

    def remove(self, key: Key, entry: Entry) -> None:
        """Undo `add`."""
        self.entries[entry] -= 1
        if not self.entries[entry]:
            del self.entries[entry]
        match key:
            case Exact(_, value, is_folded):
                exact = self._folded if is_folded else self._exact
                del exact[value][entry]
                if not exact[value]:
                    del exact[value]
            case Prefix(_, text, is_folded):
                (self._folded_prefixes if is_folded else self._prefixes).remove(text, entry)
            case Bound(_, limit, _, is_rank):
                (self._ranks if is_rank else self._numbers).side(key).remove(limit, entry)

    def size(self, key: Key) -> int:
        """How many entries stand where this key would; what an event that hits it would have to look at."""
        match key:
            case Exact(_, value, is_folded):
                return len((self._folded if is_folded else self._exact).get(value, ()))
            case Prefix(_, text, is_folded):
                prefixes = self._folded_prefixes if is_folded else self._prefixes
                return len(prefixes.by_length.get(len(text), {}).get(text, ()))
            case Bound(_, _, _, is_rank):
                return len((self._ranks if is_rank else self._numbers).side(key).limits)

    def look_up(self, value: Json, hits: Hits) -> int:
        """Add to `hits` what the field's value leads to; how many entries that may be (repeated ones count)."""
        if isinstance(value, str):
            return self._look_up_text(value, hits)
        if isinstance(value, list):
            return sum(self.look_up(item, hits) for item in _flat(value))
        if value is None or isinstance(value, bool):
            return _take(self._exact.get(NULL if value is None else TRUE if value else FALSE), hits)
        if isinstance(value, (int, float)):
            return _take(self._exact.get(value), hits) + self._numbers.look_up(value, hits)
        return 0

    def _look_up_text(self, text: str, hits: Hits) -> int:
        count = _take(self._exact.get(text), hits)
        if self._prefixes.by_length:
            count += self._prefixes.look_up(text, hits)
        if self._folded or self._folded_prefixes.by_length:
            folded = text.casefold()
            count += _take(self._folded.get(folded), hits) + self._folded_prefixes.look_up(folded, hits)
        rank = SEVERITY_RANK.get(text)
        return count if rank is None else count + self._ranks.look_up(rank, hits)


def _take(found: dict[Entry, None] | None, hits: Hits) -> int:
    if found is None:
        return 0
    hits.append(found)
    return len(found)


def _flat(array: list[Json]) -> list[Json]:
    flat: list[Json] = []
    waiting = [array]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, list):
                waiting.append(item)
            else:
                flat.append(item)
    return flat
