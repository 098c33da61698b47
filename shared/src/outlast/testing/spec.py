"""Given a runbook and what happened, when a message comes, then these events: how the interpreter's tests read."""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, Raw

from outlast.contracts.messages import (
    ActionError,
    ActivityResult,
    Cancel,
    DeliverSignal,
    EventReference,
    InlineOutcome,
    OutcomeStep,
    RunbookReference,
    SlotGranted,
    Start,
    TimerDue,
)
from outlast.contracts.parts import NO_ORIGIN, Origin
from outlast.execution.decide import Decision, Rejection, RunMessage, decide, proceed
from outlast.execution.evolve import fold
from outlast.execution.outstanding import end_status
from outlast.execution.state import Execution
from outlast.history import codec
from outlast.history.events import ActivityCompleted, Event, Recorded
from outlast.runbooks.definition import Runbook
from outlast.runbooks.documents import Json, canonical
from outlast.runbooks.pinned import load_pinned

EXECUTION = "018bcfe5-6800-8002-a4b7-f58a9ea932a5"
EVENT_TIME = datetime(2026, 1, 5, 12, tzinfo=UTC)
PAYLOAD: dict[str, Json] = {
    "event": {"type": "finding_created", "id": "e-1", "data": {"finding_id": "f-1"}},
    "company": {"id": "acme"},
    "finding": {"id": "f-1", "title": "SQL injection", "severity": "high"},
    "asset": {"id": "a-1", "owning_team": {"id": "t-1", "name": "Payments"}},
}


def notify(name: str, **more: Json) -> Json:
    """A pinned notify action with a constant config."""
    return {"id": name, "type": "http_request", "class": "notify", "config": {"url": "http://x"}, **more}


def runbook(*actions: Json) -> Runbook:
    """A runbook of these pinned actions."""
    return load_pinned(
        canonical({"name": "r", "rules": [{"event": "finding_created"}], "actions": list(actions)})
    )


