"""The built-in actions, from rendered input to outcome, over a real socket."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from outlast.actions import ActionFailed, FindingOperation, HttpRequest, HttpResponse
from outlast.clock import SystemClock
from outlast.contracts.messages import EventReference, RunActivity, RunbookReference
from outlast.testing.wire_server import WireServer
from outlast_action_executor.actions.notify.answers import refuse, retry_after
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.platform import PlatformFindings
from outlast_action_executor.ports import Ran
from outlast_action_executor.registry import load_registry
from outlast_action_executor.runner import ActionRunner
from outlast_action_executor.web import Web

EXECUTION = "018bcfe5-6800-8002-a4b7-f58a9ea932a5"
TRACEPARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Findings:
    """The platform's findings, as one that remembers what it was asked."""

    def __init__(self) -> None:
        self.operations: list[FindingOperation] = []

    async def apply(self, operation: FindingOperation) -> Mapping[str, object]:
        self.operations.append(operation)
        return {"severity": "critical"}


def activity(action: str, config: object, **changes: Any) -> RunActivity:
    return RunActivity(
        **{
            "execution_id": EXECUTION,
            "activity_id": "tell",
            "attempt": 2,
            "company_id": "acme",
            "runbook": RunbookReference(id="rb", name="Tell", version=3, sha256="0" * 64),
            "event": EventReference(source="s", id="e", type="finding_created", time=NOW),
            "action": action,
            "input": msgspec.Raw(msgspec.json.encode(config)),
            "timeout_seconds": 5.0,
            "chain": ("earlier",),
            **changes,
        }
    )


Do = Callable[..., Any]


@pytest.fixture
def findings() -> Findings:
    return Findings()


@pytest.fixture
def do(web: Web, findings: Findings) -> Do:
    runner = ActionRunner(load_registry(), web, findings, SystemClock())

    async def do(action: str, config: object, resolution: Resolution | None = None, **changes: Any) -> Ran:
        asked = activity(action, config, **changes)
        return await runner.run(asked, runner.plan(asked), resolution, TRACEPARENT)

    return do


def output(ran: Ran) -> Any:
    assert ran.error is None, ran.error
    return msgspec.json.decode(ran.output)  # type: ignore[arg-type]


async def test_http_request_sends_json_and_reads_json(do: Do, server: WireServer) -> None:
    ran = await do("http_request", {"url": f"{server.url}/ok", "body": {"a": [1]}, "headers": {"X-A": "b"}})
    assert output(ran) == {"status": 200, "body": {"ok": True}}
    (request,) = server.requests
    assert request.method == "POST"
    assert json.loads(request.body) == {"a": [1]}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == f"{EXECUTION}:tell:main"
    assert request.headers["traceparent"] == TRACEPARENT
    assert request.headers["x-a"] == "b"


async def test_http_request_sends_text_as_it_is(do: Do, server: WireServer) -> None:
    ran = await do("http_request", {"url": f"{server.url}/text", "method": "PUT", "body": "grüß"})
    assert output(ran) == {"status": 201, "body": "grüß"}
    assert server.requests[0].body == "grüß".encode()


async def test_http_request_accepts_the_statuses_it_was_told(do: Do, server: WireServer) -> None:
    config = {"url": f"{server.url}/status/404", "method": "GET", "accepted_status_codes": [200, 404]}
    assert output(await do("http_request", config))["status"] == 404
    ran = await do("http_request", {**config, "url": f"{server.url}/text"})
    assert ran.error.code == "http_201"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_statuses_that_may_pass_are_retryable(do: Do, server: WireServer, status: int) -> None:
    ran = await do("http_request", {"url": f"{server.url}/status/{status}"})
    assert (ran.error.code, ran.error.retryable) == (f"http_{status}", True)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 409, 422, 451])
async def test_statuses_that_will_not_pass_are_not(do: Do, server: WireServer, status: int) -> None:
    ran = await do("http_request", {"url": f"{server.url}/status/{status}"})
    assert (ran.error.code, ran.error.retryable) == (f"http_{status}", False)


