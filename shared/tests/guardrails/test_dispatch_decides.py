"""The gate between a dispatch that decides and a road on which messages are lost, doubled, late and out of order.

The dispatch is a model of the matcher's rows: it counts slots and windows itself, asks again when nobody answers, and
releases what the gate believes to be held and is not. Whatever happens on the road, and however often the gate
forgets all it knew, the rows get no more than is allowed, and once the road is good again everybody gets a turn.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from outlast.contracts.guarding import Ask, GateRequest, Release, Slot, Verdict, Window
from outlast.guardrails.admit import admit
from outlast.guardrails.guards import HOLDER, QUEUE, Guards

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = ("k0", "k1")
WINDOW_SECONDS = 20
LIVE = ("requested", "queued")


@dataclass
class Firing:
    """A dispatch row."""

    id: str
    second: int
    key: str
    status: str = "requested"
    is_entered: bool = False
    """Its window has been counted."""


@dataclass
class Dispatch:
    """The rows, and what they decide."""

    slots: int
    per_window: int
    skips: bool
    queue_limit: int
    rows: dict[str, Firing] = field(default_factory=dict[str, Firing])
    outbox: list[Ask | Release] = field(default_factory=list[Ask | Release])
    refused: int = 0

    def fire(self, second: int, key: str) -> None:
        firing = Firing(f"f{len(self.rows):03}", second, key)
        self.rows[firing.id] = firing
        self.ask(firing)

    def ask(self, firing: Firing) -> None:
        conflict = "skip" if self.skips else "queue"
        windows = (Window(key="w", limit=self.per_window, seconds=WINDOW_SECONDS),)
        ask = Ask(
            id=firing.id,
            at=BEGIN + timedelta(seconds=firing.second),
            slot=Slot(key=firing.key, limit=self.slots, on_conflict=conflict, queue_limit=self.queue_limit),
            windows=windows,
            is_resuming=firing.status == "queued",
        )
        self.outbox.append(ask)

    def hear(self, verdict: Verdict) -> None:
        firing = self.rows[verdict.id]
        match verdict.verdict:
            case "admitted" if firing.status in LIVE:
                self._admit(firing)
            case "admitted" if firing.status != "running":
                self.outbox.append(Release(id=firing.id, key=firing.key))
            case "queued" if firing.status == "requested":
                self._enter(firing, "queued")
            case "skipped" if firing.status == "requested":
                firing.status = "skipped"
            case _:
                pass

    def _admit(self, firing: Firing) -> None:
        if len(self.running(firing.key)) < self.slots:
            self._enter(firing, "running")
        else:
            self._enter(firing, "skipped" if self.skips else "queued")
        if firing.status != "running":
            self.refused += 1
            self.outbox.append(Release(id=firing.id, key=firing.key))

    def _enter(self, firing: Firing, status: str) -> None:
        firing.status = status
        if firing.is_entered or status == "skipped":
            return
        later = [
            each
            for each in self.rows.values()
            if each.is_entered and each.second > firing.second - WINDOW_SECONDS
        ]
        firing.is_entered = len(later) < self.per_window
        if not firing.is_entered:
            firing.status = "skipped"

    def running(self, key: str) -> list[Firing]:
        return [each for each in self.rows.values() if each.key == key and each.status == "running"]

    def finish(self, firing: Firing) -> None:
        firing.status = "settled"
        self.outbox.append(Release(id=firing.id, key=firing.key))

    def ask_again(self) -> None:
        """Who has no answer, and who waits although a slot is free."""
        for firing in self.rows.values():
            has_room = len(self.running(firing.key)) < self.slots
            if firing.status == "requested" or (firing.status == "queued" and has_room):
                self.ask(firing)

    def check(self) -> None:
        for key in KEYS:
            assert len(self.running(key)) <= self.slots
        entered = [each.second for each in self.rows.values() if each.is_entered]
        for begin in entered:
            assert sum(begin <= each < begin + WINDOW_SECONDS for each in entered) <= self.per_window


def handled(guards: Guards, message: Ask | Release) -> tuple[Verdict, ...]:
    asks = (message,) if isinstance(message, Ask) else ()
    releases = (message,) if isinstance(message, Release) else ()
    request = GateRequest(company_id="acme", runbook_id="rb", lane=0, asks=asks, releases=releases)
    return admit(guards, request, BEGIN)


@given(
    st.integers(1, 3),
    st.sampled_from([2, 5, 1_000]),
    st.booleans(),
    st.sampled_from([2, 1_000]),
    st.integers(0, 3),
    st.integers(0, 2**32),
)
@example(slots=1, per_window=5, skips=False, queue_limit=2, badness=1, seed=0)  # a queue full of ghosts
@settings(max_examples=150, deadline=None)
def test_rows_get_what_is_allowed_and_no_more_and_nothing_stays_behind(
    slots: int, per_window: int, skips: bool, queue_limit: int, badness: int, seed: int
) -> None:
    chance = random.Random(seed)
    dispatch, guards = Dispatch(slots, per_window, skips, queue_limit), Guards()
    to_gate: list[Ask | Release] = []
    to_dispatch: list[Verdict] = []
    for step in range(150):
        if chance.random() < 0.2:
            dispatch.fire(step // 4, chance.choice(KEYS))
        if chance.random() < 0.1:
            dispatch.ask_again()
        if (running := [each for key in KEYS for each in dispatch.running(key)]) and chance.random() < 0.2:
            dispatch.finish(chance.choice(running))
        to_gate += on_a_bad_road(dispatch.outbox, badness, chance)
        dispatch.outbox.clear()
        if to_gate and chance.random() < 0.8:
            to_dispatch += on_a_bad_road(handled(guards, taken(to_gate, badness, chance)), badness, chance)
        if to_dispatch and chance.random() < 0.8:
            dispatch.hear(taken(to_dispatch, badness, chance))
        if badness and chance.random() < 0.01:
            guards = Guards()
        dispatch.check()

    messages, dispatch.outbox = [*to_gate, *dispatch.outbox], []
    settle(dispatch, guards, messages, to_dispatch)
    if not badness:
        assert dispatch.refused == 0, "expected a gate that lost nothing to advise nothing that is refused"
        assert not held(guards), "expected no slot and no place in a queue to be left behind"
    for second in range(
        1_000, 4_000, 1_000
    ):  # what a lost release left behind is found when a slot is wanted
        for number in range(2 * (slots + 1)):
            dispatch.fire(second + number * WINDOW_SECONDS, KEYS[number % 2])
        messages, dispatch.outbox = dispatch.outbox, []
        settle(dispatch, guards, messages, [])
    assert not held(guards)


def settle(
    dispatch: Dispatch, guards: Guards, messages: Sequence[Ask | Release], verdicts: Sequence[Verdict]
) -> None:
    """The road is good; runs end, one at a time, until all have."""
    for _ in range(10 * (1 + len(dispatch.rows))):
        heard = [*verdicts, *(each for message in messages for each in handled(guards, message))]
        for verdict in heard:
            dispatch.hear(verdict)
        dispatch.check()
        if running := [each for key in KEYS for each in dispatch.running(key)]:
            dispatch.finish(running[0])
        elif not dispatch.outbox and all(each.status not in LIVE for each in dispatch.rows.values()):
            break
        dispatch.ask_again()
        messages, verdicts, dispatch.outbox = dispatch.outbox, (), []
    assert {each.status for each in dispatch.rows.values()} <= {"settled", "skipped"}


def on_a_bad_road(messages: object, badness: int, chance: random.Random) -> list[object]:
    """Some lost, some twice."""
    arrived: list[object] = []
    for message in messages:  # type: ignore[attr-defined]
        fate = chance.random() * 10
        if fate >= badness:
            arrived.append(message)
        if badness and fate > 8:
            arrived.append(message)
    return arrived


def taken(messages: list, badness: int, chance: random.Random):
    """The next, or another one when the road is bad."""
    return messages.pop(chance.randrange(len(messages)) if badness and chance.random() < 0.3 else 0)


def held(guards: Guards) -> list[str]:
    return [entry.id for key in KEYS for kind in (HOLDER, QUEUE) for entry in guards.read(kind, key) or ()]
