"""What people order, and what is announced: the control plane's outbox, and the compacted topics that matchers read.

An order is sent again with the rest of the outbox when the broker's data was lost. Announcements are kept outside of
the broker: absence never deletes, and a reader that begins waits until it has read what is there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TypeVar

from msgspec import Raw

from outlast import ids
from outlast.clock import Clock
from outlast.contracts import codec, topics
from outlast.contracts.control import (
    CancelExecution,
    ControlMessage,
    LetGoSuppressed,
    ResetBreaker,
    RunSuppressed,
    TriggerRunbook,
)
from outlast.contracts.messages import Definition, EngineStatus, Message
from outlast.messaging.ports import Outgoing, Received
from outlast.testing.world import PARTITIONS
from outlast_finalizer.core.breaker import breaker_message
from outlast_trigger_matcher.core.rows import Dispatch
from tests.simulation.guarded import GUARDS, guarded
from tests.simulation.workload import PlannedRunbook
from tests.stores.memory_finalizer import MemoryFinalizerStore

T = TypeVar("T")

ORDERS_MAX = 60
GRACE = timedelta(seconds=2)
"""Engines may be away for so long until new runs do without them."""
KINDS = {
    "trigger": 6, "cancel": 10, "cancel again": 2, "foreign": 1, "reset": 3, "run": 3, "let go": 1, "new version": 2,
    "away": 2, "back": 3,
}  # fmt: skip


@dataclass
class Announcements:
    """The compacted topics as one log."""

    records: list[Received] = field(default_factory=list[Received])

    def say(self, topic: str, message: Message, at_ms: int = 0) -> None:
        """The latest word on something."""
        self.records.append(Received(topic, 0, len(self.records), at_ms, b"", codec.encode(message)))

    def define(self, planned: PlannedRunbook, at_ms: int = 0) -> None:
        """The present version of a runbook."""
        definition = Definition(
            company_id=planned.company_id,
            runbook=planned.reference,
            is_active=planned.is_active,
            revision=len(self.records) + 1,
            definition=Raw(planned.body),
        )
        self.say(topics.DEFINITIONS, definition, at_ms)


class Listener:
    """One process's reading of the announcements; a loop of its own."""

    def __init__(self, said: Announcements, known_by: Mapping[str, Callable[[Received], None]]) -> None:
        self._said = said
        self._known_by = known_by
        self._next = 0

    @property
    def has_read(self) -> bool:
        """Whether it has read what was there when it began."""
        return self._next > 0

    async def turn(self, timeout_seconds: float = 0.0, /) -> float | None:
        """What is new."""
        for received in self._said.records[self._next :]:
            self._known_by[received.topic](received)
        self._next = len(self._said.records)
        return None


def passed_over(_: Received) -> None:
    """Of a topic that this process does not read."""


