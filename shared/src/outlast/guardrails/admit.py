"""May this firing start? `admit` folds one request into what is known of its runbook, and says what it advises.

A firing passes all its windows first, and is entered in them at its first yes: a firing at an instant may pass if
fewer than the limit are entered later than that instant less the window's seconds, those later than itself included.
So no stretch of time gets more than the limit, in whatever order the asks arrive. Then it takes a slot, or waits for
one: first come by the broker's time of its event, first served. Resuming runs pass no window and always wait.

The same ask gets the same answer: who holds is admitted, who waits is queued, who was told no is told no again. The
other way round, an ask that finds the slot taken again, or the queue full, names its holders again: a holder that the
dispatch does not know as one is released by it, and then the first in the queue; so nothing that was lost on the way
keeps a slot or a place.
"""

from datetime import datetime
from typing import Final, TypeAlias

from outlast import limits
from outlast.contracts.guarding import Ask, GateRequest, Slot, Verdict, Window
from outlast.guardrails.guards import (
    HOLDER,
    LATENESS,
    QUEUE,
    SKIPPED,
    WINDOW,
    Guards,
    keep_of_window,
    microseconds,
)
from outlast.guardrails.shelf import Entry

ADMITTED: Final = "admitted"
QUEUED: Final = "queued"
THROTTLED: Final = "throttled"
SLOT_TAKEN: Final = "slot_taken"
QUEUE_FULL: Final = "queue_full"

Verdicts: TypeAlias = dict[str, Verdict]
"""By execution, the last word on each."""


def admit(guards: Guards, request: GateRequest, now: datetime) -> tuple[Verdict, ...]:
    """What the gate advises: to those who ask, and to those whose turn has come. `guards` has changed afterwards.

    `now` is the broker's time of the request.
    """
    verdicts: Verdicts = {}
    taken_again: dict[str, None] = {}
    for release in request.releases:
        _release(guards, release.key, release.id)
    for key in dict.fromkeys(release.key for release in request.releases):
        _serve(guards, key, verdicts)
    for ask in request.asks:
        _answer(guards, ask, verdicts, taken_again)
    for key in taken_again:
        for holder in guards.read(HOLDER, key) or ():
            verdicts.setdefault(holder.id, Verdict(id=holder.id, verdict=ADMITTED))
    guards.sweep(now, limits.GATE_SHELVES_SWEPT * (1 + len(request.asks)))
    return tuple(verdicts.values())


def _release(guards: Guards, key: str, execution_id: str) -> None:
    for kind in (HOLDER, QUEUE):
        if guards.holds(kind, key, execution_id):
            guards.write(kind, key).remove(execution_id)


def _serve(guards: Guards, key: str, verdicts: Verdicts) -> None:
    """Slots that are free go to those who wait, in their order; who is first waits for as many as it asked for."""
    queue = guards.read(QUEUE, key)
    while queue is not None and (first := queue.first) is not None:
        holders = guards.read(HOLDER, key)
        if holders is not None and len(holders) >= first.number:
            return
        guards.write(QUEUE, key).remove(first.id)
        guards.write(HOLDER, key).add(first)
        verdicts[first.id] = Verdict(id=first.id, verdict=ADMITTED)


def _answer(guards: Guards, ask: Ask, verdicts: Verdicts, taken_again: dict[str, None]) -> None:
    slot = ask.slot
    if slot is not None and guards.holds(HOLDER, slot.key, ask.id):
        verdicts[ask.id] = Verdict(id=ask.id, verdict=ADMITTED)
        return
    if slot is not None and guards.holds(QUEUE, slot.key, ask.id):
        verdicts[ask.id] = Verdict(id=ask.id, verdict=QUEUED)
        _serve(guards, slot.key, verdicts)
        taken_again[slot.key] = None
        return
    at = microseconds(ask.at)
    refusal = None if ask.is_resuming else _refusal(guards, ask, at)
    if refusal is None and slot is not None:
        refusal = _take(guards, ask, slot, at, verdicts)
    if refusal is None:
        if not ask.is_resuming:
            _enter(guards, ask, at)
        if slot is None:
            verdicts[ask.id] = Verdict(id=ask.id, verdict=ADMITTED)
        return
    verdicts[ask.id] = refusal
    if slot is not None and refusal.reason in {SLOT_TAKEN, QUEUE_FULL}:
        taken_again[slot.key] = None


