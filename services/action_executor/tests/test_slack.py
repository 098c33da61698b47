"""Messages to Slack, over a socket that answers as Slack does on good days and bad ones."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from outlast.clock import SystemClock
from outlast.contracts.messages import EventReference, RunActivity, RunbookReference
from outlast.testing.slack_server import SlackServer
from outlast_action_executor.platform import PlatformFindings
from outlast_action_executor.ports import Ran
from outlast_action_executor.registry import load_registry
from outlast_action_executor.runner import ActionRunner
from outlast_action_executor.web import Web

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECRETS = ("s3cr3tOfTheWebhook", "B0WEBHOOK", "T0OUTLAST")


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    server = SlackServer()
    await server.start()
    yield server
    await server.stop()


async def post(web: Web, config: dict[str, Any], **changes: Any) -> Ran:
    """The action as the executor runs it. Whatever comes of it, the webhook's credential is not told."""
    asked = RunActivity(
        **{
            "execution_id": "018bcfe5-6800-8002-a4b7-f58a9ea932a5",
            "activity_id": "tell",
            "attempt": 1,
            "company_id": "acme",
            "runbook": RunbookReference(id="rb", name="Tell", version=3, sha256="0" * 64),
            "event": EventReference(source="s", id="e", type="finding_created", time=NOW),
            "action": "send_slack_message",
            "input": msgspec.Raw(msgspec.json.encode(config)),
            "timeout_seconds": 5.0,
            **changes,
        }
    )
    runner = ActionRunner(
        load_registry(), web, PlatformFindings("http://127.0.0.1:9", "", web), SystemClock()
    )
    ran = await runner.run(asked, runner.plan(asked), None, "")
    assert not any(secret in str(ran) for secret in SECRETS)
    return ran


def said(ran: Ran) -> tuple[str, bool]:
    assert ran.error is not None, ran.output
    return ran.error.code, ran.error.retryable


async def test_a_message_is_posted_and_nothing_in_it_is_a_link_or_a_mention(
    web: Web, slack: SlackServer
) -> None:
    ran = await post(web, {"url": slack.webhook, "text": "*High* <!channel> a && b"})
    assert ran.error is None
    assert msgspec.json.decode(ran.output) == {"status": 200}  # type: ignore[arg-type]
    assert slack.posted == [{"text": "*High* &lt;!channel&gt; a &amp;&amp; b"}]
    assert slack.requests[0].headers["content-type"].startswith("application/json")


async def test_blocks_and_text_that_is_written_as_mrkdwn_go_as_they_are(web: Web, slack: SlackServer) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "<https://x.example|here>"}}]
    config = {"url": slack.webhook, "text": "<https://x.example|here>", "escape": False, "blocks": blocks}
    assert (await post(web, config)).error is None
    assert slack.posted == [{"text": "<https://x.example|here>", "blocks": blocks}]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("400 Bad Request", "invalid_payload"), ("slack_invalid_payload", False)),
        (("403 Forbidden", "action_prohibited"), ("slack_action_prohibited", False)),
        (("404 Not Found", "channel_not_found"), ("slack_channel_not_found", False)),
        (("404 Not Found", "no_service"), ("slack_no_service", False)),
        (("410 Gone", "channel_is_archived"), ("slack_channel_is_archived", False)),
        (("302 Found", "", "Location: http://169.254.169.254/"), ("http_302", False)),
        (("400 Bad Request", "you sent /services/T0OUTLAST/B0WEBHOOK"), ("http_400", False)),
        (("404 Not Found", "s3cr3tOfTheWebhook12345678"), ("http_404", False)),
        (("500 Server Error", "rollup_error"), ("slack_rollup_error", True)),
        (("503 Service Unavailable", "<html>"), ("http_503", True)),
        (("200 OK", '{"ok":false,"error":"channel_not_found"}'), ("slack_channel_not_found", False)),
        (("200 OK", '{"ok":false,"error":"ratelimited"}'), ("slack_ratelimited", True)),
        (("200 OK", '{"ok":false,"error":"B0WEBHOOK is unknown"}'), ("slack_refused", False)),
        (("200 OK", "<!doctype html><title>Sign in</title>"), ("not_slack", False)),
    ],
)
async def test_what_slack_answers_decides_whether_it_is_tried_again(
    web: Web, slack: SlackServer, answer: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    for on_unknown in ("retry", "fail"):
        slack.answers.append(answer)
        assert said(await post(web, {"url": slack.webhook, "text": "x"}, on_unknown=on_unknown)) == expected


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("0", 1.0), ("soon", 1.0)])
async def test_a_full_channel_is_given_the_time_it_asks_for(
    web: Web, slack: SlackServer, header: str, seconds: float
) -> None:
    slack.answers.append(("429 Too Many Requests", "rate_limited", f"Retry-After: {header}"))
    ran = await post(web, {"url": slack.webhook, "text": "x"})
    assert said(ran) == ("slack_rate_limited", True)
    assert ran.error is not None
    assert ran.error.retry_after_seconds == seconds
    assert slack.posted == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (("hang",), "timeout"),
        (("drip",), "timeout"),
        (("reset",), "connection_failed"),
        (("drop",), "connection_failed"),
        (("200 OK", '{"ok":false,"error":"fatal_error"}'), "slack_fatal_error"),
    ],
)
async def test_a_message_that_may_have_been_posted_is_posted_again_only_where_the_runbook_says_so(
    web: Web, slack: SlackServer, answer: tuple[str, ...], code: str
) -> None:
    config = {"url": slack.webhook, "text": "x"}
    slack.answers += [answer, answer]
    assert said(await post(web, config, timeout_seconds=0.2)) == (code, True)
    ran = await post(web, config, timeout_seconds=0.2, on_unknown="fail")
    assert said(ran) == ("outcome_unknown", False)
    assert ran.resolved == "failed"
    assert len(slack.posted) == 2