class Spec:
    """One execution of one runbook; each `when` is one message, a second after the one before."""

    def __init__(self, definition: Runbook | None, payload: dict[str, Json] | None = None) -> None:
        self.definition = definition
        self.payload = PAYLOAD if payload is None else payload
        self.history: list[Recorded] = []
        self.state = Execution(EXECUTION)
        self.now = EVENT_TIME

    def start(self, mode: str = "workflow", origin: Origin = NO_ORIGIN) -> Decision:
        """The start message."""
        return self.when(
            Start(
                execution_id=EXECUTION,
                company_id="acme",
                runbook=RunbookReference(id="r-1", name="r", version=1, sha256="d"),
                event=EventReference(source="s", id="e-1", type="finding_created", time=EVENT_TIME),
                mode=mode,
                lane=3,
                payload=Raw(msgspec.json.encode(self.payload)),
                definition=Raw(b"{}"),
                origin=origin,
            )
        )

    def succeed(
        self, activity_id: str, output: Json = None, *, attempt: int = 1, folded: Json = None
    ) -> Decision:
        """The activity's result: an output, perhaps something to fold in."""
        return self.when(
            ActivityResult(
                execution_id=EXECUTION,
                activity_id=activity_id,
                attempt=attempt,
                started_at=self.now,
                duration_ms=5.0,
                output=Raw(msgspec.json.encode(output)),
                fold=UNSET if folded is None else Raw(msgspec.json.encode(folded)),
            )
        )

    def fail(
        self,
        activity_id: str,
        code: str = "http_500",
        *,
        attempt: int = 1,
        is_retryable: bool = False,
        retry_after_seconds: float | None = None,
    ) -> Decision:
        """The activity's result: an error, which may pass or not."""
        return self.when(
            ActivityResult(
                execution_id=EXECUTION,
                activity_id=activity_id,
                attempt=attempt,
                started_at=self.now,
                duration_ms=5.0,
                error=ActionError(
                    code=code,
                    message="it failed",
                    retryable=is_retryable,
                    retry_after_seconds=retry_after_seconds,
                ),
            )
        )

    def fire(self, timer_id: str) -> Decision:
        """The timer's time has come."""
        timer = self.state.timers.get(timer_id)
        fire_at = self.now if timer is None else timer.event.fire_at
        self.now = max(self.now, fire_at)
        return self.when(TimerDue(execution_id=EXECUTION, timer_id=timer_id, fire_at=fire_at))

    def signal(
        self,
        name: str,
        signal_id: str = "s-1",
        payload: Json = None,
        company_id: str = "acme",
        key: str = "",
    ) -> Decision:
        """Somebody sends a signal to the run."""
        return self.when(
            DeliverSignal(
                execution_id=EXECUTION,
                company_id=company_id,
                signal_id=signal_id,
                name=name,
                payload=Raw(msgspec.json.encode(payload)),
                sent_by="ana",
                sent_at=self.now,
                key=key,
            )
        )

    def cancel(self, company_id: str = "acme", reason: str = "a drill") -> Decision:
        """Somebody ends the run."""
        return self.when(
            Cancel(execution_id=EXECUTION, company_id=company_id, by="ana", at=self.now, reason=reason)
        )

    def grant(self, seq: int) -> Decision:
        """The run that asked with this sequence has its slot."""
        return self.when(SlotGranted(execution_id=EXECUTION, seq=seq))

    def when(self, message: RunMessage) -> Decision:
        """Decide, keep the events, and hold the live state against the fold of the stored history."""
        self.now += timedelta(seconds=1)
        decision = decide(self.state, self.definition, message, self.now)
        if not isinstance(decision, Rejection):
            self._keep(decision)
            while self.state.is_shadow:
                self.state = self._replayed()
                if not (more := proceed(self.state, self.definition, self.now)):
                    break
                self._keep(more)
        return decision

    def _keep(self, decided: list[Recorded]) -> None:
        self.history += decided
        assert plain(self._replayed()) == plain(self.state), "replayed state differs from live state"

    def _replayed(self) -> Execution:
        stored = [Recorded(r.sequence, r.at, codec.decode(codec.encode(r.event))) for r in self.history]
        return fold(EXECUTION, stored)

    def outcome(self) -> InlineOutcome:
        """What this run, if it is an inline one that has ended, tells its double."""
        completed = {each.activity_id: each for each in self.events() if isinstance(each, ActivityCompleted)}
        assert self.state.ended is not None
        steps = [
            OutcomeStep(
                activity_id=step.id,
                action=step.action,
                action_class=step.action_class,
                status=step.status.value,
                attempts=step.attempt,
                started_at=step.started_at,
                duration_ms=step.duration_ms,
                reason=step.reason,
                input=UNSET if step.scheduled is None else step.scheduled.input,
                output=completed[step.id].output if step.id in completed else UNSET,
                fold=completed[step.id].fold if step.id in completed else UNSET,
                error=step.error,
            )
            for step in self.state.steps.values()
        ]
        return InlineOutcome(
            execution_id=EXECUTION,
            company_id="acme",
            status=end_status(self.state.ended),
            at=self.now,
            steps=tuple(steps),
        )

    def events(self) -> list[Event]:
        """All that happened."""
        return [recorded.event for recorded in self.history]

    def kinds(self) -> list[str]:
        """All that happened, as `ActivityScheduled 2`."""
        return [kind(event) for event in self.events()]


def kind(event: Event) -> str:
    """The event's name, and the activity it is about or the status it gives."""
    about = getattr(event, "activity_id", "") or getattr(event, "status", "")
    return f"{type(event).__name__} {about}".rstrip()


def plain(state: Execution) -> object:
    """The state as comparable JSON."""
    return msgspec.to_builtins(
        {
            "sequence": state.sequence,
            "context": state.context,
            "ended": None if state.ended is None else type(state.ended).__name__,
            "ended_at": state.ended_at,
            "steps": {
                name: [
                    step.status.value, step.action, step.action_class, step.sequence, step.attempt, step.reason,
                    step.output, step.error, None if step.scheduled is None else bytes(step.scheduled.input).decode(),
                ]
                for name, step in state.steps.items()
            },
            "waiting": [
                [step.id, step.timer_id, None if step.awaited is None else step.awaited.key]
                for step in state.steps.values()
            ],
            "timers": {name: [timer.event.fire_at, timer.sequence] for name, timer in state.timers.items()},
            "cancelled": state.cancelled_timers,
            "signals": {name: [each.consumed_by, each.sequence] for name, each in state.signals.items()},
            "cancel": state.cancel,
            "slot": [state.slot_asked, state.slot_step],
            "inline": None if state.inline is None else msgspec.json.encode(state.inline).decode(),
            "compared": [state.compared, state.compared_at, state.compared_sequence],
            "waits_changed": [state.waits_changed, state.waits_changed_at],
            "paused": state.paused_seconds,
        }
    )  # fmt: skip
