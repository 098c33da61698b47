"""Looks at every commit of the matcher and of the finalizer: no mutant touches it, and it shares no code with them.

After each commit no key has more holders than slots; and breakers stand as a naive count over the records says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Finished
from outlast_finalizer.core.breaker import BreakerState, Key
from outlast_finalizer.store import Changes
from outlast_trigger_matcher.core.rows import Dispatch, SlotKey
from outlast_trigger_matcher.ports import Plan
from tests.stores.memory_finalizer import MemoryFinalizerStore, RunRecord

NOT_THE_RUNBOOKS = ("definition_unreadable", "internal_error", "watchdog")


class SlotReferee:
    """Counts holders by key, from the rows alone."""

    def __init__(self, rows: Mapping[str, Dispatch]) -> None:
        self._rows = rows
        self._by_key: dict[SlotKey, list[str]] = {}
        self._seen = 0
        self.is_calm = False
        """Nothing is lost, nobody dies: then who waits longer is served first."""
        self.faults: list[tuple[str, str]] = []
        """Rule and what broke it."""

    def look(self, plan: Plan) -> None:
        """After a commit of the lanes."""
        self._index()
        touched = [self._rows[each] for each in (*plan.wanted, *plan.closed) if each in self._rows]
        for key in {row.slot_key for row in touched}:
            if key is not None:
                self._count(key)
        if self.is_calm:
            for row in touched:
                self._in_order(row, plan)

    def _index(self) -> None:
        for name, row in islice(self._rows.items(), self._seen, None):
            if row.slot_key is not None:
                self._by_key.setdefault(row.slot_key, []).append(name)
        self._seen = len(self._rows)

    def _of(self, key: SlotKey) -> Iterable[Dispatch]:
        return (self._rows[each] for each in self._by_key.get(key, ()))

    def _count(self, key: SlotKey) -> None:
        holders = [row for row in self._of(key) if row.has_slot]
        limits = [row.guard.slot.limit for row in holders if row.guard and row.guard.slot]
        if limits and len(holders) > max(limits):
            self.faults.append(("slots", f"{key} has {len(holders)} holders: {[row.id for row in holders]}"))

    def _in_order(self, row: Dispatch, plan: Plan) -> None:
        """Nobody who came to the queue earlier is left there by who gets a slot now."""
        if row.status != "sent" or row.slot_key is None or row.changed_at != plan.now or row.slot_seq:
            return
        for other in self._of(row.slot_key):
            is_earlier = (other.received_at, other.id) < (row.received_at, row.id)
            if other.status == "queued" and is_earlier and other.changed_at < plan.now:
                self.faults.append(("order", f"{row.id} got the slot of {row.slot_key} before {other.id}"))


@dataclass
class BreakerReferee:
    """The breakers, counted again: each run's first end once, by its generation."""

    records: MemoryFinalizerStore
    states: dict[Key, BreakerState] = field(default_factory=dict[Key, BreakerState])
    faults: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _counted: set[str] = field(default_factory=set[str])
    _resets: set[str] = field(default_factory=set[str])

    def look(self, changes: Changes) -> None:
        """After a commit of the finalizer."""
        touched: set[Key] = set()
        for execution in changes.ended:
            run = self.records.runs.get(execution)
            if run is None or run.rank == 0 or run.finished_at is None or execution in self._counted:
                continue
            self._counted.add(execution)
            touched.add(self._count(run))
        for command in changes.resets:
            if command.command_id not in self._resets:
                self._resets.add(command.command_id)
                touched.add(self._reset(command))
        for key in touched:
            should, did = self.states.get(key, BreakerState()), self.records.breakers.get(key, BreakerState())
            if (should.generation, should.failures, should.is_open) != (
                did.generation,
                did.failures,
                did.is_open,
            ):
                self.faults.append(("breaker", f"{key} is {did}, expected {should}"))
                self.states[key] = did

    def _count(self, run: RunRecord) -> Key:
        key = Key(run.company_id, run.runbook_id)
        state, word = self.states.get(key, BreakerState()), run.message
        assert isinstance(word, Finished)
        is_ours = word.error is not None and word.error.code in NOT_THE_RUNBOOKS
        if state.is_open or run.origin.generation != state.generation or is_ours:
            return key
        if run.status == "success":
            self.states[key] = BreakerState(state.generation)
        elif run.status == "failed":
            failures = state.failures + 1
            is_open = failures >= run.origin.breaker_threshold
            self.states[key] = BreakerState(state.generation, failures, word.at if is_open else None)
        return key

    def _reset(self, command: ResetBreaker) -> Key:
        key = Key(command.company_id, command.runbook_id)
        self.states[key] = BreakerState(self.states.get(key, BreakerState()).generation + 1)
        return key