async def test_a_kept_connection_that_ends_does_not_post_a_message_twice(
    web: Web, slack: SlackServer
) -> None:
    config = {"url": slack.webhook, "text": "x"}
    assert (await post(web, config)).error is None
    slack.answers.append(("drop",))
    assert said(await post(web, config, on_unknown="fail")) == ("outcome_unknown", False)
    assert (len(slack.posted), slack.connections) == (2, 2)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"text": "x"}, "invalid_config"),
        ({"url": "http://127.0.0.1/services/T0OUTLAST/B0WEBHOOK/s3cr3tOfTheWebhook"}, "invalid_config"),
        ({"url": 5, "text": "x"}, "invalid_config"),
        ({"url": "ftp://127.0.0.1/services/T0OUTLAST/B0WEBHOOK", "text": "x"}, "egress_refused"),
        ({"url": "https://10.0.0.1/services/T0OUTLAST/B0WEBHOOK", "text": "x"}, "egress_refused"),
        ({"url": "https://u:B0WEBHOOK@hooks.slack.example/", "text": "x"}, "egress_refused"),
        ({"url": "https://hooks slack.example/B0WEBHOOK", "text": "x"}, "egress_refused"),
        ({"url": "https://hooks.slack.example%2FB0WEBHOOK%2Fx/", "text": "x"}, "egress_refused"),
    ],
)
async def test_what_cannot_be_sent_fails_without_naming_the_webhook(
    web: Web, config: dict[str, Any], code: str
) -> None:
    assert said(await post(web, config)) == (code, False)


async def test_a_webhook_that_cannot_be_reached_is_not_named(web: Web, slack: SlackServer) -> None:
    await slack.stop()
    assert said(await post(web, {"url": slack.webhook, "text": "x"}, on_unknown="fail")) == (
        "connection_failed",
        True,
    )


async def test_a_credential_in_the_path_of_any_webhook_is_not_in_the_error(
    web: Web, slack: SlackServer
) -> None:
    """The other actions repeat the beginning of what the other side said."""
    slack.answers.append(("400 Bad Request", "no such hook: s3cr3tOfTheWebhook12345678"))
    ran = await post(web, {"url": slack.webhook, "body": {"text": "x"}}, action="http_request")
    assert said(ran) == ("http_400", False)
    assert "no such hook: ***" in str(ran.error)


def test_the_cap_is_the_hosts() -> None:
    registered = load_registry().get("send_slack_message")
    assert registered is not None
    assert registered.type.destination is not None
    config = registered.decoder.decode(b'{"url":"https://hooks.slack.com/services/T/B/x","text":"x"}')
    assert registered.type.destination(config) == "hooks.slack.com:443"
