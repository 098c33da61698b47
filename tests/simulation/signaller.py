"""People and programs outside who send signals, and the API's edge that records them before it answers.

A sender who got no answer sends the same id again; some send it again although they were answered. What was
answered is what the invariants hold the system to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from msgspec import Raw, structs

from outlast import ids
from outlast.clock import Clock
from outlast.contracts.messages import SignalRequest, Start
from outlast.errors import TransientError
from outlast.messaging.ports import Sink
from outlast.testing.world import BEGIN, PARTITIONS
from outlast_signal_delivery.agenda import SignalAgenda
from outlast_signal_delivery.limits import POKE_SECONDS
from outlast_signal_delivery.outbound import poke
from outlast_signal_delivery.store import NewSignal
from outlast_signal_delivery.work import new_signal
from tests.simulation.waiting import SIGNAL_OF
from tests.simulation.workload import ASSETS, COMPANIES

SIGNALS_MAX = 60
"""In one world."""
KEPT = timedelta(days=1)
KEPT_SHORTLY = timedelta(seconds=20)
"""Over before some answers can be there."""
AFTERWARDS = timedelta(minutes=5)
PAUSE_SECONDS = 0.05
KINDS = {
    "run": 5, "key": 6, "short": 1, "other name": 1, "nobody": 1, "nowhere": 1, "foreign": 1, "again": 2,
}  # fmt: skip


@dataclass(slots=True)
class Sent:
    """A signal as its sender wants it, and what the sender knows of it."""

    request: SignalRequest
    kept: timedelta
    was_recorded: bool = False
    """Whether its run had a record when it was first sent."""
    tries: int = 0
    is_accepted: bool = False


class Signaller:
    """Who sends what, by chance."""

    def __init__(
        self, seed: int, clock: Clock, starts: Callable[[], list[Start]], is_recorded: Callable[[str], bool]
    ) -> None:
        self.sent: dict[str, Sent] = {}
        """All signals by their ids, which are unique over the companies."""
        self.is_active = True
        self._random = Random(f"signals of {seed}")
        self._clock = clock
        self._starts = starts
        self._is_recorded = is_recorded
        self._unanswered: list[Sent] = []

    def next(self) -> Sent | None:
        """What somebody sends now, if anybody does."""
        if self._unanswered:
            return self._unanswered[0]
        if self.is_active and len(self.sent) < SIGNALS_MAX and self._random.random() < 0.7:
            self._draw()
        return self._unanswered[0] if self._unanswered else None

    def try_again_later(self) -> None:
        """The first got no answer; others go first."""
        self._unanswered.append(self._unanswered.pop(0))

    def answer(self, sent: Sent) -> None:
        """It was accepted."""
        sent.is_accepted = True
        self._unanswered.remove(sent)

    def send(self, company: str, name: str, *, run: str = "", key: str = "", kept: timedelta = KEPT,
             for_future: bool = False) -> None:  # fmt: skip
        """A signal that is to be sent."""
        number = len(self.sent)
        now = self._clock.now()
        request = SignalRequest(
            signal_id=f"signal-{number}", company_id=company, name=name, execution_id=run, key=key,
            payload=Raw(b'{"word":"%d"}' % number), sent_by="eve", sent_at=now, expires_at=now + kept,
            for_future=for_future,
        )  # fmt: skip
        sent = self.sent[request.signal_id] = Sent(request, kept, bool(run) and self._is_recorded(run))
        self._unanswered.append(sent)

    def _draw(self) -> None:
        random = self._random
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        company = random.choice(COMPANIES)
        waiting = [each for each in self._starts() if each.runbook.name in SIGNAL_OF][-20:]
        start = random.choice(waiting) if waiting else None
        match kind:
            case "key" | "short":
                kept = KEPT if kind == "key" else KEPT_SHORTLY
                key = f"asset-{random.randrange(ASSETS)}"
                self.send(company, "approved", key=key, kept=kept, for_future=random.random() < 0.4)
            case "nobody" | "nowhere":
                partitions = PARTITIONS if kind == "nobody" else ids.ENGINE_PARTITIONS_MAX
                milliseconds = int(BEGIN.timestamp() * 1000) + len(self.sent)
                self.send(company, "go", run=ids.execution_id(milliseconds, partitions, company, "", "", "r"))
            case "again":
                self._unanswered += random.sample(list(self.sent.values()), min(1, len(self.sent)))
            case _ if start is not None:
                name = "other" if kind == "other name" else SIGNAL_OF[start.runbook.name]
                other = next(each for each in COMPANIES if each != start.company_id)
                self.send(other if kind == "foreign" else start.company_id, name, run=start.execution_id)
            case _:
                pass


class AcceptsSignals(Protocol):
    """The part of the store that the edge needs."""

    async def accept(self, signal: NewSignal, now: datetime) -> bool:
        """Record it; False if its id was known."""
        ...


class SignalEdge:
    """`POST /signals` of one process: the row is committed, then the owner is told, which may be lost."""

    def __init__(
        self, signaller: Signaller, store: AcceptsSignals, sink: Sink, agenda: SignalAgenda, clock: Clock
    ) -> None:
        self._signaller = signaller
        self._store = store
        self._sink = sink
        self._agenda = agenda
        self._clock = clock

    async def turn(self, timeout_seconds: float = 0.0, /) -> float | None:
        """One request, if there is one."""
        sent = self._signaller.next()
        if sent is None:
            return None
        sent.tries += 1
        now = self._clock.now()
        signal = new_signal(structs.replace(sent.request, sent_at=now, expires_at=now + sent.kept), "")
        try:
            is_new = await self._store.accept(signal, now)
        except TransientError:
            self._signaller.try_again_later()
            return PAUSE_SECONDS
        self._signaller.answer(sent)
        if is_new:
            self._agenda.expect(POKE_SECONDS)
            await self._poke(signal)
        return None

    async def _poke(self, signal: NewSignal) -> None:
        self._sink.send([poke(signal)])
        try:
            await self._sink.flush()
        except TransientError:
            return  # the agenda finds it