async def test_retry_after_is_told(do: Do, server: WireServer) -> None:
    ran = await do("send_webhook", {"url": f"{server.url}/status/429/17"})
    assert (ran.error.retryable, ran.error.retry_after_seconds) == (True, 17.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999", 86400.0),
        ("Mon, 05 Jan 2026 12:01:30 GMT", 90.0),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0.0),
        ("Monday, 05-Jan-26 12:00:10 GMT", 10.0),
        ("2026-01-05T12:00:10Z", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("9" * 50, None),
        ("", None),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


async def test_a_webhook_wraps_who_says_it(do: Do, server: WireServer) -> None:
    await do("send_webhook", {"url": f"{server.url}/ok", "body": {"title": "x"}})
    (request,) = server.requests
    body = json.loads(request.body)
    assert body["runbook"] == {"id": "rb", "name": "Tell", "version": 3}
    assert body["event"]["id"] == "e"
    assert body["execution"] == EXECUTION
    assert body["data"] == {"title": "x"}
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == f"{EXECUTION}:tell:main"
    assert abs(int(request.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


async def test_a_webhooks_own_headers_cannot_forge_its_id(do: Do, server: WireServer) -> None:
    await do(
        "send_webhook", {"url": f"{server.url}/ok", "headers": {"Webhook-Id": "x", "Idempotency-Key": "y"}}
    )
    headers = server.requests[0].headers
    assert headers["webhook-id"] == headers["idempotency-key"] == f"{EXECUTION}:tell:main"


async def test_an_endpoint_that_is_gone_is_never_asked_again(do: Do, server: WireServer) -> None:
    ran = await do("send_webhook", {"url": f"{server.url}/status/410"})
    assert (ran.error.code, ran.error.retryable) == ("endpoint_gone", False)


@pytest.mark.parametrize("path", ["/hang", "/drip"])
async def test_a_call_ends_at_its_time(do: Do, server: WireServer, path: str) -> None:
    ran = await do("http_request", {"url": server.url + path}, timeout_seconds=0.05)
    assert (ran.error.code, ran.error.retryable) == ("timeout", True)


async def test_a_huge_body_gives_a_bounded_output(do: Do, server: WireServer) -> None:
    ran = await do("http_request", {"url": f"{server.url}/huge"})
    assert output(ran)["truncated"] is True
    assert len(bytes(ran.output)) <= 128 * 1024  # type: ignore[arg-type]


async def test_what_was_sent_as_a_secret_is_not_in_the_error(do: Do, server: WireServer) -> None:
    config = {
        "url": f"{server.url}/echo?sig=abcdefgh12345678",
        "headers": {"Authorization": "Bearer s3cr3t-t0k3n"},
    }
    error = (await do("http_request", config)).error
    assert error.code == "http_400"
    assert "s3cr3t" not in error.message
    assert "abcdefgh" not in error.message
    assert "***" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/hook?sig=ab%2Fcd%2Bef%3D12",
        "https://x.example/hook/ab%2Fcd%2Bef%3D12-and-some-more",
        "https://x.example/hook?sig=ab/cd+ef=12&also=12345678",
    ],
)
def test_a_secret_is_not_in_the_error_however_the_server_writes_it(url: str) -> None:
    request = HttpRequest(method="POST", url=url)
    response = HttpResponse(status=400, headers={}, body=f"{unquote(url)} {url}".encode())
    message = refuse(request, response, NOW).message
    assert message.count("***") >= 2
    assert "ab/c" not in message
    assert "ab%2F" not in message


@pytest.mark.parametrize("length", [20, 100, 1_200])
def test_a_secret_that_is_cut_where_we_stop_reading_is_not_in_the_error_either(length: int) -> None:
    """What is left of the text is shorter, so that its end comes into view."""
    secret = "".join(chr(ord("a") + number % 26) for number in range(length))
    request = HttpRequest(method="POST", url="https://x.example/", headers={"X-Key": secret})
    response = HttpResponse(status=400, headers={}, body=(secret + " ").encode() * 300)
    assert "abc" not in refuse(request, response, NOW).message


async def test_a_refused_address_is_a_failure_that_says_so(do: Do) -> None:
    error = (await do("http_request", {"url": "http://169.254.169.254/latest?sig=abc"})).error
    assert (error.code, error.retryable) == ("egress_refused", False)
    assert "latest" not in error.message


@pytest.mark.parametrize(
    ("action", "config", "path"),
    [
        ("http_request", {"url": 5}, "url"),
        (
            "http_request",
            {"url": "http://x.example/", "accepted_status_codes": [99]},
            "accepted_status_codes[0]",
        ),
        ("http_request", {"url": "http://x.example/", "surprise": 1}, ""),
        ("change_finding_severity", {"finding_id": "f", "severity": "urgent"}, "severity"),
        ("add_finding_tags", {"finding_id": "f", "tags": []}, "tags"),
        ("change_finding_status", {"finding_id": "f", "status": "fixed"}, "status"),
        ("assign_finding", {"finding_id": "f"}, ""),
        ("assign_finding", {"finding_id": "f", "user_ids": [""]}, "user_ids[0]"),
        ("append_comment", {"comment": "x"}, ""),
        ("append_comment", None, ""),
    ],
)
async def test_a_config_of_the_wrong_shape_is_refused_with_its_path(
    do: Do, action: str, config: object, path: str
) -> None:
    error = (await do(action, config)).error
    assert (error.code, error.retryable, error.path) == ("invalid_config", False, path)


@pytest.mark.parametrize("action", ["launch_missiles", "when", "resolve_owner"])
async def test_an_action_that_no_executor_runs_fails(do: Do, action: str) -> None:
    assert (await do(action, {})).error.code == "unknown_action"


async def test_an_unknown_outcome_that_may_not_be_repeated_fails_without_a_call(
    do: Do, server: WireServer
) -> None:
    ran = await do("http_request", {"url": f"{server.url}/ok"}, Resolution.FAIL)
    assert (ran.error.code, ran.resolved) == ("outcome_unknown", "failed")
    assert server.requests == []


async def test_an_unknown_outcome_that_is_retried_says_so(do: Do, server: WireServer) -> None:
    ran = await do("http_request", {"url": f"{server.url}/ok"}, Resolution.RETRY)
    assert (ran.error, ran.resolved) == (None, "retried")


@pytest.mark.parametrize(
    ("action", "config", "operation", "arguments"),
    [
        ("change_finding_severity", {"severity": "critical"}, "change_severity", {"severity": "critical"}),
        (
            "change_finding_status",
            {"status": "closed", "comment": "gone"},
            "change_status",
            {"status": "closed", "comment": "gone"},
        ),
        ("assign_finding", {"team_ids": ["web"]}, "assign", {"user_ids": (), "team_ids": ("web",)}),
        ("add_finding_tags", {"tags": ["a", "b"]}, "add_tags", {"tags": ("a", "b")}),
        ("append_comment", {"comment": "hello"}, "append_comment", {"comment": "hello"}),
    ],
)
async def test_a_finding_action_asks_the_platform_and_folds_what_changed(
    do: Do, findings: Findings, action: str, config: dict[str, object], operation: str, arguments: object
) -> None:
    ran = await do(action, {"finding_id": "f-1", **config})
    assert output(ran) == {"finding_id": "f-1", "severity": "critical"}
    assert msgspec.json.decode(ran.fold) == {"finding": {"severity": "critical"}}
    (asked,) = findings.operations
    assert (asked.action, asked.arguments) == (operation, arguments)
    assert (asked.company_id, asked.finding_id, asked.idempotency_key) == (
        "acme",
        "f-1",
        f"{EXECUTION}:tell:main",
    )
    assert (asked.runbook_id, asked.execution_id, asked.chain) == ("rb", EXECUTION, ("earlier",))


class Platform:
    """The platform's wire, answering each operation by its finding's name."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.status = 200

    async def request(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        await asyncio.sleep(0)
        operations = json.loads(request.body)["operations"]
        results = [
            {"status": each["finding_id"], "finding": {"id": each["finding_id"]}} for each in operations
        ]
        return HttpResponse(status=self.status, headers={}, body=json.dumps({"results": results}).encode())


def operation(finding_id: str, key: str = "k") -> FindingOperation:
    return FindingOperation(
        company_id="acme",
        finding_id=finding_id,
        idempotency_key=key,
        action="add_tags",
        arguments={"tags": ["x"]},
        runbook_id="rb",
        runbook_name="Tell",
        execution_id=EXECUTION,
        chain=("earlier",),
    )


async def test_operations_that_are_there_together_go_in_one_request() -> None:
    platform = Platform()
    client = PlatformFindings("http://platform:8080/", "token", platform)
    asked = [client.apply(operation("applied", f"k{number}")) for number in range(20)]
    assert await asyncio.gather(*asked) == [{"id": "applied"}] * 20
    (request,) = platform.requests
    assert request.url == "http://platform:8080/internal/findings/actions"
    assert request.headers["authorization"] == "Bearer token"
    body = json.loads(request.body)
    assert [each["idempotency_key"] for each in body["operations"]] == [f"k{number}" for number in range(20)]
    assert body["operations"][0]["actor"] == {
        "runbook_id": "rb",
        "runbook_name": "Tell",
        "execution_id": EXECUTION,
    }
    assert body["operations"][0]["chain"] == ["earlier"]


@pytest.mark.parametrize(
    ("status", "code"), [("not_found", "not_found"), ("refused", "refused"), ("what", "refused")]
)
async def test_one_refused_operation_leaves_the_others_alone(status: str, code: str) -> None:
    client = PlatformFindings("http://platform:8080", "token", Platform())
    good, bad, repeated = await asyncio.gather(
        client.apply(operation("applied")),
        client.apply(operation(status)),
        client.apply(operation("repeated")),
        return_exceptions=True,
    )
    assert (good, repeated) == ({"id": "applied"}, {"id": "repeated"})
    assert isinstance(bad, ActionFailed)
    assert (bad.code, bad.is_retryable) == (code, False)


@pytest.mark.parametrize(("status", "is_retryable"), [(503, True), (401, False), (200, True)])
async def test_a_platform_that_fails_fails_them_all(status: int, is_retryable: bool) -> None:
    class Failing(Platform):
        async def request(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(status=status, headers={}, body=b"{}")

    client = PlatformFindings("http://platform:8080", "token", Failing())
    found = await asyncio.gather(
        *(client.apply(operation("applied")) for _ in range(3)), return_exceptions=True
    )
    assert [each.is_retryable for each in found if isinstance(each, ActionFailed)] == [is_retryable] * 3
