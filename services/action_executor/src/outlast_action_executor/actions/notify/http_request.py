"""`http_request`: any request to any public endpoint."""

from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from outlast.actions import ActionOutcome, ActionType, ActivityCall, HttpRequest
from outlast_action_executor.actions.notify.answers import is_accepted, output_of, refuse
from outlast_action_executor.guard import EgressRefused, take_apart
from outlast_action_executor.web import METHODS

Status = Annotated[int, Meta(ge=100, le=599)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to send where. A body that is text goes as it is, anything else as JSON."""

    url: Annotated[
        str, Meta(min_length=8, description="http or https; public, unless the operator allows it")
    ]
    method: Annotated[str, Meta(extra_json_schema={"enum": list(METHODS)})] = "POST"
    headers: dict[str, str] = {}
    body: Any = None
    accepted_status_codes: Annotated[tuple[Status, ...], Meta(description="200 to 299 if empty")] = ()
    follow_redirects: bool = False


class Addressed(Protocol):
    """A config that has a URL."""

    @property
    def url(self) -> str:
        """Where its request goes."""
        ...


def destination(config: Addressed) -> str | None:
    """Host and port of the URL, for the cap on calls to one destination."""
    try:
        target = take_apart(config.url)
    except EgressRefused:
        return None
    return f"{target.host}:{target.port}"


def marked(call: ActivityCall) -> dict[str, str]:
    """The headers by which the other side tells a repeat, and joins the trace."""
    headers = {"idempotency-key": call.idempotency_key}
    if call.traceparent:
        headers["traceparent"] = call.traceparent
    return headers


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    """Send it; the answer's status decides."""
    headers = marked(call)
    body = b""
    if isinstance(config.body, str):
        body = config.body.encode()
        headers["content-type"] = "text/plain; charset=utf-8"
    elif config.body is not None:
        body = msgspec.json.encode(config.body)
        headers["content-type"] = "application/json"
    headers.update({name.lower(): value for name, value in config.headers.items()})
    request = HttpRequest(
        method=config.method.upper(),
        url=config.url,
        headers=headers,
        body=body,
        follow_redirects=config.follow_redirects,
        may_repeat=call.may_repeat,
    )
    response = await call.outside.request(request)
    if not is_accepted(response.status, config.accepted_status_codes):
        raise refuse(request, response, call.began_at)
    return ActionOutcome(output=output_of(response))


ACTION = ActionType(
    name="http_request",
    action_class="notify",
    summary="Send an HTTP request",
    config=Config,
    run=run,
    is_idempotent=False,
    destination=destination,
    example={
        "method": "POST",
        "url": "https://example.com/hook",
        "body": {"severity": "{{ finding.severity }}"},
    },
)
