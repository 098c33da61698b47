"""What the matcher asks the gate, and what the gate advises: `gate.requests`, `gate.decisions`, by lane.

One message a runbook and batch. No payload travels here. The gate's word is advice: the dispatch row decides.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec

from outlast.contracts.parts import Message


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At most `limit` firings with this key in any stretch of `seconds`."""

    key: str
    limit: int
    seconds: float


class Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At most `limit` runs with this key at the same time."""

    key: str
    limit: int = 1
    on_conflict: str = "queue"
    """queue | skip"""
    queue_limit: int = 1_000
    """How many may stand in the queue of the key."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """May this firing start? Asked again under the same id while there is no answer."""

    id: str
    """The execution's."""
    at: datetime
    """The broker's time of its event: what windows count by."""
    windows: tuple[Window, ...] = ()
    slot: Slot | None = None
    is_resuming: bool = False
    """It has had its yes: the run gave its slot back while it waited, or the dispatch has it in its queue. Windows do
    not count, and it is never skipped.
    """


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """This execution holds and waits for no slot of this key any more."""

    id: str
    key: str


class GateRequest(Message, frozen=True, kw_only=True, tag="gate_request.v1"):
    """Asks and releases of one runbook, in their order: releases first."""

    company_id: str
    runbook_id: str
    lane: int
    releases: tuple[Release, ...] = ()
    asks: tuple[Ask, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the gate advises for one execution."""

    id: str
    verdict: str
    """admitted | queued | skipped"""
    reason: str = ""
    """Of a skip: throttled | slot_taken | queue_full."""
    detail: str = ""


class GateDecision(Message, frozen=True, kw_only=True, tag="gate_decision.v1"):
    """The answer to asks, and who of the queue is next after a release.

    A verdict may come again, and unasked: who finds a slot taken again has its holders named once more. Whoever is
    admitted and neither wants the slot nor holds it is to be released.
    """

    company_id: str
    runbook_id: str
    lane: int
    verdicts: tuple[Verdict, ...]


GateMessage: TypeAlias = GateRequest | GateDecision
