"""One call of an action: what it is given, what it may come to."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from outlast.actions.ports import Findings, Mailer, Outside
from outlast.contracts.messages import EventReference, RunbookReference


class ActivityCall(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an action may know and use besides its config."""

    execution_id: str
    activity_id: str
    attempt: int
    idempotency_key: str
    """The same for every attempt: send it outside, so that a repeat can be told from a second wish."""
    began_at: datetime
    deadline: datetime
    """The call is cut off at this instant."""
    company_id: str
    runbook: RunbookReference
    event: EventReference
    outside: Outside
    findings: Findings
    mailer: Mailer
    may_repeat: bool = True
    """False where the action is not idempotent and the runbook says `on_unknown: fail`."""
    chain: tuple[str, ...] = ()
    traceparent: str = ""


class ActionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an action that succeeded leaves behind."""

    output: object = None
    """JSON-able; later actions read it as `steps.<id>.output`."""
    fold: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    """Members laid into the payload for the actions that follow."""


class ActionFailed(Exception):
    """An action failed. `message` is for people and must not hold a credential.

    `is_unknown`: it may have been done all the same (the answer was lost). It is tried again, unless the action is not
    idempotent and the runbook says `on_unknown: fail`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        retry_after_seconds: float | None = None,
        is_unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_retryable = is_retryable or is_unknown
        self.retry_after_seconds = retry_after_seconds
        self.is_unknown = is_unknown
