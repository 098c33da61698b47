"""`send_slack_message`: a message to a Slack incoming webhook, or to what speaks as one (Mattermost does).

The webhook's URL is its credential: whoever has it can post. No error and no log repeats it, nor what the other side
says, except for the words that Slack's documentation has.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outlast.actions import ActionFailed, ActionOutcome, ActionType, ActivityCall, HttpRequest, HttpResponse
from outlast_action_executor.actions.notify.answers import RETRYABLE, is_accepted, retry_after
from outlast_action_executor.actions.notify.http_request import destination, marked

_WORD = re.compile(r"[a-z][a-z_]{2,59}")
_LATER = frozenset(("rate_limited", "ratelimited", "service_unavailable", "request_timeout"))
_UNCERTAIN = frozenset(("fatal_error", "internal_error"))
"""Slack: "it's possible some aspect of the operation succeeded before the error was raised"."""
_RETRY_SECONDS = 1.0
"""One message a second is what a channel takes."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to say; the webhook knows the channel. With blocks, the text is what notifications show."""

    url: Annotated[
        str,
        Meta(
            min_length=8,
            description="https://hooks.slack.com/services/…; whoever has it can post",
            extra_json_schema={"writeOnly": True},
        ),
    ]
    text: Annotated[str, Meta(max_length=40_000, description="Slack's mrkdwn")] = ""
    blocks: Annotated[tuple[dict[str, Any], ...], Meta(max_length=50, description="Block Kit")] = ()
    escape: Annotated[
        bool,
        Meta(
            description="Escape & < > in the text: nothing in it is a link or mentions anybody. Not in blocks"
        ),
    ] = True

    def __post_init__(self) -> None:
        """Refuse a message that says nothing."""
        if not self.text and not self.blocks:
            raise ValueError("expected a text or blocks")


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    """Post it. Slack has no keys to tell a repeat by: where the answer is lost, `on_unknown` decides."""
    message: dict[str, object] = {}
    if config.text:
        message["text"] = _escaped(config.text) if config.escape else config.text
    if config.blocks:
        message["blocks"] = config.blocks
    headers = {**marked(call), "content-type": "application/json; charset=utf-8"}
    request = HttpRequest(
        method="POST",
        url=config.url,
        headers=headers,
        body=msgspec.json.encode(message),
        may_repeat=call.may_repeat,
    )
    response = await call.outside.request(request)
    refusal = _refusal(response, call)
    if refusal is not None:
        raise refusal
    return ActionOutcome(output={"status": response.status})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _refusal(response: HttpResponse, call: ActivityCall) -> ActionFailed | None:
    """Why the message is not there; None if it is. A status of 200 alone does not say that it is."""
    status = response.status
    text = response.body[:4096].decode("utf-8", "replace").strip()
    if is_accepted(status, ()):
        return _said_no(response.body) or (_not_slack(status) if text.startswith("<") else None)
    word = text if _WORD.fullmatch(text) else ""
    code = f"slack_{word}" if word else f"http_{status}"
    message = f"Slack answered {status}{f' {word}' if word else ''}"
    if status == 429:
        pause = retry_after(response.headers.get("retry-after", ""), call.began_at)
        return ActionFailed(
            code,
            message,
            is_retryable=True,
            retry_after_seconds=_RETRY_SECONDS if pause is None else max(pause, _RETRY_SECONDS),
        )
    if status in RETRYABLE or status >= 500:
        pause = retry_after(response.headers.get("retry-after", ""), call.began_at)
        return ActionFailed(code, message, is_retryable=True, retry_after_seconds=pause)
    return ActionFailed(code, message)


def _said_no(body: bytes) -> ActionFailed | None:
    """`{"ok": false, "error": "…"}` with status 200: how Slack's other interfaces, and gateways to it, say no."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.get("ok", answer.get("success")) is not False:
        return None
    word = str(answer.get("error", ""))
    word = word if _WORD.fullmatch(word) else "refused"
    message = f"Slack answered {word}"
    if word in _UNCERTAIN:
        return ActionFailed(f"slack_{word}", message, is_unknown=True)
    return ActionFailed(f"slack_{word}", message, is_retryable=word in _LATER)


def _not_slack(status: int) -> ActionFailed:
    return ActionFailed("not_slack", f"expected a webhook's answer, got a page with status {status}")


ACTION = ActionType(
    name="send_slack_message",
    action_class="notify",
    summary="Post a message to a Slack channel",
    config=Config,
    run=run,
    is_idempotent=False,
    destination=destination,
    example={
        "url": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "text": "*{{ finding.severity | upper }}* {{ finding.title | truncate(200) }}",
    },
)
