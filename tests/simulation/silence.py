"""Runs of which nothing is heard: whom the watchdog asks about, and whom it may give up.

In the random worlds nobody is silent for days, so whoever is given up there was alive. In scenarios somebody is.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from outlast.clock import Clock
from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, LifecycleMessage, Unknown
from outlast.errors import ContractError
from outlast.messaging.ports import Outgoing
from outlast.testing.invariants import Violation
from outlast_finalizer.core.watchdog import Patience

if TYPE_CHECKING:
    from tests.simulation.system import System

SILENT = timedelta(seconds=20)
GIVEN_UP = timedelta(days=3)
PATIENCE = Patience(silent_after=SILENT, give_up_after=GIVEN_UP)
GIVEN_UP_RANK = 2


class SilenceReferee:
    """Listens to what is said about runs. No mutant touches it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, datetime] = {}
        """When each run was last heard of."""
        self._asked: dict[str, list[datetime]] = {}
        """When each was asked about since then."""
        self.given_up: set[str] = set()
        self.faults: list[str] = []

    def hear(self, outgoing: Outgoing) -> None:
        """Something is said about a run, or asked."""
        if outgoing.topic != topics.LIFECYCLE:
            return
        try:
            message: LifecycleMessage = codec.lifecycle.decode(outgoing.value)
        except ContractError:
            return
        execution, now = message.execution_id, self._clock.now()
        if isinstance(message, Unknown):
            self._asked.setdefault(execution, []).append(now)
        elif isinstance(message, Finished) and message.rank == GIVEN_UP_RANK:
            self._judge(execution, now)
        else:
            self._told[execution] = now
            self._asked.pop(execution, None)

    def _judge(self, execution: str, now: datetime) -> None:
        if execution in self.given_up:
            return
        self.given_up.add(execution)
        told, asked = self._told.get(execution), self._asked.get(execution, [])
        if told is None or now - told < GIVEN_UP:
            self.faults.append(f"{execution} is given up at {now}, though it was heard of at {told}")
        if not asked or asked[-1] - asked[0] < SILENT:
            self.faults.append(f"{execution} is given up at {now}, asked about at {asked}")


def check_silence(system: "System") -> Iterator[Violation]:
    """Who is alive is not given up."""
    for text in system.silence.faults:
        yield Violation("given up", text)
