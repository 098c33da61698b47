"""When a runbook's breaker opens: so many failed runs in a row, of its present generation.

A failed run counts, a successful one clears the count, and a partial, skipped or cancelled one does neither. What a run
of an earlier generation comes to is not looked at: it was sent before the last reset. A failure of the engine itself is
not the runbook's. An open breaker stays open, and as it is, until somebody resets it: that raises the generation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from outlast.contracts.control import ResetBreaker
from outlast.contracts.messages import Breaker, Finished

FAILED, SUCCESS = "failed", "success"
WATCHDOG = "watchdog"
OUR_FAULTS = frozenset({"definition_unreadable", "internal_error", WATCHDOG})
"""Codes of `Finished.error` (why a run as a whole failed) that say nothing about what the runbook does."""


class Key(NamedTuple):
    """Whose breaker."""

    company_id: str
    runbook_id: str


@dataclass(frozen=True, slots=True)
class BreakerState:
    """One breaker. None that was never heard of is like a new one."""

    generation: int = 0
    failures: int = 0
    """Failed runs in a row."""
    tripped_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether the runbook is held back."""
        return self.tripped_at is not None


class Outcome(NamedTuple):
    """What one run came to, as far as its breaker looks at it."""

    execution_id: str
    key: Key
    is_failure: bool
    generation: int
    threshold: int
    at: datetime


def outcome_of(message: Finished) -> Outcome | None:
    """What the end of a run says about its runbook; None if nothing."""
    if message.status not in (FAILED, SUCCESS):
        return None
    if message.error is not None and message.error.code in OUR_FAULTS:
        return None
    return Outcome(
        message.execution_id,
        Key(message.company_id, message.runbook.id),
        message.status == FAILED,
        message.origin.generation,
        message.origin.breaker_threshold,
        message.at,
    )


def counted(state: BreakerState, outcome: Outcome) -> BreakerState:
    """The breaker after this outcome."""
    if state.is_open or outcome.generation != state.generation:
        return state
    if not outcome.is_failure:
        return replace(state, failures=0)
    failures = state.failures + 1
    tripped_at = outcome.at if failures >= outcome.threshold else None
    return replace(state, failures=failures, tripped_at=tripped_at)


def reset(state: BreakerState) -> BreakerState:
    """The breaker after somebody closed it, open or not."""
    return BreakerState(generation=state.generation + 1)


def turned(
    states: Mapping[Key, BreakerState], outcomes: Iterable[Outcome], resets: Iterable[ResetBreaker]
) -> dict[Key, BreakerState]:
    """The breakers that a batch changes: outcomes in the order they came in, then the resets."""
    after = dict(states)
    for outcome in outcomes:
        after[outcome.key] = counted(after.get(outcome.key, BreakerState()), outcome)
    for command in resets:
        key = Key(command.company_id, command.runbook_id)
        after[key] = reset(after.get(key, BreakerState()))
    return {key: state for key, state in after.items() if state != states.get(key)}


def is_news(before: BreakerState | None, after: BreakerState) -> bool:
    """Whether others must hear of the change: it opened, it was closed, or an older generation counts no more."""
    known = before or BreakerState()
    return (known.is_open, known.generation) != (after.is_open, after.generation)


def breaker_message(key: Key, state: BreakerState, revision: int) -> Breaker:
    """The breaker as it is published."""
    return Breaker(
        company_id=key.company_id,
        runbook_id=key.runbook_id,
        generation=state.generation,
        is_open=state.is_open,
        failures=state.failures,
        tripped_at=state.tripped_at,
        revision=revision,
    )


def breaker_key(key: Key) -> str:
    """The key of a breaker on `breakers`."""
    return f"{key.company_id}/{key.runbook_id}"
