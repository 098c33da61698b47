"""The gate's tables: small rows in the stream processor's table, folded into the guards of a runbook when it asks.

A row's key names lane, company, runbook, kind, key and number; it travels on the changelog partition of its lane.
"""

from collections.abc import Collection, MutableMapping
from typing import NamedTuple

import msgspec

from outlast.guardrails.guards import Guards, Kind, Place
from outlast.guardrails.shelf import Row


class Owner(NamedTuple):
    """Whose rows they are."""

    lane: int
    company_id: str
    runbook_id: str


class _Key(NamedTuple):
    lane: int
    company_id: str
    runbook_id: str
    kind: Kind
    key: str
    number: int


_encoder = msgspec.json.Encoder()
_keys = msgspec.json.Decoder(_Key)
_rows = msgspec.json.Decoder(Row)


class Tables:
    """Guards by owner, kept as rows. `memory` is what `table` holds here; a change goes through `table`."""

    def __init__(self, table: MutableMapping[bytes, bytes], memory: MutableMapping[bytes, bytes]) -> None:
        self._table = table
        self._memory = memory
        self._places: dict[Owner, list[Place]] = {}
        """Of those whose rows are not folded yet."""
        self._guards: dict[Owner, Guards] = {}

    def reload(self, lanes: Collection[int]) -> int:
        """The table was restored: forget what was folded, and rows of lanes that are not ours. How many rows."""
        self._guards.clear()
        self._places.clear()
        for key in list(self._memory):
            try:
                found = _keys.decode(key)
            except msgspec.DecodeError:
                found = None
            if found is None or found.lane not in lanes:
                del self._memory[key]
                continue
            self._places.setdefault(Owner(*found[:3]), []).append(Place(*found[3:]))
        return len(self._memory)

    def guards(self, owner: Owner) -> Guards:
        """What is known of this runbook."""
        guards = self._guards.get(owner)
        if guards is None:
            guards = self._guards[owner] = Guards(self._rows_of(owner))
        return guards

    def store(self, owner: Owner) -> int:
        """Write what has changed of it; how many rows."""
        guards = self._guards[owner]
        written = 0
        for place, row in guards.changes():
            key = _encoder.encode((*owner, *place))
            if row is None:
                self._table.pop(key, None)
            else:
                self._table[key] = _encoder.encode(row)
            written += 1
        if not len(guards):
            del self._guards[owner]
        return written

    def forget(self, owner: Owner) -> None:
        """Something went wrong in between: go back to what is stored of it."""
        self._guards.pop(owner, None)
        found = (_keys.decode(key) for key in self._memory)
        self._places[owner] = [Place(*each[3:]) for each in found if each[:3] == owner]

    def _rows_of(self, owner: Owner) -> dict[Place, Row]:
        rows: dict[Place, Row] = {}
        for place in self._places.pop(owner, ()):
            value = self._memory.get(_encoder.encode((*owner, *place)))
            if value is None:
                continue
            try:
                rows[place] = _rows.decode(value)
            except msgspec.DecodeError:
                continue  # unreadable is forgotten: the dispatch knows
        return rows
