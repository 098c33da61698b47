"""What people order (`control.commands`, partition = the runbook's lane): to the matcher, and to the finalizer.

A command is known by its id: the same again changes nothing.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Raw

from outlast.contracts.parts import Message


def _nothing() -> Raw:
    return Raw(b"{}")


class TriggerRunbook(Message, frozen=True, kw_only=True, tag="trigger_runbook.v1"):
    """Run this runbook now, whatever its rules say. Its guardrails hold."""

    command_id: str
    """Becomes the id of the event of type `manual` that the run is recorded with."""
    company_id: str
    runbook_id: str
    by: str
    at: datetime
    lane: int
    finding_id: str = ""
    asset_id: str = ""
    """Looked up and laid into the payload, as for an event that names them."""
    data: Raw = msgspec.field(default_factory=_nothing)
    """A JSON object: `event.data`."""


class RunSuppressed(Message, frozen=True, kw_only=True, tag="run_suppressed.v1"):
    """Run firings that an open breaker held back: each as a new execution that names the old one."""

    command_id: str
    company_id: str
    runbook_id: str
    by: str
    at: datetime
    lane: int
    executions: tuple[str, ...] = ()
    """Empty: all of the runbook that were suppressed, and neither run nor let go since."""
    reason: str = ""


class LetGoSuppressed(Message, frozen=True, kw_only=True, tag="let_go_suppressed.v1"):
    """Firings that an open breaker held back stay held back: no later order for all of them runs these."""

    command_id: str
    company_id: str
    runbook_id: str
    by: str
    at: datetime
    lane: int
    reason: str = ""


class CancelExecution(Message, frozen=True, kw_only=True, tag="cancel_execution.v1"):
    """End this execution: at once while it is queued, else between two steps."""

    command_id: str
    company_id: str
    execution_id: str
    by: str
    at: datetime
    lane: int
    reason: str = ""


class ResetBreaker(Message, frozen=True, kw_only=True, tag="reset_breaker.v1"):
    """Close a runbook's breaker: its count begins anew, and outcomes of before do not count."""

    command_id: str
    company_id: str
    runbook_id: str
    by: str
    at: datetime
    lane: int
    reason: str = ""


ControlMessage: TypeAlias = TriggerRunbook | RunSuppressed | LetGoSuppressed | CancelExecution | ResetBreaker
