"""What the matcher needs of its database, and what one batch changes there."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

import msgspec

from outlast.contracts.messages import EventReference
from outlast.db.fence import Move
from outlast_trigger_matcher.core.board import Board
from outlast_trigger_matcher.core.crowds import Crowds, GivenOut
from outlast_trigger_matcher.core.rows import Dispatch

EPOCH = datetime.fromtimestamp(0, UTC)
EventKey: TypeAlias = tuple[str, str, str]
"""An event is known by (company, source, id)."""
RuleKey: TypeAlias = tuple[str, str, str]
"""A rule with a schedule: company, runbook, and the subject of its events."""
Step: TypeAlias = Callable[[Board], None]


class EventRow(msgspec.Struct, frozen=True):
    """One event as it was taken in. `payload` is the enriched payload, JSON."""

    company_id: str
    event: EventReference
    received_at: datetime
    payload: bytes
    traceparent: str
    chain: tuple[str, ...]

    @property
    def key(self) -> EventKey:
        """An event is known by (company, source, id)."""
        return (self.company_id, self.event.source, self.event.id)


@dataclass(slots=True)
class Intake:
    """What a batch of events adds."""

    events: list[EventRow] = field(default_factory=list[EventRow])
    dispatches: list[Dispatch] = field(default_factory=list[Dispatch])

    def fresh(self, keys: Collection[EventKey]) -> list[Dispatch]:
        """The dispatches of these events."""
        return [row for row in self.dispatches if event_key(row) in keys]


def event_key(row: Dispatch) -> EventKey:
    """Of the event that caused it."""
    return (row.start.company_id, row.start.event.source, row.start.event.id)


@dataclass(frozen=True, slots=True)
class Answer:
    """An order about firings of a runbook that were suppressed: run them, or let them go."""

    company_id: str
    runbook_id: str
    answer: str
    """run | let_go"""
    by: str
    executions: tuple[str, ...] = ()
    """Empty: all that an open breaker held back and nobody has answered."""


@dataclass(slots=True)
class Plan:
    """What a turn of the lanes changes: `steps` decide over the `wanted` rows inside the transaction."""

    now: datetime = EPOCH
    closed: list[str] = field(default_factory=list[str])
    closed_at: datetime = EPOCH
    waiting: dict[str, bool] = field(default_factory=dict[str, bool])
    """Runs that came to wait (they are not under way meanwhile), or went on."""
    compared: list[str] = field(default_factory=list[str])
    """Shadowed runs whose doubles have ended."""
    wanted: dict[str, None] = field(default_factory=dict[str, None])
    steps: list[Step] = field(default_factory=list[Step])
    intake: Intake = field(default_factory=Intake)
    """What people triggered."""
    again: list[Dispatch] = field(default_factory=list[Dispatch])
    """New executions of firings that were suppressed."""
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing, as of messages that are of no concern here."""
        followed = self.closed or self.waiting or self.compared or self.steps
        return not (followed or self.intake.events or self.again or self.answers)

    def do(self, execution_id: str, step: Step) -> None:
        """Decide something about this execution."""
        self.wanted[execution_id] = None
        self.steps.append(step)


@dataclass(slots=True)
class Outcome:
    """What a commit of the lanes came to."""

    board: Board | None = None
    leaked: list[str] = field(default_factory=list[str])
    """Recorded runs that still held a slot; it is free now."""
    fresh: frozenset[EventKey] = frozenset()


class IntakeStore(Protocol):
    """What taking events in needs of the database."""

    async def commit_intake(self, intake: Intake, moves: Sequence[Move]) -> frozenset[EventKey]:
        """All in one transaction, offsets first. Returns the keys of the events that are new: only those dispatch."""
        ...

    async def rows(self, execution_ids: Collection[str]) -> Sequence[Dispatch]:
        """These executions' rows with payload and definition, by id."""
        ...

    async def runbooks_of(self, execution_ids: Collection[str]) -> Mapping[str, str]:
        """Which runbook each of these executions is of; those that are not known are left out."""
        ...

    async def unended(self, rules: Collection[RuleKey]) -> Collection[RuleKey]:
        """Those of these schedules' rules that have a run, or one that is still to be, which has not ended."""
        ...

    async def given_out(self, crowds: Crowds) -> GivenOut:
        """What these windows and slots have given out: the latest entries of each window, slots as of one instant.

        Of those who ask for a slot perhaps not all, and none whom a window may be in the way of.
        """
        ...

    async def seen(self, keys: Collection[EventKey]) -> frozenset[EventKey]:
        """Those of these events that were taken in before."""
        ...

    async def in_flight(self, companies: Collection[str], limit: int) -> Mapping[str, int]:
        """How many runs of each company are sent, not closed and not waiting, counted up to `limit`; `limit` for one
        whose firings are deferred already: those come first.
        """
        ...


class LanesStore(IntakeStore, Protocol):
    """What following executions needs of the database."""

    async def commit_lanes(self, plan: Plan, moves: Sequence[Move]) -> Outcome:
        """All in one transaction, offsets first, then rows by id, then what their runbooks have given out."""
        ...

    async def unclosed_page(self, lane: int, after: str, page_max: int) -> Sequence[str]:
        """Accepted executions of a lane after `after` ("" for the first page), in order: those that are not recorded,
        and those that ran and whose double is not known to be compared.
        """
        ...


class Pressing(Protocol):
    """What rows are due to be looked at without a message. Lists are bounded and ordered by who waits longest."""

    async def has_any(self, lanes: Collection[int]) -> bool:
        """Whether anything at all stands in these lanes that is not sent, resumes, or is to be run again."""
        ...

    async def unanswered(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """`requested` or resuming since before this instant."""
        ...

    async def unserved(self, lanes: Collection[int], before: datetime, most: int) -> Sequence[str]:
        """The head of each queue that has a free slot, not asked again since before this instant."""
        ...

    async def expired(self, lanes: Collection[int], now: datetime, most: int) -> Sequence[str]:
        """Queued for too long."""
        ...

    async def held(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Held for the engine."""
        ...

    async def deferred(
        self, lanes: Collection[int], limit: int, most: int, *, with_held: bool
    ) -> Sequence[str]:
        """Deferred by companies that have room now: in turn, each company's in order, no more than it has room for.

        `with_held`: those that are held for the engine, too; who came first is first.
        """
        ...

    async def runbooks(self, lanes: Collection[int]) -> Sequence[tuple[int, str, str]]:
        """The runbooks (lane, company, id) that have something unsent."""
        ...

    async def unsent(self, runbook: tuple[int, str, str], most: int) -> Sequence[str]:
        """What this runbook (lane, company, id) has unsent."""
        ...

    async def leaked(self, lanes: Collection[int], most: int) -> Sequence[str]:
        """Closed, and still holding a slot: what must never be."""
        ...

    async def to_run(
        self, lanes: Collection[int], without: Collection[tuple[str, str]], most: int
    ) -> Sequence[str]:
        """Suppressed firings that somebody ordered to run, but none of these runbooks (company, id)."""
        ...

    async def prune(self, before: datetime, most: int) -> int:
        """Forget window entries that were over before this instant; returns how many."""
        ...