class People:
    """Who orders what, by chance. The loop of the one process of the control plane."""

    def __init__(
        self, seed: int, clock: Clock, rows: Mapping[str, Dispatch], records: MemoryFinalizerStore
    ) -> None:
        self.said = Announcements()
        self.sent: dict[str, ControlMessage] = {}
        """All orders, by their ids."""
        self.patient_for_a_while: set[bytes] = set()
        """Orders that name a finding: laid aside where the platform is away for too long."""
        self.send: Callable[[Outgoing], None] = lambda _outgoing: None
        self.is_active = True
        self.may_degrade = False
        self.planned: list[PlannedRunbook] = []
        self._random = Random(f"people of {seed}")
        self._clock = clock
        self._rows = rows
        self._records = records
        self._published = 0
        self._versions: dict[tuple[str, str], int] = {}

    async def turn(self, timeout_seconds: float = 0.0, /) -> float | None:
        """Publish what the finalizer has in its outbox; sometimes somebody orders something."""
        for key, state in self._records.published[self._published :]:
            self._published += 1
            self.said.say(topics.BREAKERS, breaker_message(key, state, self._published))
        if self.is_active and len(self.sent) < ORDERS_MAX and self._random.random() < 0.3:
            self._order(self._random.choices(list(KINDS), list(KINDS.values()))[0])
        return None

    def _order(self, kind: str) -> None:
        match kind:
            case "trigger":
                self.trigger(self._one(self.planned))
            case "cancel" | "foreign":
                self._cancel(is_foreign=kind == "foreign")
            case "cancel again":
                known = [each for each in self.sent.values() if isinstance(each, CancelExecution)]
                if known:
                    self._say(self._one(known))
            case "reset":
                self.reset_breakers(is_certain=False)
            case "run" | "let go":
                self._answer(is_run=kind == "run")
            case "new version":
                self._change(self._one(list(GUARDS)))
            case "away" | "back" if self.may_degrade:
                self.engines("down" if kind == "away" else "up")
            case _:
                pass

    def _one(self, known: Sequence[T]) -> T:
        return self._random.choice(known)

    def trigger(self, planned: PlannedRunbook) -> None:
        """Run it, as if an event had fired it."""
        common = self._common(planned.company_id, planned.reference.id)
        data = Raw(b'{"tool":"%s","outcome":"fail"}' % self._one((b"trivy", b"bandit")))
        finding = f"finding-{self._random.randrange(40)}" if self._random.random() < 0.3 else ""
        order = TriggerRunbook(**common, data=data, finding_id=finding)
        if finding:
            self.patient_for_a_while.add(codec.encode(order))
        self._say(order)

    def _cancel(self, *, is_foreign: bool) -> None:
        """Something recent that has not ended, in whatever state it is; or that has."""
        recent = list(self._rows.values())[-60:]
        open_rows = [row for row in recent if row.closed_at is None]
        if not recent:
            return
        row = self._one(open_rows or recent)
        company = "other" if is_foreign else row.start.company_id
        common = self._common(company, row.start.runbook.id)
        del common["runbook_id"]
        common["lane"] = row.start.lane
        self._say(CancelExecution(**common, execution_id=row.id, reason="no more"))

    def reset_breakers(self, *, is_certain: bool) -> None:
        """Open ones, or any."""
        open_ones = [key for key, state in self._records.breakers.items() if state.is_open]
        if is_certain:
            for key in sorted(open_ones):
                self._say(ResetBreaker(**self._common(*key)))
        else:
            known = sorted(open_ones or self._records.breakers)
            if known:
                self._say(ResetBreaker(**self._common(*self._one(known))))

    def _answer(self, *, is_run: bool) -> None:
        suppressed = [row for row in self._rows.values() if row.status == "suppressed"]
        if not suppressed:
            return
        row = self._one(suppressed)
        common = self._common(*row.runbook)
        if not is_run:
            self._say(LetGoSuppressed(**common))
        else:
            named = (row.id,) if self._random.random() < 0.5 else ()
            self._say(RunSuppressed(**common, executions=named))

    def _change(self, name: str) -> None:
        version = self._versions[("acme", name)] = self._versions.get(("acme", name), 1) + 1
        self.said.define(guarded("acme", name, version))

    def engines(self, state: str) -> None:
        """All instances say so."""
        for instance in ("0", "1"):
            status = EngineStatus(instance=f"engine-{instance}", state=state, at=self._clock.now())
            self.said.say(topics.ENGINE_STATUS, status)

    def _common(self, company: str, runbook_id: str) -> dict[str, object]:
        return {
            "command_id": f"command-{len(self.sent)}", "company_id": company, "runbook_id": runbook_id, "by": "ann",
            "at": self._clock.now(), "lane": ids.lane(company, runbook_id, PARTITIONS),
        }  # fmt: skip

    def _say(self, order: ControlMessage) -> None:
        self.sent[order.command_id] = order
        self.send(
            Outgoing(topics.CONTROL_COMMANDS, codec.encode(order), order.company_id.encode(), order.lane)
        )
