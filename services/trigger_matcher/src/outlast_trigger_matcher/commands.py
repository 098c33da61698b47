"""What people order: run this now, run what was held back, let it go, end this run."""

from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from outlast.clock import Clock, from_milliseconds
from outlast.contracts import codec
from outlast.contracts.control import (
    CancelExecution,
    ControlMessage,
    LetGoSuppressed,
    ResetBreaker,
    RunSuppressed,
    TriggerRunbook,
)
from outlast.contracts.messages import Cancel, EventReference, Origin
from outlast.errors import ContractError, TransientError
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import derived_traceparent
from outlast.runtime.work import Turn
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.births import Births, Firing
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.definitions import Runbooks
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.inbound import DomainEvent
from outlast_trigger_matcher.lookup import Found, Lookup, Wanted
from outlast_trigger_matcher.ports import Answer, EventRow, Plan

SOURCE, MANUAL = "outlast/manual", "manual"
PATIENCE_SECONDS = 15.0
"""All lanes wait for the platform so long, from the first look-up that failed."""
AWAY_SECONDS = 1.0
"""After a look-up that failed the next orders fail likewise: each may have taken its whole time-out."""
OUTAGE_SECONDS = 60.0
"""A failure so long after the one before is another outage."""
Suppressed: TypeAlias = RunSuppressed | LetGoSuppressed

log = get_logger(__name__)


class _Away(NamedTuple):
    """The platform does not answer: since when, when it was last asked, and what came of it."""

    since: float
    last_at: float
    fault: TransientError


class Commands:
    """Reads `control.commands` into the plan of a turn. A command has an id: the same again changes nothing."""

    def __init__(
        self, runbooks: Runbooks, births: Births, flights: Flights, lookup: Lookup, clock: Clock
    ) -> None:
        self._runbooks = runbooks
        self._births = births
        self._flights = flights
        self._lookup = lookup
        self._clock = clock
        self._away: _Away | None = None

    async def take(self, received: Received, plan: Plan, turn: Turn) -> None:
        """Take one command in; a target that is not there is said, and nothing else. TransientError: a look-up.

        ContractError: the command is laid aside.
        """
        command: ControlMessage = codec.commands.decode(received.value)
        match command:
            case TriggerRunbook():
                await self._trigger(command, received, plan, turn)
            case CancelExecution():
                self._cancel(command, received, plan, turn)
            case RunSuppressed():
                plan.answers.append(
                    Answer(command.company_id, command.runbook_id, "run", command.by, command.executions)
                )
            case LetGoSuppressed():
                plan.answers.append(Answer(command.company_id, command.runbook_id, "let_go", command.by))
            case ResetBreaker():
                return  # the finalizer's

    async def _trigger(self, command: TriggerRunbook, received: Received, plan: Plan, turn: Turn) -> None:
        known = self._runbooks.find(command.company_id, command.runbook_id)
        if known is None:
            _unknown("trigger_runbook", command.company_id, command.runbook_id)
            return
        event = _manual_event(command, received)
        if any(each.key == event.key for each in plan.intake.events):
            return  # twice in one batch
        wanted = Wanted(command.company_id, command.finding_id, command.asset_id)
        found: tuple[Raw | None, Raw | None] = (None, None)
        if command.finding_id or command.asset_id:
            answer = await self._find(wanted)
            found = (answer.finding, answer.asset)
        payload = event.payload(*found)
        await self._flights.count({command.company_id})
        firing = Firing(
            event.company_id, event.reference, received.timestamp_ms, event.received_at, payload,
            event.plain(*found), event.traceparent, origin=Origin(started_by=command.by),
        )  # fmt: skip
        row = self._births.row(firing, known, self._clock.now())
        plan.intake.events.append(
            EventRow(event.company_id, event.reference, event.received_at, payload, event.traceparent, ())
        )
        plan.intake.dispatches.append(row)
        turn.pending.setdefault(received.at, []).append(row.id)

    async def _find(self, wanted: Wanted) -> Found:
        """What is known of it. All lanes wait for the answer, so in an outage they do that for a bounded time.

        TransientError: again, soon. ContractError: the order is laid aside, to be given again.
        """
        now, away = self._clock.monotonic(), self._away
        if away is not None and now - away.last_at >= OUTAGE_SECONDS:
            away = None
        if away is None or now - away.last_at >= AWAY_SECONDS:
            try:
                (answer,) = await self._lookup.find([wanted])
            except TransientError as fault:
                failed_at = self._clock.monotonic()
                away = self._away = _Away(now if away is None else away.since, failed_at, fault)
            else:
                self._away = None
                return answer
        if away.last_at - away.since < PATIENCE_SECONDS:
            raise away.fault
        raise ContractError(f"expected an answer from the platform, but {away.fault}", "finding_id")

    def _cancel(self, command: CancelExecution, received: Received, plan: Plan, turn: Turn) -> None:
        order = Cancel(
            execution_id=command.execution_id, company_id=command.company_id, by=command.by, at=command.at,
            reason=command.reason,
        )  # fmt: skip
        plan.do(command.execution_id, partial(_cancel, order=order, value=codec.encode(order)))
        turn.pending.setdefault(received.at, []).append(command.execution_id)


def _cancel(board: Board, order: Cancel, value: bytes) -> None:
    if not board.cancel(order.execution_id, order.company_id, value, order.by, order.reason):
        _unknown("cancel_execution", order.company_id, order.execution_id)


def _unknown(kind: str, company_id: str, target: str) -> None:
    metrics.COMMANDS_UNKNOWN.labels(kind).inc()
    log.warning("command_without_target", kind=kind, company=company_id, target=target)


def _manual_event(command: TriggerRunbook, received: Received) -> DomainEvent:
    """The event that the run is recorded with."""
    try:
        is_object = isinstance(msgspec.json.decode(command.data), dict)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise ContractError(str(fault), "data") from fault
    if not is_object:
        raise ContractError("expected a JSON object", "data")
    at = from_milliseconds(received.timestamp_ms)
    return DomainEvent(
        company_id=command.company_id,
        reference=EventReference(source=SOURCE, id=command.command_id, type=MANUAL, time=command.at),
        received=received,
        received_at=at,
        data=command.data,
        finding_id=command.finding_id,
        asset_id=command.asset_id,
        traceparent=derived_traceparent(command.company_id, SOURCE, command.command_id),
        chain=(),
    )
