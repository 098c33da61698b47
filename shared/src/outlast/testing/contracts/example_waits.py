"""Examples of what waits: messages of timers and signals, and their history events.

The story goes on with two runs that wait: one sleeps a day before it escalates, one wants an approval of the finding.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec
from msgspec import Raw

from outlast.contracts import messages
from outlast.history import events
from outlast.testing.contracts.story import COMPANY, EARLIER, EXECUTION, at, event, runbook

APPROVED, KEY, SIGNAL = "approved", "F-1042", "sig-5c1e"
ANSWER = Raw(b'{"comment":"go ahead","ticket":"SEC-7"}')
DAY_LATER = at(0.012) + timedelta(days=1)
THREE_DAYS_LATER = at(0.012) + timedelta(hours=72)
SENT, SENDER = at(3_600), "ana"


def waiting_messages() -> Iterator[tuple[str, messages.Message]]:
    """Each with the name of its case."""
    yield from _timer_messages()
    yield from _signal_messages()
    yield from _lifecycle_messages()


def _timer_messages() -> Iterator[tuple[str, messages.Message]]:
    yield "sleep", messages.StartTimer(execution_id=EXECUTION, timer_id="pause", fire_at=DAY_LATER)
    yield "retry", messages.StartTimer(execution_id=EXECUTION, timer_id="post:retry:1", fire_at=at(1.31))
    yield (
        "timeout",
        messages.StartTimer(execution_id=EXECUTION, timer_id="approval:timeout", fire_at=THREE_DAYS_LATER),
    )
    yield "timeout", messages.CancelTimer(execution_id=EXECUTION, timer_id="approval:timeout")
    yield "sleep", messages.TimerDue(execution_id=EXECUTION, timer_id="pause", fire_at=DAY_LATER)


def _signal_messages() -> Iterator[tuple[str, messages.Message]]:
    request = messages.SignalRequest(
        signal_id=SIGNAL,
        company_id=COMPANY,
        name=APPROVED,
        sent_by=SENDER,
        sent_at=SENT,
        expires_at=SENT + timedelta(hours=72),
    )
    yield "to_one_execution", msgspec.structs.replace(request, execution_id=EXECUTION, payload=ANSWER)
    yield "by_correlation", msgspec.structs.replace(request, key=KEY, payload=ANSWER)
    yield "for_runs_to_come", msgspec.structs.replace(request, key=KEY, for_future=True)
    deliver = messages.DeliverSignal(
        execution_id=EXECUTION,
        company_id=COMPANY,
        signal_id=SIGNAL,
        name=APPROVED,
        payload=ANSWER,
        sent_by=SENDER,
        sent_at=SENT,
    )
    yield "with_payload", deliver
    yield "without_payload", msgspec.structs.replace(deliver, payload=Raw(b"null"))
    yield "with_key", msgspec.structs.replace(deliver, key="finding/F-1042")
    yield (
        "by_key",
        messages.Subscribe(
            execution_id=EXECUTION,
            activity_id="approval",
            company_id=COMPANY,
            signal=APPROVED,
            key=KEY,
            started_at=at(0.012),
        ),
    )
    yield (
        "by_key",
        messages.Unsubscribe(
            execution_id=EXECUTION, activity_id="approval", company_id=COMPANY, signal=APPROVED, key=KEY
        ),
    )
    for verdict in ("consumed", "early", "late", "unknown", "rejected"):
        yield (
            verdict,
            messages.SignalVerdict(
                signal_id=SIGNAL, execution_id=EXECUTION, company_id=COMPANY, verdict=verdict
            ),
        )


def _lifecycle_messages() -> Iterator[tuple[str, messages.Message]]:
    waiting = messages.Waiting(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=1,
        seq=3,
        at=at(0.45),
        started_at=at(0.012),
        waits=(messages.Wait(activity_id="pause", kind="sleep", until=DAY_LATER),),
    )
    approval = messages.Wait(
        activity_id="approval", kind="signal", until=THREE_DAYS_LATER, signal=APPROVED, key=KEY
    )
    again = messages.Wait(activity_id="post", kind="retry", until=at(1.31), attempt=2)
    yield "sleep", waiting
    yield "signal", msgspec.structs.replace(waiting, waits=(approval,), chain=(EARLIER,))
    yield "retry", msgspec.structs.replace(waiting, waits=(again,))
    resumed = messages.Resumed(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=1,
        seq=7,
        at=SENT,
        started_at=at(0.012),
    )
    yield "minimal", resumed
    yield "caused_by_a_run", msgspec.structs.replace(resumed, chain=(EARLIER,))


def waiting_history() -> Iterator[tuple[str, events.HistoryEvent]]:
    """Each with the name of its case."""
    yield (
        "sleep",
        events.TimerStarted(
            timer_id="pause",
            activity_id="pause",
            purpose="sleep",
            fire_at=DAY_LATER,
            action="sleep",
            action_class="flow",
        ),
    )
    yield (
        "retry",
        events.TimerStarted(timer_id="post:retry:1", activity_id="post", purpose="retry", fire_at=at(1.31)),
    )
    yield (
        "timeout",
        events.TimerStarted(
            timer_id="approval:timeout",
            activity_id="approval",
            purpose="timeout",
            fire_at=THREE_DAYS_LATER,
        ),
    )
    yield "sleep", events.TimerFired(timer_id="pause")
    yield "timeout", events.TimerCancelled(timer_id="approval:timeout")
    awaited = events.SignalAwaited(
        activity_id="approval", action="await_signal", action_class="flow", signal=APPROVED
    )
    yield "by_execution", awaited
    yield "by_key_and_goes_on", msgspec.structs.replace(awaited, key=KEY, on_timeout="continue")
    received = events.SignalReceived(
        signal_id=SIGNAL, name=APPROVED, payload=ANSWER, sent_by=SENDER, sent_at=SENT
    )
    yield "with_payload", received
    yield "without_payload", msgspec.structs.replace(received, payload=Raw(b"null"))
    yield "with_key", msgspec.structs.replace(received, key="finding/F-1042")
    yield "approved", events.SignalConsumed(signal_id=SIGNAL, activity_id="approval")
    yield (
        "second_attempt",
        events.ActivityScheduled(
            activity_id="post",
            action="send_webhook",
            action_class="notify",
            attempt=2,
            input=Raw(
                b'{"url":"https://chat.example.com/hooks/7","body":{"text":"SQL injection in /tickets"}}'
            ),
            timeout_seconds=30.0,
        ),
    )
    yield (
        "ended_a_wait",
        events.ActivityCompleted(
            activity_id="approval",
            attempt=1,
            started_at=at(0.012),
            duration_ms=3_599_988.0,
            output=Raw(
                b'{"received":true,"signal":"approved","id":"sig-5c1e","by":"ana",'
                b'"at":"2026-03-14T10:26:53.589000+00:00","payload":{"comment":"go ahead","ticket":"SEC-7"}}'
            ),
        ),
    )
    yield (
        "no_signal_came",
        events.ActivityFailed(
            activity_id="approval",
            attempt=1,
            started_at=at(0.012),
            duration_ms=259_200_000.0,
            error=messages.ActionError(
                code="signal_timeout",
                message="expected the signal approved before 2026-03-17T09:26:53.601000+00:00, but none came",
            ),
        ),
    )
