"""How a firing begins: held back at once, held for the engine, deferred, asking the gate, or on its way.

The matcher alone stamps mode, generation and degradation. What stands in the row of a firing is decided here once, from
what is known when its event is taken in.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from outlast import ids
from outlast.contracts.guarding import Slot, Window
from outlast.contracts.messages import EventReference, Origin, Start
from outlast.runbooks.documents import Json
from outlast.runbooks.guardrails import Guardrails, Throttle, rendered_key
from outlast.runbooks.templates import TemplateFailed, TemplateValue
from outlast_trigger_matcher.breakers import Breakers
from outlast_trigger_matcher.core.board import Standing, sent_start
from outlast_trigger_matcher.core.crowds import GivenOut, Places
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch, Guard
from outlast_trigger_matcher.definitions import Known
from outlast_trigger_matcher.engines import Engines

PLAIN = Origin()
UNGUARDED = Guardrails()
RUN_SUPPRESSED = "outlast/run_suppressed"
"""In place of the event's source in the id of an execution that runs a suppressed firing."""


@dataclass(frozen=True, slots=True)
class Partitions:
    """How many partitions the topics have that executions are spread over."""

    engine: int
    lanes: int


class Firing(msgspec.Struct, frozen=True):
    """An event that fires something, as far as all the runbooks that it fires have it in common."""

    company_id: str
    event: EventReference
    received_ms: int
    received_at: datetime
    payload: bytes
    """The enriched payload, JSON."""
    context: Mapping[str, object]
    """The same, decoded."""
    traceparent: str
    chain: tuple[str, ...] = ()
    causes: Sequence[str] = ()
    """The runbooks of the chain's executions."""
    origin: Origin = PLAIN
    overlaps: bool = False
    """Of a schedule whose last run has not ended, and that does not fire then."""


class Draft(NamedTuple):
    """A firing's row before anything is asked or taken for it; withheld already where it may not fire at all."""

    row: Dispatch
    stands: Standing
    must_wait: bool = False
    """For an engine."""


