"""What became of executions (`executions.lifecycle`): compared by (rank, seq), a greater pair wins.

rank 0 = the dispatch row's version, 1 = history or ledger, 2 = the watchdog.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from outlast.contracts.parts import (
    NO_ORIGIN,
    ActionError,
    EventReference,
    Message,
    Origin,
    RunbookReference,
    StepSummary,
    Wait,
)


class RunMessage(Message, frozen=True, kw_only=True):
    """What every word on a run says: which run, of what, and the word's place among the others on it."""

    execution_id: str
    company_id: str
    runbook: RunbookReference
    event: EventReference
    mode: str
    lane: int
    rank: int
    seq: int
    at: datetime


class Started(RunMessage, frozen=True, kw_only=True, tag="started.v1"):
    """The first message of a run that really starts."""

    payload: Raw | UnsetType = UNSET
    """For the run's record; of a durable run its history has it."""
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Finished(RunMessage, frozen=True, kw_only=True, tag="finished.v1"):
    """A run has ended. It carries all that its record needs but the payload."""

    started_at: datetime
    status: str
    """success | failed | partial | skipped | cancelled"""
    steps: tuple[StepSummary, ...]
    payload: Raw | UnsetType = UNSET
    """Given unless a `started` message is known to be delivered."""
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN
    error: ActionError | None = None
    """Why the run as a whole failed, where it was not a step (for example a definition that cannot be read)."""
    reason: str = ""
    """Why it was cancelled, where somebody said so."""
    by: str = ""
    """Who cancelled it."""


class Waiting(RunMessage, frozen=True, kw_only=True, tag="waiting.v1"):
    """A run has come to where nothing but time or a signal brings it on."""

    started_at: datetime
    waits: tuple[Wait, ...]
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Resumed(RunMessage, frozen=True, kw_only=True, tag="resumed.v1"):
    """A run that waited goes on."""

    started_at: datetime
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Unknown(Message, frozen=True, kw_only=True, tag="unknown.v1"):
    """The answer to a probe for an execution that the engine does not know; the matcher says again what it has to say.

    For a run that is due, that is its start; for one that it withheld, `withheld`. The finalizer says it of runs that
    are not the engine's (inline, withheld) and whose record lacks something.
    """

    execution_id: str
    company_id: str
    runbook_id: str
    lane: int


class Resuming(RunMessage, frozen=True, kw_only=True, tag="resuming.v1"):
    """A run whose wait is over asks for the slot that it gave back; it goes on at `slot_granted`."""

    started_at: datetime
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Queued(RunMessage, frozen=True, kw_only=True, tag="queued.v1"):
    """A firing that is accepted and may not start yet."""

    reason: str
    """slot_taken | company_limit | engine_down | gate_silent"""
    payload: Raw | UnsetType = UNSET
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Withheld(RunMessage, frozen=True, kw_only=True, tag="withheld.v1"):
    """A firing that does not become a run: on record beside those that did."""

    status: str
    """skipped | cancelled"""
    reason: str
    """throttled | slot_taken | queue_full | queue_age | breaker_open | loop | inactive | overlap | guard_key_failed |
    cancelled
    """
    detail: str = ""
    """For people: which window, which chain, what was said at the cancellation."""
    by: str = ""
    """Who cancelled it."""
    payload: Raw | UnsetType = UNSET
    chain: tuple[str, ...] = ()
    origin: Origin = NO_ORIGIN


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place where the durable double of an inline run came to something else."""

    activity_id: str
    """"" for the run as a whole."""
    what: str
    """input | status | reason | order | output | missing | extra | conclusion | incomparable"""
    inline: str
    """As it was, cut to an excerpt."""
    shadow: str
    after_wait: bool = False
    """A wait that inline skips stood before it, so that the world may have been another by then."""


class Compared(Message, frozen=True, kw_only=True, tag="compared.v1"):
    """A shadow run has ended: whether it agrees with the inline run of the same execution."""

    execution_id: str
    company_id: str
    runbook: RunbookReference
    lane: int
    at: datetime
    is_agreed: bool
    steps_compared: int
    differences: tuple[Difference, ...] = ()
    expected: tuple[str, ...] = ()
    """Steps that differ because inline skips what waits."""


LifecycleMessage: TypeAlias = (
    Queued | Started | Waiting | Resuming | Resumed | Finished | Withheld | Compared | Unknown
)
