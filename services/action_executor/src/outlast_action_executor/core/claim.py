"""Rule 4 of the architecture: what to do with an activity, given what the ledger says of it. Pure.

An attempt is claimed before it is called. So a claim without a result means: it is being called (live), or it was
and nobody knows what came of it (dead: its deadline has passed, or its process has begun another life). A recorded
result is given again, never silence, and never a second call.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from outlast.limits import TAKEOVERS_MAX


class Instance(NamedTuple):
    """One life of one executor process: its ordinal is stable, its incarnation counts its starts."""

    ordinal: str
    incarnation: int


class Resolution(StrEnum):
    """How an unknown outcome is resolved; the value stands in the result."""

    LOOK_UP = "looked_up"
    RETRY = "retried"
    FAIL = "failed"


class Row(NamedTuple):
    """A row of the ledger: one attempt at one operation, claimed by one instance."""

    attempt: int
    claimant: Instance
    takeovers: int
    is_dead: bool
    """By the database: the deadline has passed, or the claimant's ordinal is at a later incarnation."""
    remaining_seconds: float
    """Until the deadline, by the database's clock; below 0 when it has passed."""
    result: bytes | None
    is_success: bool


class Asked(NamedTuple):
    """The activity that was received, as far as the decision needs it."""

    attempt: int
    is_idempotent: bool
    has_look_up: bool
    on_unknown: str
    """retry | fail, for actions that are not idempotent."""


class Answer(NamedTuple):
    """Give this recorded result."""

    row: Row


class Call(NamedTuple):
    """Claim and call. `over` is our own claim that was never begun; None where there is no row yet."""

    over: Row | None


class Defer(NamedTuple):
    """Somebody is calling it: look again when their deadline has passed."""

    seconds: float


class Unknown(NamedTuple):
    """An earlier call left no result. Claim (`over` the dead claim of this very attempt, if that is it) and resolve."""

    over: Row | None
    resolution: Resolution


Decision: TypeAlias = Answer | Call | Defer | Unknown


def decide(asked: Asked, rows: Sequence[Row], me: Instance) -> Decision:
    """What to do with an activity that is not running in this process.

    `rows` are all attempts at its operation. In order: this attempt's result; the success of any attempt; a claim of
    this life that was never begun (its COMMIT was of unknown outcome); a live claim; a dead one; a first call.
    """
    own = next((row for row in rows if row.attempt == asked.attempt), None)
    if own is not None and own.result is not None:
        return Answer(own)
    for row in rows:
        if row.is_success:
            return Answer(row)
    latest = own or max((row for row in rows if row.attempt < asked.attempt), default=None, key=_attempt)
    if latest is None or latest.result is not None:
        return Call(None)
    if own is not None and own.claimant == me:
        return Call(own)
    if not latest.is_dead:
        return Defer(max(latest.remaining_seconds, 0.0))
    return Unknown(own, _resolve(asked, latest))


def _attempt(row: Row) -> int:
    return row.attempt


def _resolve(asked: Asked, dead: Row) -> Resolution:
    if dead.takeovers >= TAKEOVERS_MAX:
        return Resolution.FAIL
    if asked.has_look_up:
        return Resolution.LOOK_UP
    if asked.is_idempotent or asked.on_unknown == "retry":
        return Resolution.RETRY
    return Resolution.FAIL