class Births:
    """Makes the first row of each firing."""

    def __init__(
        self, engines: Engines, breakers: Breakers, partitions: Partitions, take_flight: Callable[[str], bool]
    ) -> None:
        self.engines = engines
        self.breakers = breakers
        self._partitions = partitions
        self._take_flight = take_flight

    def row(self, firing: Firing, known: Known, now: datetime) -> Dispatch:
        """The row of this firing of this runbook."""
        return self.begin(self.draft(firing, known, now), Places(GivenOut()))

    def draft(self, firing: Firing, known: Known, now: datetime) -> Draft:
        """As far as it follows from the event, the runbook, and whether that may fire."""
        rules, start = known.rules, self._start(firing, known)
        is_away = self.engines.is_degraded(now)
        must_wait = False
        if rules is not None and rules.engine == "inline":
            start = replace(start, mode="inline")
        elif is_away and rules is not None and rules.requires_durable:
            must_wait = True
        elif is_away:
            start = replace(start, mode="inline", origin=replace(start.origin, is_degraded=True))
        guards = UNGUARDED if rules is None else rules.guardrails
        if guards.breaker_threshold != start.origin.breaker_threshold:
            origin = replace(start.origin, breaker_threshold=guards.breaker_threshold)
            start = replace(start, origin=origin)
        row = Dispatch(start=start, status="sent", received_at=firing.received_at, changed_at=now)
        stands = self.breakers.standing(firing.company_id, start.runbook.id)
        if loop := _loop(start, guards, firing.causes):
            return Draft(_ended(row, "skipped", "loop", loop), stands)
        if stands.objection:
            return Draft(_ended(row, "suppressed", stands.objection, ""), stands)
        if firing.overlaps:
            detail = "the last run of this schedule has not ended"
            return Draft(_ended(row, "skipped", "overlap", detail), stands)
        if guards.asks:
            try:
                row = replace(row, guard=_guard(guards, firing.context, firing.event))
            except TemplateFailed as fault:
                detail = f"{fault.path}: {fault.message}"
                return Draft(_ended(row, "skipped", "guard_key_failed", detail), stands)
        return Draft(row, stands, must_wait)

    def begin(self, draft: Draft, places: Places) -> Dispatch:
        """The row as it is stored: held, deferred, asking or on its way, or refused what has been given out."""
        row, stands, must_wait = draft
        if row.status in WITHHELD:
            return row
        refused = None if row.guard is None else places.refusal(row, row.guard)
        if refused is not None:  # it asks for nothing, so the gate has nothing to forget
            return _ended(replace(row, guard=None), "skipped", *refused)
        if must_wait:
            return replace(row, status="held", reason="engine_down")
        return self._begun(row, stands)

    def _start(self, firing: Firing, known: Known) -> Start:
        company_id, event, runbook = firing.company_id, firing.event, known.reference
        seed = (event.source, event.id)
        if firing.origin.instead_of:
            seed = (RUN_SUPPRESSED, firing.origin.instead_of)
        return Start(
            execution_id=ids.execution_id(
                firing.received_ms, self._partitions.engine, company_id, *seed, runbook.id
            ),
            company_id=company_id,
            runbook=runbook,
            event=event,
            mode=self.engines.mode,
            lane=ids.lane(company_id, runbook.id, self._partitions.lanes),
            payload=Raw(firing.payload),
            definition=Raw(known.body),
            chain=firing.chain,
            traceparent=firing.traceparent,
            origin=firing.origin,
        )

    def _begun(self, row: Dispatch, stands: Standing) -> Dispatch:
        if not self._take_flight(row.start.company_id):
            return replace(row, status="deferred", reason="company_limit")
        if row.guard is not None:
            return replace(row, status="requested", asked_at=row.changed_at)
        if stands.generation:
            return replace(row, start=sent_start(row, stands))
        return row


def _ended(row: Dispatch, status: str, reason: str, detail: str) -> Dispatch:
    return replace(row, status=status, reason=reason, detail=detail, settled_at=row.changed_at)


def _loop(start: Start, guards: Guardrails, causes: Sequence[str]) -> str:
    """Why the chain ends here; "" if it does not."""
    if not start.chain:
        return ""
    if len(start.chain) >= guards.chain_depth:
        return f"{len(start.chain)} executions caused each other, at most {guards.chain_depth} may"
    if not guards.chain_repeat and start.runbook.id in causes:
        return f"this runbook ran in the chain of {start.chain[-1]} already"
    return ""


def _guard(guards: Guardrails, context: Mapping[str, object], event: EventReference) -> Guard:
    plain = cast("dict[str, Json]", context)
    slots = guards.concurrency
    slot = None
    if slots is not None:
        slot = Slot(
            key=rendered_key(slots.key, plain, event.time),
            limit=slots.limit,
            on_conflict=slots.on_conflict,
            queue_limit=slots.queue_limit,
        )
    windows = tuple(_window(each, plain, event.time) for each in guards.throttles)
    if slots is None:
        return Guard(windows=windows)
    return Guard(
        windows=windows,
        slot=slot,
        queue_age_seconds=slots.queue_age.total_seconds(),
        releases_slot=slots.release_while_waiting,
    )


def _window(throttle: Throttle, plain: dict[str, Json], now: datetime) -> Window:
    seconds = throttle.window.total_seconds()
    key = f"{seconds:g}s:{_name(throttle.key)}:{rendered_key(throttle.key, plain, now)}"
    return Window(key=key, limit=throttle.limit, seconds=seconds)


def _name(key: TemplateValue | None) -> str:
    """Keeps apart what two windows of one runbook count, whatever their keys come to."""
    return "" if key is None else hashlib.sha256(str(key.source).encode()).hexdigest()[:8]
