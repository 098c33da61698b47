"""`send_email`: a mail over the operator's relay, the same one at every attempt (its Message-ID says so)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from outlast.actions import ActionOutcome, ActionType, ActivityCall, Mail

ANSWER_SECONDS = 0.5
"""Of the action's time, kept for ourselves: a mailer that ends in time knows how far it came."""
DESTINATION = "smtp"
"""All mail goes to one relay, so there is one cap for all of it."""

Recipient = Annotated[
    str, Meta(min_length=3, max_length=400, description="ana@example.org or Ana <ana@example.org>")
]
Recipients = tuple[Recipient, ...]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell what. Several recipients are a list, never one text with commas."""

    to: Annotated[Recipient | Annotated[Recipients, Meta(min_length=1, max_length=50)], Meta()]
    cc: Recipient | Annotated[Recipients, Meta(max_length=50)] = ()
    subject: Annotated[str, Meta(min_length=1, max_length=500, description="One line")]
    body: Annotated[str, Meta(min_length=1, description="Plain text")]
    html: Annotated[str, Meta(description="The same as HTML; escape what you put in")] = ""
    sender: Annotated[
        str, Meta(description="An address that the operator allows the company; the operator's own if empty")
    ] = msgspec.field(default="", name="from")


def destination(_: Config) -> str:
    """The relay, for the cap on calls to one destination."""
    return DESTINATION


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    """Send it; what the relay answers decides. Recipients that it refused beside others are told in the output."""
    seconds = (call.deadline - call.began_at).total_seconds()
    receipt = await call.mailer.send(
        Mail(
            company_id=call.company_id,
            key=call.idempotency_key,
            at=call.began_at,
            within_seconds=max(seconds - ANSWER_SECONDS, seconds / 2),
            to=_several(config.to),
            cc=_several(config.cc),
            subject=config.subject,
            text=config.body,
            html=config.html,
            sender=config.sender,
        )
    )
    return ActionOutcome(output=msgspec.to_builtins(receipt))


def _several(given: str | Recipients) -> Recipients:
    return (given,) if isinstance(given, str) else given


ACTION = ActionType(
    name="send_email",
    action_class="notify",
    summary="Send a mail",
    config=Config,
    run=run,
    is_idempotent=False,
    destination=destination,
    example={
        "to": ["{{ finding.assignees[0] }}@example.org"],
        "subject": "[{{ finding.severity | upper }}] {{ finding.title | truncate(120) }}",
        "body": "{{ finding.title }} on {{ asset.name }} needs you.",
    },
)