def _refusal(guards: Guards, ask: Ask, at: int) -> Verdict | None:
    if ask.slot is not None and guards.holds(SKIPPED, ask.slot.key, ask.id):
        reason = SLOT_TAKEN if ask.slot.on_conflict == "skip" else QUEUE_FULL
        return _skip(ask.id, reason, _detail(guards, ask.slot, reason))
    for window in ask.windows:
        if not _may_pass(guards, window, ask.id, at):
            return _skip(ask.id, THROTTLED, f"{window.limit} in {window.seconds:g} s")
    return None


def _may_pass(guards: Guards, window: Window, execution_id: str, at: int) -> bool:
    entered = guards.read(WINDOW, window.key)
    if entered is None or execution_id in entered:
        return True
    return entered.count_after(at - _microseconds(window.seconds)) < window.limit


def _enter(guards: Guards, ask: Ask, at: int) -> None:
    for window in ask.windows:
        if guards.holds(WINDOW, window.key, ask.id):
            continue
        entered = guards.write(WINDOW, window.key)
        entered.add(Entry(at, ask.id, window.seconds))
        newest = entered.newest
        assert newest is not None
        entered.drop_until(newest.at - _microseconds(window.seconds) - LATENESS)
        entered.drop_first(max(0, len(entered) - keep_of_window(window.limit, window.seconds)))


def _take(guards: Guards, ask: Ask, slot: Slot, at: int, verdicts: Verdicts) -> Verdict | None:
    """Hold the slot, or wait for it; else why not."""
    entry = Entry(at, ask.id, slot.limit)
    if not _is_taken(guards, slot, entry):
        guards.write(HOLDER, slot.key).add(entry)
        verdicts[ask.id] = Verdict(id=ask.id, verdict=ADMITTED)
        return None
    if not ask.is_resuming:
        waiting = guards.read(QUEUE, slot.key)
        if slot.on_conflict == "skip":
            return _refuse(guards, ask.id, slot, at, SLOT_TAKEN)
        if waiting is not None and len(waiting) >= slot.queue_limit:
            return _refuse(guards, ask.id, slot, at, QUEUE_FULL)
    verdicts[ask.id] = Verdict(id=ask.id, verdict=QUEUED)
    guards.write(QUEUE, slot.key).add(entry)
    return None


def _is_taken(guards: Guards, slot: Slot, entry: Entry) -> bool:
    """Whether this firing would have to wait: no slot is free, or somebody is before it."""
    holders, queue = guards.read(HOLDER, slot.key), guards.read(QUEUE, slot.key)
    if holders is not None and len(holders) >= slot.limit:
        return True
    first = None if queue is None else queue.first
    return first is not None and first < entry


def _refuse(guards: Guards, execution_id: str, slot: Slot, at: int, reason: str) -> Verdict:
    told = guards.write(SKIPPED, slot.key)
    told.add(Entry(at, execution_id))
    told.drop_first(max(0, len(told) - limits.GATE_ANSWERS_MAX))
    return _skip(execution_id, reason, _detail(guards, slot, reason))


def _detail(guards: Guards, slot: Slot, reason: str) -> str:
    if reason == QUEUE_FULL:
        return f"{slot.queue_limit} wait"
    return f"{len(guards.read(HOLDER, slot.key) or ())} of {slot.limit}"


def _skip(execution_id: str, reason: str, detail: str) -> Verdict:
    return Verdict(id=execution_id, verdict="skipped", reason=reason, detail=detail)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
