"""`send_webhook`: a JSON POST that says which run of which runbook caused it (Standard Webhooks, unsigned)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outlast.actions import ActionOutcome, ActionType, ActivityCall, HttpRequest
from outlast.contracts.messages import EventReference
from outlast_action_executor.actions.notify.answers import is_accepted, output_of, refuse
from outlast_action_executor.actions.notify.http_request import destination, marked


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell, and what to say besides who we are."""

    url: Annotated[
        str, Meta(min_length=8, description="http or https; public, unless the operator allows it")
    ]
    headers: dict[str, str] = {}
    body: Annotated[Any, Meta(description="Any JSON; stands under `data`")] = None


class Runbook(msgspec.Struct, frozen=True, kw_only=True):
    """Which runbook says this."""

    id: str
    name: str
    version: int


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the POST."""

    runbook: Runbook
    event: EventReference
    execution: str
    data: object


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    """POST it; `webhook-id` is the same for every attempt, so the receiver can tell a repeat."""
    runbook = Runbook(id=call.runbook.id, name=call.runbook.name, version=call.runbook.version)
    envelope = Envelope(runbook=runbook, event=call.event, execution=call.execution_id, data=config.body)
    headers = {name.lower(): value for name, value in config.headers.items()}
    headers |= marked(call)
    headers["content-type"] = "application/json"
    headers["webhook-id"] = call.idempotency_key
    headers["webhook-timestamp"] = str(int(call.began_at.timestamp()))
    request = HttpRequest(method="POST", url=config.url, headers=headers, body=msgspec.json.encode(envelope))
    response = await call.outside.request(request)
    if not is_accepted(response.status, ()):
        raise refuse(request, response, call.began_at)
    return ActionOutcome(output=output_of(response))


ACTION = ActionType(
    name="send_webhook",
    action_class="notify",
    summary="POST a JSON message to a webhook",
    config=Config,
    run=run,
    is_idempotent=True,
    destination=destination,
    example={"url": "https://example.com/hook", "body": {"title": "{{ finding.title }}"}},
)
