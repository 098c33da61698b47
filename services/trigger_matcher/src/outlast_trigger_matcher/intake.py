"""Taking events in: check, find candidates, enrich once, match, and write one dispatch for each runbook that fires."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from outlast.clock import Clock
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.work import Turn
from outlast_trigger_matcher import inbound, metrics
from outlast_trigger_matcher.births import Births, Draft, Firing
from outlast_trigger_matcher.core.crowds import GivenOut, Places, crowds_of
from outlast_trigger_matcher.core.rows import WITHHELD
from outlast_trigger_matcher.definitions import Producers, Runbooks
from outlast_trigger_matcher.flights import Flights
from outlast_trigger_matcher.inbound import DomainEvent
from outlast_trigger_matcher.lookup import Found, Lookup, Wanted
from outlast_trigger_matcher.outbound import first_words, words_of_births
from outlast_trigger_matcher.ports import EventKey, EventRow, Intake, IntakeStore, RuleKey, event_key


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the matcher knows of the world: who may fire, who may speak, how firings begin."""

    runbooks: Runbooks
    producers: Producers
    births: Births
    flights: Flights
    clock: Clock


class _Fired(msgspec.Struct, frozen=True):
    """An event and the runbooks that it fires."""

    event: DomainEvent
    payload: bytes
    context: dict[str, object]
    runbooks: tuple[str, ...]


@dataclass(slots=True)
class _Changes:
    intake: Intake = field(default_factory=Intake)
    events: int = 0


class IntakeWork:
    """What the loop over the producers' topics drives (outlast.runtime.loop.Work)."""

    def __init__(self, store: IntakeStore, known: Knowledge, lookup: Lookup) -> None:
        self._store = store
        self._known = known
        self._lookup = lookup

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """The rows of new events and their executions."""
        changes = _Changes()
        turn = Turn(changes)
        events = self._read(messages, turn)
        changes.events = len(events)
        found = await self._enrich(events)
        fired: list[_Fired] = []
        for event in events:
            try:
                fired.append(self._match(event, found.get(event.key), changes.intake))
            except ContractError as fault:
                turn.dead.append((event.received, fault))
        await self._dispatch([each for each in fired if each.runbooks], changes.intake, turn)
        return turn

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        """Store the rows; what turns out to have been seen before says nothing."""
        changes = turn.changes
        assert isinstance(changes, _Changes)
        fresh = await self._store.commit_intake(changes.intake, moves)
        rows = changes.intake.fresh(fresh)
        turn.outgoing += first_words(rows)
        metrics.EVENTS_DUPLICATE.inc(changes.events - len(fresh))
        if rows:
            metrics.count_born(rows)
            metrics.EVENTS_MATCHED.inc(len({event_key(row) for row in rows}))

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is cached by partition."""

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        """What these executions have to say, as their rows have them."""
        return words_of_births(await self._store.rows(pending))

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """Nothing: the walk over unclosed dispatches belongs to the lanes."""
        return ()

    # ---- one batch -------------------------------------------------------------------------------------------

    def _read(self, messages: Sequence[Received], turn: Turn) -> list[DomainEvent]:
        """The checked events, each once."""
        events: dict[tuple[str, str, str], DomainEvent] = {}
        for received in messages:
            try:
                event = inbound.read(received, self._known.producers)
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
            if self._known.runbooks.index.needs_lookup(event.company_id, event.reference.type, plain):
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

    def _match(self, event: DomainEvent, found: Found | None, intake: Intake) -> _Fired:
        parts = (None, None) if found is None else (found.finding, found.asset)
        payload, enriched = event.payload(*parts), event.plain(*parts)
        runbooks, now = self._known.runbooks, event.reference.time
        if event.scheduled is None:
            fired = runbooks.index.match(event.company_id, event.reference.type, enriched, now)
        else:
            fired = runbooks.due(event.company_id, event.scheduled, enriched, now)
        row = EventRow(
            event.company_id, event.reference, event.received_at, payload, event.traceparent, event.chain
        )
        intake.events.append(row)
        return _Fired(event, payload, enriched, fired)

    async def _dispatch(self, fired: Sequence[_Fired], intake: Intake, turn: Turn) -> None:
        if not fired:
            return
        known, now = self._known, self._known.clock.now()
        await known.flights.count({each.event.company_id for each in fired})
        chained = {execution for each in fired for execution in each.event.chain}
        causes = await self._store.runbooks_of(sorted(chained)) if chained else {}
        alone = {
            event.key: rule for each in fired if (rule := self._fires_alone(event := each.event)) is not None
        }
        unended = set(await self._store.unended(sorted(set(alone.values())))) if alone else set[RuleKey]()
        several = len(alone) > len(set(alone.values()))
        # What is said again begins nothing that a next firing of the same batch would overlap.
        repeated = await self._store.seen(alone) if several else frozenset[EventKey]()
        drafts: list[tuple[DomainEvent, Draft]] = []
        for each in fired:
            event, rule = each.event, alone.get(each.event.key)
            firing = Firing(
                event.company_id, event.reference, event.received.timestamp_ms, event.received_at, each.payload,
                each.context, event.traceparent, event.chain,
                [causes[name] for name in event.chain if name in causes],
                overlaps=rule in unended,
            )  # fmt: skip
            for runbook_id in each.runbooks:
                draft = known.births.draft(firing, known.runbooks.known(event.company_id, runbook_id), now)
                drafts.append((event, draft))
                begins = event.key not in repeated and draft.row.status not in WITHHELD
                if rule is not None and begins:
                    unended.add(rule)
        await self._begin(drafts, intake, turn)

    async def _begin(self, drafts: Sequence[tuple[DomainEvent, Draft]], intake: Intake, turn: Turn) -> None:
        """Each firing in its turn. Of a crowd, those that nothing is left for ask for nothing."""
        crowds, nothing_known = crowds_of(draft.row for _, draft in drafts), Places(GivenOut())
        places, seen = nothing_known, frozenset[EventKey]()
        if crowds:
            places = Places(await self._store.given_out(crowds))
            asking = {event_key(draft.row) for _, draft in drafts if places.has_room(draft.row)}
            seen = await self._store.seen(asking) if asking else seen
        for event, draft in drafts:
            # Whether a schedule's firing begins decides about the next one: those are told apart already.
            row = self._known.births.begin(draft, places if event.scheduled is None else nothing_known)
            if row.status == "requested" and event_key(row) not in seen and places.has_room(row):
                places.claim(row)
            intake.dispatches.append(row)
            turn.pending.setdefault(event.received.at, []).append(row.id)

    def _fires_alone(self, event: DomainEvent) -> RuleKey | None:
        """The rule of a schedule that does not fire while its last run has not ended."""
        fired = event.scheduled
        schedule = None if fired is None else self._known.runbooks.schedule(event.company_id, fired)
        if fired is None or schedule is None or schedule.overlap == "allow":
            return None
        return (event.company_id, fired.runbook_id, event.reference.subject)
