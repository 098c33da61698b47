"""The changes to a finding; the platform applies each once per idempotency key."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from outlast.actions import ActionOutcome, ActionType, ActivityCall, FindingOperation

FindingId = Annotated[
    str,
    Meta(
        min_length=1, description="The finding to change", extra_json_schema={"default": "{{ finding.id }}"}
    ),
]
MemberId = Annotated[str, Meta(min_length=1, max_length=200)]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]


class ChangeSeverity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give the finding this severity."""

    finding_id: FindingId
    severity: Literal["info", "low", "medium", "high", "critical"]


class ChangeStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put the finding into this status."""

    finding_id: FindingId
    status: Literal["open", "assigned", "in_progress", "resolved", "closed", "accepted", "false_positive"]
    comment: Annotated[str, Meta(max_length=10_000, description="Why; stands in its status history")] = ""


class AddTags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add these tags; those that it has already are left alone."""

    finding_id: FindingId
    tags: Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=50)]


class Assign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make these users and teams responsible, beside those who are; an open finding becomes assigned."""

    finding_id: FindingId
    user_ids: Annotated[tuple[MemberId, ...], Meta(max_length=50)] = ()
    team_ids: Annotated[tuple[MemberId, ...], Meta(max_length=50)] = ()

    def __post_init__(self) -> None:
        """Refuse an assignment to nobody: a template that gave nothing is not a success."""
        if not self.user_ids and not self.team_ids:
            raise ValueError("expected at least one of user_ids and team_ids")


class AppendComment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write this into the finding's status history, in the runbook's name."""

    finding_id: FindingId
    comment: Annotated[str, Meta(min_length=1, max_length=10_000)]


async def change_severity(config: ChangeSeverity, call: ActivityCall) -> ActionOutcome:
    """Change the severity."""
    return await _apply(call, config.finding_id, "change_severity", {"severity": config.severity})


async def change_status(config: ChangeStatus, call: ActivityCall) -> ActionOutcome:
    """Change the status."""
    arguments = {"status": config.status, "comment": config.comment}
    return await _apply(call, config.finding_id, "change_status", arguments)


async def add_tags(config: AddTags, call: ActivityCall) -> ActionOutcome:
    """Add tags."""
    return await _apply(call, config.finding_id, "add_tags", {"tags": config.tags})


async def assign(config: Assign, call: ActivityCall) -> ActionOutcome:
    """Add who is responsible."""
    arguments = {"user_ids": config.user_ids, "team_ids": config.team_ids}
    return await _apply(call, config.finding_id, "assign", arguments)


async def append_comment(config: AppendComment, call: ActivityCall) -> ActionOutcome:
    """Append a comment."""
    return await _apply(call, config.finding_id, "append_comment", {"comment": config.comment})


async def _apply(
    call: ActivityCall, finding_id: str, action: str, arguments: Mapping[str, object]
) -> ActionOutcome:
    fields = await call.findings.apply(
        FindingOperation(
            company_id=call.company_id,
            finding_id=finding_id,
            idempotency_key=call.idempotency_key,
            action=action,
            arguments=arguments,
            runbook_id=call.runbook.id,
            runbook_name=call.runbook.name,
            execution_id=call.execution_id,
            chain=call.chain,
            traceparent=call.traceparent,
        )
    )
    return ActionOutcome(
        output={"finding_id": finding_id, **fields}, fold={"finding": fields} if fields else {}
    )


ACTIONS = (
    ActionType(
        name="change_finding_severity",
        action_class="finding",
        summary="Change a finding's severity",
        config=ChangeSeverity,
        run=change_severity,
        is_idempotent=True,
        undo="change_finding_severity",
        example={"finding_id": "{{ finding.id }}", "severity": "critical"},
    ),
    ActionType(
        name="change_finding_status",
        action_class="finding",
        summary="Put a finding into a status",
        config=ChangeStatus,
        run=change_status,
        is_idempotent=True,
        undo="change_finding_status",
        example={"finding_id": "{{ finding.id }}", "status": "in_progress"},
    ),
    ActionType(
        name="assign_finding",
        action_class="finding",
        summary="Make users or teams responsible for a finding",
        config=Assign,
        run=assign,
        is_idempotent=True,
        example={"finding_id": "{{ finding.id }}", "team_ids": ["{{ owner.id }}"]},
    ),
    ActionType(
        name="add_finding_tags",
        action_class="finding",
        summary="Add tags to a finding",
        config=AddTags,
        run=add_tags,
        is_idempotent=True,
        undo="remove_finding_tags",
        example={"finding_id": "{{ finding.id }}", "tags": ["internet-facing"]},
    ),
    ActionType(
        name="append_comment",
        action_class="finding",
        summary="Add a comment to a finding's status history",
        config=AppendComment,
        run=append_comment,
        is_idempotent=True,
        example={"finding_id": "{{ finding.id }}", "comment": "Seen by {{ company.name }}"},
    ),
)
