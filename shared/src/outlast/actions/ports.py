"""What an action may reach: the web behind a guard, mail, the platform's findings. The executor gives them all."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the outside."""

    method: str
    url: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    body: bytes = b""
    follow_redirects: bool = False
    """At most a few hops, each of them guarded; credentials do not travel to another origin."""
    may_repeat: bool = True
    """False: it goes on a connection of its own, and never twice, not even where a kept one was just being closed."""


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `body` is cut at a limit, and `is_truncated` says so."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of repeated ones the last."""
    body: bytes
    is_truncated: bool = False
    url: str = ""
    """Where it came from, after redirects."""


class Outside(Protocol):
    """Guarded requests: no private address, no proxy of the environment, size and time capped."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """The response, whatever its status. ActionFailed when there is none, or the guard says no."""
        ...


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail to be sent. Its Message-ID is made of the key, so that every attempt sends the same one."""

    company_id: str
    key: str
    at: datetime
    within_seconds: float
    """The relay has to have answered by then."""
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str
    text: str
    html: str = ""
    sender: str = ""
    """Where it comes from, if the operator allows the company this address; "" for the operator's own."""


class MailRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient that the relay did not take."""

    address: str
    code: int
    reply: str


class MailReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The relay has the mail, for those accepted; at least one is."""

    message_id: str
    accepted: tuple[str, ...]
    refused: tuple[MailRefusal, ...] = ()
    reply: str = ""


class Mailer(Protocol):
    """Sends mail over the operator's relay."""

    async def send(self, mail: Mail) -> MailReceipt:
        """ActionFailed: `invalid_mail`, `mail_not_configured`, what the relay said, or it is away.

        `is_unknown` where the connection ended between the mail and its answer.
        """
        ...


class FindingOperation(msgspec.Struct, frozen=True, kw_only=True):
    """A change to one finding, applied once per idempotency key."""

    company_id: str
    finding_id: str
    idempotency_key: str
    action: str
    """change_severity | change_status | add_tags | assign | append_comment"""
    arguments: Mapping[str, object]
    runbook_id: str
    runbook_name: str
    execution_id: str
    chain: tuple[str, ...] = ()
    traceparent: str = ""


class Findings(Protocol):
    """The platform's findings."""

    async def apply(self, operation: FindingOperation) -> Mapping[str, object]:
        """The finding's fields afterwards. ActionFailed: `not_found`, `refused`, or the platform is away."""
        ...
