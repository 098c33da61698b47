"""Examples of the history events."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from outlast.contracts import messages
from outlast.history import events
from outlast.testing.contracts.example_modes import modes_history
from outlast.testing.contracts.example_waits import waiting_history
from outlast.testing.contracts.story import (
    COMPANY,
    EARLIER,
    TRACEPARENT,
    at,
    event,
    payload,
    refused,
    runbook,
    untemplated,
)


def history_examples() -> Iterator[tuple[str, events.HistoryEvent]]:
    """Each with the name of its case."""
    started = events.WorkflowStarted(
        company_id=COMPANY,
        runbook=runbook,
        event=event,
        mode="workflow",
        lane=2,
        payload=payload,
        engine_version="1",
    )
    yield "minimal", started
    yield "caused_by_a_run", msgspec.structs.replace(started, chain=(EARLIER,), traceparent=TRACEPARENT)
    scheduled = events.ActivityScheduled(
        activity_id="post",
        action="send_webhook",
        action_class="notify",
        attempt=1,
        input=Raw(b'{"url":"https://chat.example.com/hooks/7","body":{"text":"SQL injection in /tickets"}}'),
        timeout_seconds=30.0,
    )
    yield "first_attempt", scheduled
    yield "not_again_when_unknown", msgspec.structs.replace(scheduled, on_unknown="fail")
    completed = events.ActivityCompleted(activity_id="tag", attempt=1, started_at=at(0.412), duration_ms=6.25)
    yield "without_output", completed
    yield (
        "with_output_and_fold",
        msgspec.structs.replace(
            completed,
            output=Raw(b'{"tags":["paged"],"added":["paged"]}'),
            fold=Raw(b'{"finding":{"tags":["paged"]}}'),
            resolved="retried",
        ),
    )
    yield (
        "settled_by_the_interpreter",
        events.ActivityCompleted(
            activity_id="owner",
            attempt=1,
            started_at=at(0.012),
            duration_ms=0.0,
            output=Raw(b'{"owner":{"id":"T-4","name":"Checkout"}}'),
            fold=Raw(b'{"owner":{"id":"T-4","name":"Checkout"}}'),
            action="resolve_owner",
            action_class="flow",
        ),
    )
    failed = events.ActivityFailed(
        activity_id="post", attempt=1, started_at=at(0.031), duration_ms=188.5, error=refused
    )
    yield "outside", failed
    yield (
        "before_it_was_scheduled",
        events.ActivityFailed(
            activity_id="post",
            attempt=1,
            started_at=at(0.012),
            duration_ms=0.0,
            error=untemplated,
            action="send_webhook",
            action_class="notify",
        ),
    )
    yield "outcome_unknown", msgspec.structs.replace(failed, resolved="failed")
    yield (
        "when_false",
        events.ActivitySkipped(
            activity_id="tag", action="add_finding_tags", action_class="finding", reason="when_false"
        ),
    )
    yield "success", events.WorkflowCompleted(status="success")
    yield "partial", events.WorkflowCompleted(status="partial")
    yield "a_step_failed", events.WorkflowFailed()
    yield (
        "definition_unreadable",
        events.WorkflowFailed(
            error=messages.ActionError(
                code="definition_unreadable", message="this release cannot read the pinned definition"
            )
        ),
    )
    yield from waiting_history()
    yield from modes_history()
