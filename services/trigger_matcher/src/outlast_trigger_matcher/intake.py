"""Taking events in: check, find candidates, enrich once, match, and write one dispatch for each runbook that fires."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from outlast import ids
from outlast.contracts.messages import Start
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_trigger_matcher import inbound, metrics
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.inbound import DomainEvent
from outlast_trigger_matcher.lookup import Found, Lookup, Wanted
from outlast_trigger_matcher.outbound import start_message
from outlast_trigger_matcher.store import EventRow, Intake, IntakeStore


@dataclass(frozen=True, slots=True)
class Partitions:
    """How many partitions the topics have that executions are spread over."""

    engine: int
    lanes: int


@dataclass(slots=True)
class _Changes:
    intake: Intake = field(default_factory=Intake)
    events: int = 0


class IntakeWork:
    """What the loop over the producers' topics drives (outlast.runtime.loop.Work)."""

    def __init__(
        self,
        store: IntakeStore,
        runbooks: Runbooks,
        producers: Producers,
        lookup: Lookup,
        partitions: Partitions,
    ) -> None:
        self._store = store
        self._runbooks = runbooks
        self._producers = producers
        self._lookup = lookup
        self._partitions = partitions

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """The rows of new events and their executions."""
        changes = _Changes()
        turn = Turn(changes)
        events = self._read(messages, turn)
        changes.events = len(events)
        found = await self._enrich(events)
        for event in events:
            try:
                self._dispatch(event, found.get(event.key), changes.intake, turn)
            except ContractError as fault:
                turn.dead.append((event.received, fault))
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the rows; what turns out to have been seen before says nothing."""
        changes = turn.changes
        assert isinstance(changes, _Changes)
        fresh = await self._store.commit_intake(changes.intake, moves)
        starts = [s for s in changes.intake.starts if (s.company_id, s.event.source, s.event.id) in fresh]
        turn.outgoing += [start_message(start) for start in starts]
        metrics.EVENTS_DUPLICATE.inc(changes.events - len(fresh))
        if starts:
            metrics.DISPATCHED.labels("workflow").inc(len(starts))
            metrics.EVENTS_MATCHED.inc(len({(s.company_id, s.event.source, s.event.id) for s in starts}))

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached by partition."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """The starts of these executions, as their rows have them."""
        return [start_message(start) for start in await self._store.starts(pending)]

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: the walk over unclosed dispatches belongs to the lanes."""
        return ()

    # ---- one batch -------------------------------------------------------------------------------------------

    def _read(self, messages: Sequence[Received], turn: Turn) -> list[DomainEvent]:
        """The checked events, each once."""
        events: dict[tuple[str, str, str], DomainEvent] = {}
        for received in messages:
            try:
                event = inbound.read(received, self._producers)
            except ContractError as fault:
                turn.dead.append((received, fault))
                continue
            metrics.EVENTS.labels(event.reference.type).inc()
            events.setdefault(event.key, event)
        return list(events.values())

    async def _enrich(self, events: Sequence[DomainEvent]) -> dict[tuple[str, str, str], Found]:
        """What is known of what each event names, where some runbook may want to know."""
        wanted: dict[Wanted, list[DomainEvent]] = {}
        for event in events:
            if not (event.finding_id or event.asset_id):
                continue
            plain = event.plain()
            if self._runbooks.index.needs_lookup(event.company_id, event.reference.type, plain):
                want = Wanted(event.company_id, event.finding_id, event.asset_id)
                wanted.setdefault(want, []).append(event)
        if not wanted:
            return {}
        answers = await self._lookup.find(list(wanted))
        return {
            event.key: answer
            for answer, named in zip(answers, wanted.values(), strict=True)
            for event in named
        }

    def _dispatch(self, event: DomainEvent, found: Found | None, intake: Intake, turn: Turn) -> None:
        parts = (None, None) if found is None else (found.finding, found.asset)
        payload, enriched = event.payload(*parts), event.plain(*parts)
        index = self._runbooks.index
        fired = index.match(event.company_id, event.reference.type, enriched, event.reference.time)
        intake.events.append(
            EventRow(
                event.company_id, event.reference, event.received_at, payload, event.traceparent, event.chain
            )
        )
        for runbook_id in fired:
            start = self._start(event, runbook_id, payload)
            intake.starts.append(start)
            turn.pending.setdefault(event.received.at, []).append(start.execution_id)

    def _start(self, event: DomainEvent, runbook_id: str, payload: bytes) -> Start:
        known = self._runbooks.known(event.company_id, runbook_id)
        company_id, reference = event.company_id, event.reference
        return Start(
            execution_id=ids.execution_id(
                event.received.timestamp_ms, self._partitions.engine, company_id, reference.source, reference.id,
                runbook_id,
            ),
            company_id=company_id,
            runbook=known.reference,
            event=reference,
            mode="workflow",
            lane=ids.lane(company_id, runbook_id, self._partitions.lanes),
            payload=Raw(payload),
            definition=Raw(known.body),
            chain=event.chain,
            traceparent=event.traceparent,
        )  # fmt: skip
