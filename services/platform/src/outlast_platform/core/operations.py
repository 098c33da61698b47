"""What runbooks do to findings: an operation with an idempotency key, and the answer that is kept under it."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from outlast.errors import ContractError
from outlast_platform.core.findings import (
    Change,
    Finding,
    add_tags,
    append_comment,
    assign,
    change_severity,
    change_status,
)


class RunbookActor(msgspec.Struct, frozen=True, kw_only=True):
    """The runbook in whose name a finding is changed."""

    runbook_id: str
    runbook_name: str = ""
    execution_id: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One change that a runbook wants. The same key means: the same operation, sent again."""

    company_id: str
    finding_id: str
    idempotency_key: str
    action: str
    """change_severity | change_status | add_tags | assign | append_comment"""
    arguments: dict[str, object]
    actor: RunbookActor
    chain: tuple[str, ...] = ()
    """Executions whose actions caused this, oldest first."""

    def whole_chain(self) -> tuple[str, ...]:
        """The chain with the actor's own execution at its end."""
        own = self.actor.execution_id
        return self.chain if not own or own in self.chain else (*self.chain, own)


class ChangedState(msgspec.Struct, frozen=True, kw_only=True):
    """A finding right after an operation."""

    id: str
    asset_id: str
    severity: str
    status: str
    tags: tuple[str, ...]
    is_changed: bool
    """False where the finding was already as the operation wants it."""
    assignees: tuple[str, ...] | UnsetType = UNSET
    """Responsible users; not in answers that an earlier release recorded."""
    teams: tuple[str, ...] | UnsetType = UNSET
    """Responsible teams, likewise."""


class OperationResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer. `repeated`: applied before under this key, and this is what was answered then."""

    status: Literal["applied", "repeated", "not_found", "refused"]
    finding: ChangedState | None = None
    message: str = ""


class _Severity(msgspec.Struct, frozen=True):
    severity: str


class _Status(msgspec.Struct, frozen=True):
    status: str
    comment: str = ""


class _Tags(msgspec.Struct, frozen=True):
    tags: tuple[str, ...]


class _Assignment(msgspec.Struct, frozen=True):
    user_ids: tuple[str, ...] = ()
    team_ids: tuple[str, ...] = ()


class _Comment(msgspec.Struct, frozen=True):
    comment: str


_ACTIONS = ("change_severity", "change_status", "add_tags", "assign", "append_comment")


def apply(finding: Finding, operation: Operation) -> Change:
    """The change that the operation makes, or ContractError with the path: `action`, or into `arguments`."""
    if operation.action not in _ACTIONS:
        raise ContractError(f"expected one of {', '.join(_ACTIONS)}, got {operation.action!r}", "action")
    try:
        return _apply(finding, operation)
    except msgspec.ValidationError as fault:
        text, _, path = str(fault).partition(" - at `$.")
        raise ContractError(text, f"arguments.{path.rstrip('`')}" if path else "arguments") from fault
    except ContractError as fault:
        raise ContractError(fault.message, f"arguments.{fault.path}") from fault


def _apply(finding: Finding, operation: Operation) -> Change:
    arguments = operation.arguments
    author = operation.actor.runbook_name or operation.actor.runbook_id
    if operation.action == "change_severity":
        return change_severity(finding, msgspec.convert(arguments, _Severity).severity)
    if operation.action == "change_status":
        wanted = msgspec.convert(arguments, _Status)
        return change_status(finding, wanted.status, wanted.comment, author)
    if operation.action == "add_tags":
        return add_tags(finding, msgspec.convert(arguments, _Tags).tags)
    if operation.action == "assign":
        assignment = msgspec.convert(arguments, _Assignment)
        return assign(finding, assignment.user_ids, assignment.team_ids)
    return append_comment(finding, msgspec.convert(arguments, _Comment).comment, author)


def state_after(change: Change) -> ChangedState:
    """What is answered, and kept under the key."""
    finding = change.finding
    return ChangedState(
        id=finding.id,
        asset_id=finding.asset_id,
        severity=finding.severity,
        status=finding.status,
        tags=finding.tags,
        is_changed=bool(change.entries),
        assignees=finding.assignees,
        teams=finding.teams,
    )
