"""Examples of what holds a firing back, what people order, and what the other modes say."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from outlast.contracts import control, guarding, messages, parts
from outlast.testing.contracts.story import (
    COMPANY,
    DEFINITION,
    EARLIER,
    EXECUTION,
    RUNBOOK,
    TRACEPARENT,
    at,
    event,
    payload,
    refused,
    runbook,
)

ORIGIN = parts.Origin(generation=2, is_slotted=True, releases_slot=True)
INPUT = Raw(b'{"url":"https://chat.example.com/hooks/7","body":{"text":"SQL injection in /tickets"}}')


def guarded_messages() -> Iterator[tuple[str, parts.Message]]:
    """Each with the name of its case."""
    yield from _gate_messages()
    yield from _commands()
    yield from _inbox_messages()
    yield from _lifecycle_messages()
    breaker = messages.Breaker(
        company_id=COMPANY,
        runbook_id=RUNBOOK,
        generation=0,
        is_open=True,
        failures=10,
        tripped_at=at(0.45),
        revision=6,
    )
    yield "tripped", breaker
    yield (
        "reset",
        msgspec.structs.replace(
            breaker, generation=1, is_open=False, failures=0, tripped_at=None, revision=7
        ),
    )


def _gate_messages() -> Iterator[tuple[str, parts.Message]]:
    windows = (
        guarding.Window(key="w0:F-1042", limit=1, seconds=300.0),
        guarding.Window(key="w1:", limit=7, seconds=86_400.0),
    )
    ask = guarding.Ask(id=EXECUTION, at=at(0), windows=windows, slot=guarding.Slot(key="A-17"))
    request = guarding.GateRequest(company_id=COMPANY, runbook_id=RUNBOOK, lane=2)
    yield "asks", msgspec.structs.replace(request, asks=(ask,))
    yield "releases", msgspec.structs.replace(request, releases=(guarding.Release(id=EARLIER, key="A-17"),))
    yield (
        "resumes",
        msgspec.structs.replace(
            request,
            asks=(guarding.Ask(id=EXECUTION, at=at(0), slot=guarding.Slot(key="A-17"), is_resuming=True),),
        ),
    )
    yield (
        "verdicts",
        guarding.GateDecision(
            company_id=COMPANY,
            runbook_id=RUNBOOK,
            lane=2,
            verdicts=(
                guarding.Verdict(id=EARLIER, verdict="admitted"),
                guarding.Verdict(id=EXECUTION, verdict="skipped", reason="throttled", detail="1 in 300 s"),
            ),
        ),
    )


def _commands() -> Iterator[tuple[str, parts.Message]]:
    yield (
        "about_a_finding",
        control.TriggerRunbook(
            command_id="cmd-1",
            company_id=COMPANY,
            runbook_id=RUNBOOK,
            by="ana",
            at=at(0),
            lane=2,
            finding_id="F-1042",
            data=Raw(b'{"reason":"drill"}'),
        ),
    )
    yield (
        "all",
        control.RunSuppressed(
            command_id="cmd-2",
            company_id=COMPANY,
            runbook_id=RUNBOOK,
            by="ana",
            at=at(60),
            lane=2,
            reason="the webhook is back",
        ),
    )
    yield (
        "after_a_reset",
        control.LetGoSuppressed(
            command_id="cmd-5",
            company_id=COMPANY,
            runbook_id=RUNBOOK,
            by="ana",
            at=at(60),
            lane=2,
            reason="handled by hand",
        ),
    )
    yield (
        "by_hand",
        control.CancelExecution(
            command_id="cmd-3",
            company_id=COMPANY,
            execution_id=EXECUTION,
            by="ana",
            at=at(60),
            lane=2,
            reason="false positive",
        ),
    )
    yield (
        "by_hand",
        control.ResetBreaker(
            command_id="cmd-4",
            company_id=COMPANY,
            runbook_id=RUNBOOK,
            by="ana",
            at=at(60),
            lane=2,
            reason="the webhook is back",
        ),
    )


def _inbox_messages() -> Iterator[tuple[str, parts.Message]]:
    yield (
        "triggered_by_hand",
        messages.Start(
            execution_id=EXECUTION,
            company_id=COMPANY,
            runbook=runbook,
            event=event,
            mode="inline",
            lane=2,
            payload=payload,
            definition=Raw(DEFINITION),
            traceparent=TRACEPARENT,
            origin=parts.Origin(started_by="ana", is_degraded=True, instead_of=EARLIER),
        ),
    )
    yield (
        "by_hand",
        messages.Cancel(
            execution_id=EXECUTION, company_id=COMPANY, by="ana", at=at(60), reason="false positive"
        ),
    )
    yield "granted", messages.SlotGranted(execution_id=EXECUTION, seq=9)
    yield (
        "two_steps",
        messages.InlineOutcome(
            execution_id=EXECUTION,
            company_id=COMPANY,
            status="partial",
            at=at(0.45),
            steps=(
                messages.OutcomeStep(
                    activity_id="post",
                    action="send_webhook",
                    action_class="notify",
                    status="failed",
                    attempts=3,
                    started_at=at(0.031),
                    duration_ms=188.5,
                    input=INPUT,
                    error=refused,
                ),
                messages.OutcomeStep(
                    activity_id="pause",
                    action="sleep",
                    action_class="flow",
                    status="skipped",
                    reason="inline",
                ),
                messages.OutcomeStep(
                    activity_id="tag",
                    action="add_finding_tags",
                    action_class="finding",
                    status="success",
                    started_at=at(0.412),
                    duration_ms=6.25,
                    input=Raw(b'{"tags":["paged"]}'),
                    output=Raw(b'{"tags":["paged"],"added":["paged"]}'),
                    fold=Raw(b'{"finding":{"tags":["paged"]}}'),
                ),
            ),
        ),
    )


def _lifecycle_messages() -> Iterator[tuple[str, parts.Message]]:
    queued = messages.Queued(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=0,
        seq=2,
        at=at(0.01),
        reason="slot_taken",
        payload=payload,
        origin=ORIGIN,
    )
    yield "behind_another", queued
    yield "again", msgspec.structs.replace(queued, payload=msgspec.UNSET)
    withheld = messages.Withheld(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=0,
        seq=2,
        at=at(0.01),
        status="skipped",
        reason="throttled",
        detail="1 in 300 s",
        payload=payload,
    )
    yield "throttled", withheld
    yield (
        "loop",
        msgspec.structs.replace(withheld, reason="loop", detail="runs twice in its chain", chain=(EARLIER,)),
    )
    yield (
        "cancelled_in_the_queue",
        msgspec.structs.replace(
            withheld, status="cancelled", reason="cancelled", seq=3, by="ana", detail="false positive"
        ),
    )
    yield (
        "asks_for_its_slot",
        messages.Resuming(
            execution_id=EXECUTION,
            company_id=COMPANY,
            runbook=runbook,
            event=event,
            mode="workflow",
            lane=2,
            rank=1,
            seq=9,
            at=at(90),
            started_at=at(0.012),
            origin=ORIGIN,
        ),
    )
    yield (
        "cancelled",
        messages.Finished(
            execution_id=EXECUTION,
            company_id=COMPANY,
            runbook=runbook,
            event=event,
            mode="workflow",
            lane=2,
            rank=1,
            seq=6,
            at=at(61),
            started_at=at(0.012),
            status="cancelled",
            steps=(),
            origin=ORIGIN,
            reason="false positive",
            by="ana",
        ),
    )
    compared = messages.Compared(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        lane=2,
        at=at(0.5),
        is_agreed=True,
        steps_compared=2,
        expected=("pause",),
    )
    yield "agrees", compared
    yield (
        "differs",
        msgspec.structs.replace(
            compared,
            is_agreed=False,
            differences=(
                messages.Difference(
                    activity_id="post",
                    what="input",
                    inline='{"text":"A"}',
                    shadow='{"text":"a"}',
                    after_wait=True,
                ),
            ),
        ),
    )
