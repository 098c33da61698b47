"""What an action may reach: the web behind a guard, and the platform's findings. The executor gives both."""

from collections.abc import Mapping
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
