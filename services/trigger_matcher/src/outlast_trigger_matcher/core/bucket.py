"""All runbooks of one company that listen to one event type, and the few to look at for one event.
 Each entry stands under the keys of its cheapest cover, or in a list that is always checked. Looking a field
up costs about as much as asking a few dozen conditions, so fields that lead to fewer entries are not looked
up: theirs join the list. If what was found is a good part of everything, everything is asked in order, and
the index has cost little.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain

from outlast.runbooks.documents import Json
from outlast.runbooks.paths import EACH, Found, Steps, getter, values_at
from outlast.runbooks.trees import Node
from outlast_trigger_matcher.core.entries import Entry
from outlast_trigger_matcher.core.keys import Bound, Cover, Exact, Key, cheapest_cover
from outlast_trigger_matcher.core.postings import Hits, Postings

LOOKED_UP_MIN = 32
"""Entries that a field must lead to before it is worth a look-up per event."""
SHARE_MAX = 4
"""Above one in so many candidates, all entries are asked in order instead."""
_COMMON_COST = 16
_BOUND_COST = 64


class Bucket:
    """Add and remove entries at any time; the next event sees them."""

    def __init__(self) -> None:
        self._covers: dict[Entry, Cover | None] = {}
        self._postings: dict[Steps, Postings] = {}
        self._plan: _Plan | None = None

    def __len__(self) -> int:
        return len(self._covers)

    def add(self, entry: Entry, tree: Node | None) -> None:
        """The entry may fire only where the tree is true; None: anywhere."""
        cover = None if tree is None else cheapest_cover(tree, self._cost)
        self._covers[entry] = cover
        for key in cover or ():
            self._postings.setdefault(key.steps, Postings()).add(key, entry)
        self._plan = None

    def remove(self, entry: Entry) -> None:
        """Undo `add`."""
        for key in self._covers.pop(entry) or ():
            postings = self._postings[key.steps]
            postings.remove(key, entry)
            if not postings.entries:
                del self._postings[key.steps]
        self._plan = None

    def candidates(self, payload: Json) -> list[Entry]:
        """The entries that may fire, ordered by runbook id: at least those whose tree is true."""
        plan = self._settled()
        found = self._find(plan, payload)
        if found is None:
            return plan.ordered
        return sorted(found, key=_runbook_id)

    def match(self, payload: Json, now: datetime) -> tuple[str, ...]:
        """The runbooks that fire, ordered by id."""
        plan = self._settled()
        found = self._find(plan, payload)
        if found is None:
            return tuple([runbook_id for runbook_id, check in plan.questions if check(payload, now)])
        return tuple(sorted([entry.runbook_id for entry in found if entry.check(payload, now)]))

    def has_match(self, payload: Json, now: datetime) -> bool:
        """Whether any runbook fires: stops at the first."""
        plan = self._settled()
        found = self._find(plan, payload)
        return any(
            e.check is None or e.check(payload, now) for e in (plan.ordered if found is None else found)
        )

    @property
    def always_checked(self) -> tuple[str, ...]:
        """The runbooks that are asked at every event because nothing of them can be looked up, ordered."""
        return tuple(sorted(entry.runbook_id for entry, cover in self._covers.items() if cover is None))

    def _find(self, plan: "_Plan", payload: Json) -> Iterable[Entry] | None:
        """Each candidate once; None if it is all of them or might as well be."""
        room = len(plan.ordered) // SHARE_MAX - len(plan.always)
        if room < 0 or not plan.fields:
            return None
        hits: Hits = []
        for get, postings in plan.fields:
            found = get(payload)
            if isinstance(found, (str, int, float, list)) or found is None:
                room -= postings.look_up(found, hits)
                if room < 0:
                    return None
        return dict.fromkeys(chain(plan.always, *hits))

    def _settled(self) -> "_Plan":
        if self._plan is None:
            self._plan = _Plan(self._covers, self._postings)
        return self._plan

    def _cost(self, key: Key) -> int:
        """How many entries an event that hits the key would have to look at, and how likely a hit is."""
        postings = self._postings.get(key.steps)
        size = 1 if postings is None else 1 + postings.size(key)
        match key:
            case Exact(_, value, _) if isinstance(value, tuple):
                return size + _COMMON_COST
            case Bound():
                return size + _BOUND_COST
            case _:
                return size


class _Plan:
    """What `match` reads: made anew after a change, before the next event."""

    __slots__ = ("always", "fields", "ordered", "questions")

    def __init__(self, covers: dict[Entry, Cover | None], postings: dict[Steps, Postings]) -> None:
        self.ordered = sorted(covers, key=_runbook_id)
        self.questions = [(entry.runbook_id, entry.check) for entry in self.ordered]
        self.fields: list[tuple[Callable[[Json], Found], Postings]] = []
        always = {entry: None for entry, cover in covers.items() if cover is None}
        for steps, posting in postings.items():
            if len(posting.entries) < LOOKED_UP_MIN:
                always.update(dict.fromkeys(posting.entries))
            else:
                self.fields.append((_getter(steps), posting))
        self.always = sorted(always, key=_runbook_id)


def _getter(steps: Steps) -> Callable[[Json], Found]:
    if EACH in steps:
        return lambda payload: list(values_at(payload, steps))
    return getter(steps)


def _runbook_id(entry: Entry) -> str:
    return entry.runbook_id
