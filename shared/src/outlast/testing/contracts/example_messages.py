"""Examples of the messages on our own topics."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from outlast.contracts import messages
from outlast.runbooks.documents import digest
from outlast.testing.contracts.example_guards import guarded_messages
from outlast.testing.contracts.example_waits import waiting_messages
from outlast.testing.contracts.story import (
    BORN,
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


def message_examples() -> Iterator[tuple[str, messages.Message]]:
    """Each with the name of its case."""
    yield from _inbox_messages()
    yield from _activity_and_lifecycle_messages()
    yield from waiting_messages()
    yield from guarded_messages()
    yield from _compacted_messages()


def _inbox_messages() -> Iterator[tuple[str, messages.Message]]:
    start = messages.Start(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        payload=payload,
        definition=Raw(DEFINITION),
    )
    yield "minimal", start
    yield "caused_by_a_run", msgspec.structs.replace(start, chain=(EARLIER,), traceparent=TRACEPARENT)
    result = messages.ActivityResult(
        execution_id=EXECUTION, activity_id="tag", attempt=1, started_at=at(0.412), duration_ms=6.25
    )
    yield "without_output", result
    yield (
        "success",
        msgspec.structs.replace(
            result,
            output=Raw(b'{"tags":["paged"],"added":["paged"]}'),
            fold=Raw(b'{"finding":{"tags":["paged"]}}'),
        ),
    )
    yield (
        "failure",
        messages.ActivityResult(
            execution_id=EXECUTION,
            activity_id="post",
            attempt=1,
            started_at=at(0.031),
            duration_ms=188.5,
            error=refused,
        ),
    )
    yield "unknown_then_looked_up", msgspec.structs.replace(result, resolved="looked_up")
    yield "one", messages.Recorded(executions=(EXECUTION,))
    yield "batch", messages.Recorded(executions=(EARLIER, EXECUTION))
    yield "probe", messages.Probe(execution_id=EXECUTION, company_id=COMPANY, runbook_id=RUNBOOK, lane=2)


def _activity_and_lifecycle_messages() -> Iterator[tuple[str, messages.Message]]:
    run = messages.RunActivity(
        execution_id=EXECUTION,
        activity_id="post",
        attempt=1,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        action="send_webhook",
        action_class="notify",
        input=Raw(b'{"url":"https://chat.example.com/hooks/7","body":{"text":"SQL injection in /tickets"}}'),
        timeout_seconds=30.0,
    )
    yield "first_attempt", run
    yield (
        "not_again_when_unknown",
        msgspec.structs.replace(run, attempt=2, on_unknown="fail", chain=(EARLIER,)),
    )
    started = messages.Started(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=1,
        seq=1,
        at=at(0.012),
        payload=payload,
    )
    yield "minimal", started
    yield "caused_by_a_run", msgspec.structs.replace(started, chain=(EARLIER,))
    yield "without_payload", msgspec.structs.replace(started, payload=msgspec.UNSET)
    posted = messages.StepSummary(
        id="post",
        action="send_webhook",
        status="failed",
        started_at=at(0.031),
        duration_ms=188.5,
        error=refused,
    )
    tagged = messages.StepSummary(
        id="tag", action="add_finding_tags", status="success", started_at=at(0.412), duration_ms=6.25
    )
    skipped = messages.StepSummary(
        id="tag", action="add_finding_tags", status="skipped", reason="when_false", attempts=1
    )
    finished = messages.Finished(
        execution_id=EXECUTION,
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        rank=1,
        seq=6,
        at=at(0.45),
        started_at=at(0.012),
        status="partial",
        steps=(posted, tagged),
    )
    yield "partial", finished
    yield "with_payload", msgspec.structs.replace(finished, payload=payload, chain=(EARLIER,))
    yield "skipped_step", msgspec.structs.replace(finished, status="failed", steps=(posted, skipped))
    unreadable = messages.ActionError(
        code="definition_unreadable", message="this release cannot read the pinned definition"
    )
    yield (
        "failed_as_a_whole",
        msgspec.structs.replace(finished, status="failed", seq=2, steps=(), error=unreadable),
    )
    yield "unknown", messages.Unknown(execution_id=EXECUTION, company_id=COMPANY, runbook_id=RUNBOOK, lane=2)


def _compacted_messages() -> Iterator[tuple[str, messages.Message]]:
    yield "head", messages.Head(revision=41, count=12)
    definition = messages.Definition(
        company_id=COMPANY, runbook=runbook, is_active=True, revision=40, definition=Raw(DEFINITION)
    )
    yield "active", definition
    yield "deleted", msgspec.structs.replace(definition, is_active=False, is_deleted=True, revision=41)
    producer = messages.Producer(
        name="nightly", topic="platform.nightly.events", companies=(COMPANY, "globex"), revision=5
    )
    yield "two_companies", producer
    yield "revoked", msgspec.structs.replace(producer, is_revoked=True, revision=9)
    key = digest(b"an example, not a key")
    identity = messages.Identity(
        id="id-31",
        key_sha256=key,
        name="nightly scanner",
        company_id=COMPANY,
        role="service",
        scopes=("publish events",),
        revision=7,
    )
    yield "service", identity
    yield (
        "revoked_administrator",
        messages.Identity(
            id="id-1",
            key_sha256=key,
            name="operator",
            company_id="",
            role="platform_administrator",
            is_revoked=True,
            revision=8,
        ),
    )
    action = messages.CatalogueAction(
        name="add_finding_tags",
        action_class="finding",
        summary="Adds tags to a finding; those that it has already stay as they are.",
        config_schema=Raw(
            b'{"type":"object","properties":{"tags":{"type":"array","items":{"type":"string"}}}}'
        ),
        example=Raw(b'{"tags":["paged"]}'),
        is_idempotent=True,
        undo="remove_finding_tags",
    )
    yield "built_in", action
    yield (
        "third_party",
        msgspec.structs.replace(action, name="tag_in_crm", undo="", distribution="acme-actions"),
    )
    yield "up", messages.EngineStatus(instance="engine-0", state="up", at=BORN)
