"""What must hold of guards, breakers, orders and chains when the world is at rest, by the dispatch rows alone."""

from collections.abc import Iterator
from datetime import datetime

from outlast import limits
from outlast.contracts import codec
from outlast.contracts.control import TriggerRunbook
from outlast.contracts.guarding import Window
from outlast.testing.invariants import Violation
from outlast_finalizer.core.breaker import BreakerState, Key
from outlast_trigger_matcher.core.rows import UNSENT, Dispatch
from tests.simulation.guarded import CHAIN_DEPTH, GUARDS
from tests.simulation.system import System

MANUAL = "outlast/manual"
WindowOf = tuple[tuple[str, str], Window]


def check_guards(system: System) -> Iterator[Violation]:
    """Nothing is left held back, no slot is held, and none was given out that was not there."""
    for rule, text in (*system.slots.faults, *system.breakers.faults):
        yield Violation(rule, text)
    for row in system.dispatch.dispatches.values():
        if row.status in UNSENT or row.resuming_seq:
            yield Violation("stuck", f"{row.id} of {row.runbook} is {row.status}: {row.reason}")
        if row.has_slot:
            yield Violation("held", f"{row.id} holds a slot of {row.slot_key}, but is {row.status}")
        yield from _reason(system, row)
        yield from _instead(system, row)
    yield from _windows(system)


def _windows(system: System) -> Iterator[Violation]:
    """In no stretch of a window's length more runs than it allows; and who was refused was refused for others."""
    ran: dict[WindowOf, list[datetime]] = {}
    asked: dict[WindowOf, list[datetime]] = {}
    for row in system.dispatch.dispatches.values():
        for window in row.guard.windows if row.guard else ():
            asked.setdefault((row.runbook, window), []).append(row.received_at)
            if row.status == "settled":
                ran.setdefault((row.runbook, window), []).append(row.received_at)
    for (runbook, window), times in ran.items():
        times.sort()
        for first, beyond in zip(times, times[window.limit :], strict=False):
            if (beyond - first).total_seconds() < window.seconds:
                yield Violation(
                    "windows", f"{runbook} {window}: {window.limit + 1} runs from {first} to {beyond}"
                )
    for row in system.dispatch.dispatches.values():
        if row.reason == "throttled" and row.guard is not None:
            full = [each for each in row.guard.windows if _may_be_full(each, asked[row.runbook, each], row)]
            if not full:
                yield Violation(
                    "throttled", f"{row.id} of {row.runbook} is throttled, but no window can be full"
                )


def _may_be_full(window: Window, asked: list[datetime], row: Dispatch) -> bool:
    others = sum((row.received_at - each).total_seconds() < window.seconds for each in asked) - 1
    return others >= window.limit


def _reason(system: System, row: Dispatch) -> Iterator[Violation]:
    """Loops end where they should, breakers hold back what they should, and each generation is its time's."""
    name = row.start.runbook.name
    causes = [system.dispatch.dispatches[each].start.runbook.id for each in row.start.chain]
    may_repeat = bool(GUARDS.get(name, {}).get("chain_repeat"))
    depth = CHAIN_DEPTH if name == "skips" else limits.CHAIN_DEPTH_MAX
    is_loop = len(causes) >= depth or (not may_repeat and row.start.runbook.id in causes)
    if is_loop != (row.reason == "loop") and not row.start.origin.instead_of:
        yield Violation("loop", f"{row.id} of {row.runbook} after {causes} is {row.status}: {row.reason}")
    key = Key(*row.runbook)
    if row.reason == "breaker_open" and not any(
        at == key and each.is_open for at, each in system.records.published
    ):
        yield Violation("breaker", f"{row.id} of {row.runbook} is suppressed, but its breaker never opened")
    breaker = system.records.breakers.get(key, BreakerState())
    if row.start.origin.generation > breaker.generation:
        yield Violation(
            "breaker", f"{row.id} is of generation {row.start.origin.generation}, which never was"
        )
    if row.status == "settled" and row.start.origin.is_degraded != (
        row.start.mode == "inline" and system.setting.mode == "workflow" and not _is_inline(row)
    ):
        yield Violation(
            "mode", f"{row.id} of {row.runbook} is {row.start.mode}, marked as {row.start.origin}"
        )
    if row.start.origin.is_degraded and name == "durable":
        yield Violation("mode", f"{row.id} of {row.runbook} is to be durable, but ran without the engine")


def _is_inline(row: Dispatch) -> bool:
    return row.start.runbook.name.startswith("inline")


def _instead(system: System, row: Dispatch) -> Iterator[Violation]:
    """A suppressed firing that somebody ordered to run did so once, as another execution."""
    again = [each for each in system.dispatch.dispatches.values() if each.start.origin.instead_of == row.id]
    is_due = row.status == "suppressed" and row.answer == "run" and row.is_answered
    if len(again) != is_due:
        yield Violation(
            "suppressed", f"{row.id} is {row.status}, answered {row.answer}, and ran again in {again}"
        )
    if row.answer == "run" and not row.is_answered and not _is_open(system, Key(*row.runbook)):
        yield Violation("stuck", f"{row.id} is to be run again, and is not")


def _is_open(system: System, key: Key) -> bool:
    return key in system.records.breakers and system.records.breakers[key].is_open


def check_orders(system: System) -> Iterator[Violation]:
    """Every order to run something has exactly its run, however often it came."""
    fired: dict[str, list[str]] = {}
    for row in system.dispatch.dispatches.values():
        if row.start.event.source == MANUAL and not row.start.origin.instead_of:
            fired.setdefault(row.start.event.id, []).append(row.start.runbook.id)
    buried = {each.value for each in system.world.broker.dead_letters}
    for order in system.people.sent.values():
        if not isinstance(order, TriggerRunbook):
            continue
        did = fired.pop(order.command_id, [])
        if did != [order.runbook_id] and (did or codec.encode(order) not in buried):
            yield Violation("fires", f"the order {order.command_id} did not run {order.runbook_id} once")
    for command in fired:
        yield Violation("fires", f"nobody ordered {command}")
