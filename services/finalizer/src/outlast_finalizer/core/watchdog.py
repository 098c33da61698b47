"""Runs that are said to go on and of which nothing is heard.

Such a run is asked about, ever more seldom: a durable one by a probe, the engine then drives it on from its history;
any other by `unknown`, the matcher then sends its start again, and the executor answers from its ledger. A durable run
is never failed from here: only the engine knows whether it can go on. Another one is, after a much longer silence, if
it was asked about and nothing came.

That decision is made where our own question comes back to us: whatever was said before it in its lane has been read,
however far behind we are. Times are the broker's, of the messages; no clock of ours takes part.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from outlast.contracts.messages import ActionError
from outlast_finalizer.core.breaker import WATCHDOG

WATCHDOG_RANK = 2
WATCHDOG_SEQ = 1
PAUSE_MAX = timedelta(hours=6)
"""Between two questions about one run."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a silence may last."""

    silent_after: timedelta = timedelta(minutes=15)
    """A running run without a word for so long is asked about."""
    give_up_after: timedelta = timedelta(hours=24)
    """One that is not the engine's has failed after so long, if it was asked about in vain."""


PATIENCE = Patience()


def next_check(told_at: datetime, now: datetime, patience: Patience) -> datetime:
    """When to ask about it again: the pauses grow with the silence."""
    return now + max(patience.silent_after, min(now - told_at, PAUSE_MAX))


def is_given_up(told_at: datetime, asked_at: datetime | None, heard_at: datetime, patience: Patience) -> bool:
    """Whether a run has failed, when our question about it comes back at `heard_at`.

    `told_at` is when it was last heard of, `asked_at` when the first question since then came back: whoever had to
    answer that one has had time.
    """
    if asked_at is None or heard_at - asked_at < patience.silent_after:
        return False
    return heard_at - told_at >= patience.give_up_after


def why(told_at: datetime) -> ActionError:
    """What its record says then."""
    message = f"expected a word of the run, but nothing came since {told_at.isoformat()}, nor when it was asked about"
    return ActionError(code=WATCHDOG, message=message)
