"""Messages that no service may take in and none may be stopped by, each for another reason."""

from datetime import UTC, datetime

from msgspec import Raw

from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    EventReference,
    Finished,
    Recorded,
    RunActivity,
    RunbookReference,
    SignalRequest,
    SignalVerdict,
    Start,
    StartTimer,
    Unknown,
)
from outlast.messaging.ports import Outgoing

KILLER = b'{"type":"killer"}'
"""The simulated engine dies of it, whenever it decides over it."""

_AT = datetime(2026, 1, 5, tzinfo=UTC)
_EXECUTION = "019b8a00-0000-8001-8000-000000000001"
_EVENT = EventReference(source="urn:poison", id="poison", type="finding_created", time=_AT)
_RUNBOOK = RunbookReference(id="r", name="r", version=1, sha256="0" * 64)
_NUL = RunbookReference(id="r", name="nul \x00 inside", version=1, sha256="1" * 64)
_BODY = Raw(b'{"name":"r","rules":[{"event":"finding_created"}],"actions":[]}')


def _start(execution: str, runbook: RunbookReference, payload: bytes) -> Start:
    return Start(
        execution_id=execution,
        company_id="acme",
        runbook=runbook,
        event=_EVENT,
        mode="workflow",
        lane=0,
        payload=Raw(payload),
        definition=_BODY,
    )


def _nap(execution: str, timer: str = "nap") -> StartTimer:
    return StartTimer(execution_id=execution, timer_id=timer, fire_at=_AT)


def _signal(key: str) -> SignalRequest:
    return SignalRequest(
        signal_id="poison",
        company_id="acme",
        name="approved",
        key=key,
        sent_by="eve",
        sent_at=_AT,
        expires_at=_AT,
    )


def _verdict(verdict: str) -> SignalVerdict:
    return SignalVerdict(signal_id="poison", execution_id=_EXECUTION, company_id="acme", verdict=verdict)


def _finished(runbook: RunbookReference) -> Finished:
    return Finished(
        execution_id=_EXECUTION,
        company_id="acme",
        runbook=runbook,
        event=_EVENT,
        mode="workflow",
        lane=0,
        rank=1,
        seq=2,
        at=_AT,
        started_at=_AT,
        status="success",
        steps=(),
    )


def gate_poisons() -> list[Outgoing]:
    """Garbage for the gate, where there is one."""
    return [
        Outgoing(topics.GATE_REQUESTS, b"\xff no request", b"k", 0),
        Outgoing(topics.GATE_REQUESTS, b'{"type":"gate_decision.v1"}', b"k", 1),
    ]


def poisons() -> list[Outgoing]:
    """Garbage for every topic, and what only the database or the decider refuses."""
    inbox, lifecycle = topics.ENGINE_INBOX, topics.LIFECYCLE
    activity = RunActivity(
        execution_id="no id", activity_id="a", attempt=1, company_id="acme", runbook=_RUNBOOK, event=_EVENT,
        action="say", action_class="notify", input=Raw(b"{}"), timeout_seconds=30.0,
    )  # fmt: skip
    unknown = Unknown(execution_id="no id", company_id="acme", runbook_id="r", lane=1)
    payload = b'{"event":{},"company":{"id":"acme"}}'
    return [
        Outgoing(topics.PLATFORM_EVENTS, b"\xff no event", b"k"),
        Outgoing(inbox, b"\xff no message", b"k", 0),
        Outgoing(lifecycle, b"{}", b"k", 1),
        Outgoing(topics.RECORDED, b"[]", b"k", 2),
        Outgoing(topics.activities("notify"), b"null", b"k"),
        Outgoing(topics.activities("itsm"), codec.encode(activity), b"k"),
        Outgoing(inbox, codec.encode(_start(_EXECUTION, _NUL, payload)), b"k", 1),
        Outgoing(inbox, codec.encode(_start(_EXECUTION, _RUNBOOK, b"[1]")), b"k", 1),
        Outgoing(inbox, codec.encode(_start("no id", _RUNBOOK, payload)), b"k", 2),
        Outgoing(inbox, codec.encode(Recorded(executions=("no id",))), None, 0),
        Outgoing(lifecycle, codec.encode(unknown), b"k", 1),
        Outgoing(lifecycle, codec.encode(_finished(_NUL)), b"k", 0),
        Outgoing(topics.RECORDED, codec.encode(Recorded(executions=("no id",))), None, 1),
        Outgoing(inbox, KILLER, b"k", 2),
        Outgoing(topics.TIMER_COMMANDS, b"{", b"k"),
        Outgoing(topics.TIMER_COMMANDS, codec.encode(_nap("no id")), b"k"),
        Outgoing(topics.TIMER_COMMANDS, codec.encode(_nap(_EXECUTION, "nul \x00 inside")), b"k"),
        Outgoing(topics.INLINE, b"[]", b"k"),
        Outgoing(topics.INLINE, codec.encode(_start(_EXECUTION, _RUNBOOK, payload)), b"k"),
        Outgoing(topics.GATE_DECISIONS, b"{}", b"k", 0),
        Outgoing(topics.CONTROL_COMMANDS, b"no command", b"k", 1),
        Outgoing(topics.SIGNALS, b"\xff no signal", b"k"),
        Outgoing(topics.SIGNALS, codec.encode(_signal(key="")), b"k"),
        Outgoing(topics.SUBSCRIPTIONS, codec.encode(_nap(_EXECUTION)), b"k"),
        Outgoing(topics.VERDICTS, codec.encode(_verdict("perhaps")), b"k"),
    ]
