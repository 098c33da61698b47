"""What people order by the command, and how it tells what holds runs and runbooks back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from outlast_cli.commands.runs import REASONS
from outlast_cli.diagnosis import engine_finding
from outlast_cli.main import outlast

Answer = Callable[[httpx.Request], httpx.Response]
ID = "0199f000-0000-8000-8000-000000000001"
OTHER = "0199f000-0000-8000-8000-000000000002"
RUN: dict[str, Any] = {
    "id": ID, "company": "acme", "runbook": "page", "runbook_name": "Page", "runbook_version": 2, "mode": "workflow",
    "status": "running", "started_at": None, "finished_at": None, "duration_ms": None, "steps": [],
    "event": {"source": "outlast/manual", "id": "e-1", "type": "manual", "time": "2026-01-02T03:04:05Z"},
    "error": None, "reason": "", "detail": "", "ended_by": "", "is_degraded": False, "started_by": "",
    "instead_of": None, "comparison": None, "cancel": None, "waits": [],
}  # fmt: skip
RUNBOOK: dict[str, Any] = {
    "id": "page", "name": "Page", "company": "acme", "version": 3, "is_active": False, "is_switched_on": True,
    "breaker_tripped_at": "2026-01-02T03:04:05Z", "failures": 10, "saved_at": "2026-01-02T03:04:05Z",
    "author": {"id": "i", "name": "ana"}, "source": "name: Page\n", "source_format": "yaml",
    "document": {
        "name": "Page", "requires_durable": True,
        "guardrails": {
            "throttle_seconds": 300, "throttle_key": "{{ finding.id }}",
            "throttles": [{"limit": 3, "per": "1h", "key": "{{ asset.id }}"}, {"limit": 7, "per": "1d"}],
            "concurrency_key": "{{ asset.id }}", "queue_limit": 5, "queue_age": "2h", "release_while_waiting": True,
            "chain_depth": 2, "breaker_threshold": 4,
        },
    },
}  # fmt: skip


class Server:
    """Answers by method and path, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, object]]] = {}
        self.requests: list[httpx.Request] = []

    def put(self, name: str, *bodies: object, status: int = 200) -> None:
        """The bodies of the next answers; the last one is given again."""
        self.answers[name] = [(status, body) for body in bodies]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        left = self.answers.get(f"{request.method} {request.url.path.removeprefix('/api/v1')}")
        if left is None:
            return httpx.Response(404, json={"detail": "No such.", "code": "not_found"})
        status, body = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(status, json=body)

    def sent(self) -> list[tuple[str, Any]]:
        """Path and body of every request with one."""
        return [
            (each.url.path.removeprefix("/api/v1"), json.loads(each.content))
            for each in self.requests
            if each.content
        ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.setenv("OUTLAST_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("OUTLAST_API_URL", "http://control")
    monkeypatch.setenv("OUTLAST_API_KEY", "olk_x")
    monkeypatch.setattr("time.sleep", lambda _: None)
    made, real = Server(), httpx.Client

    def client(**options: object) -> httpx.Client:
        return real(**(options | {"transport": httpx.MockTransport(made)}))  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(httpx, "Client", client)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(outlast, list(arguments))


def show(server: Server, **changes: object) -> str:
    """What `run show` tells of a run."""
    server.put(f"GET /executions/{ID}", RUN | changes)
    return " ".join(run("run", "show", ID).stdout.split())


ORDERED = {
    "event_id": "e-1", "runbook": "page", "company": "acme",
    "find": "/api/v1/executions?company=acme&runbook=page&event_id=e-1",
}  # fmt: skip


def test_a_trigger_says_how_to_find_its_run(server: Server) -> None:
    server.put("POST /runbooks/page/trigger", ORDERED, status=202)
    done = run("trigger", "page", "--finding", "F-1", "--asset", "A-1", "--data", '{"why": "drill"}')
    assert done.exit_code == 0, done.output
    assert "outlast run list --event e-1" in done.stdout
    body = {"finding_id": "F-1", "asset_id": "A-1", "data": {"why": "drill"}}
    assert server.sent() == [("/runbooks/page/trigger", body)]
    assert server.requests[0].headers["idempotency-key"]
    assert json.loads(run("trigger", "page", "--json").stdout) == ORDERED


@pytest.mark.parametrize(
    ("status", "code"), [("success", 0), ("skipped", 0), ("failed", 1), ("partial", 1), ("cancelled", 1)]
)
def test_a_trigger_that_waits_has_the_exit_status_of_its_run(server: Server, status: str, code: int) -> None:
    ended = RUN | {"status": status, "finished_at": "2026-01-02T03:04:05Z"}
    server.put("POST /runbooks/page/trigger", ORDERED, status=202)
    pages = [[], [RUN | {"status": "queued"}], [ended]]
    server.put("GET /executions", *({"items": items, "next": None} for items in pages))
    server.put(f"GET /executions/{ID}", ended)
    done = run("trigger", "page", "--wait", "--json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (code, status)
    asked = [request.url.params for request in server.requests if request.url.path.endswith("/executions")]
    assert [(each["event_id"], each["runbook"]) for each in asked] == [("e-1", "page")] * 3


def test_a_trigger_that_has_waited_long_enough_says_where_its_run_is(server: Server) -> None:
    server.put("POST /runbooks/page/trigger", ORDERED, status=202)
    server.put("GET /executions", {"items": [RUN | {"status": "queued"}], "next": None})
    done = run("trigger", "page", "--wait", "--timeout", "0s")
    assert done.exit_code == 1
    assert f"is queued: outlast run show {ID}" in done.stderr


@pytest.mark.parametrize(
    ("code", "hint"),
    [("inactive", "outlast runbook activate"), ("breaker_open", "outlast runbook reset-breaker")],
)
def test_what_is_refused_names_the_command_that_helps(server: Server, code: str, hint: str) -> None:
    server.put("POST /runbooks/page/trigger", {"detail": "No.", "code": code}, status=409)
    done = run("trigger", "page")
    assert done.exit_code == 2
    assert hint in done.stderr


@pytest.mark.parametrize(
    ("options", "suppressed"), [((), None), (("--run-suppressed",), "run"), (("--let-go",), "let_go")]
)
def test_a_reset_says_what_becomes_of_what_was_held_back(
    server: Server, options: tuple[str, ...], suppressed: str | None
) -> None:
    server.put("POST /runbooks/page/breaker/reset", {"suppressed": suppressed}, status=202)
    done = run("runbook", "reset-breaker", "page", "--reason", "it is back", *options)
    assert done.exit_code == 0, done.output
    assert "the breaker of page closes" in done.stdout
    expected = {"reason": "it is back"} | ({"suppressed": suppressed} if suppressed else {})
    assert server.sent() == [("/runbooks/page/breaker/reset", expected)]


def test_what_was_held_back_is_run_by_name_or_all(server: Server) -> None:
    server.put("POST /runbooks/page/suppressed/run", {}, status=202)
    assert run("runbook", "run-suppressed", "page", ID, "--reason", "back").exit_code == 0
    assert run("runbook", "run-suppressed", "page", "--reason", "back").exit_code == 0
    assert [body for _, body in server.sent()] == [
        {"reason": "back", "executions": [ID]},
        {"reason": "back"},
    ]


def test_a_run_is_cancelled_with_a_reason(server: Server) -> None:
    server.put(f"POST /executions/{ID}/cancel", {"execution": ID}, status=202)
    assert run("run", "cancel", ID, "--reason", "false alarm").exit_code == 0
    assert server.sent() == [(f"/executions/{ID}/cancel", {"reason": "false alarm"})]


@pytest.mark.parametrize(
    "arguments",
    [
        ("runbook", "reset-breaker", "page"),
        ("runbook", "reset-breaker", "page", "--reason", "x", "--run-suppressed", "--let-go"),
        ("runbook", "run-suppressed", "page"),
        ("run", "cancel", ID),
        ("run", "list", "--reason", "bored"),
        ("trigger", "page", "--data", "[]"),
        ("trigger", "page", "--data", "{"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_asked(server: Server, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.strip()
    assert server.requests == []


def test_runs_are_listed_by_why_they_were_held_back_and_the_table_says_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast_cli.output.WIDTH_WITHOUT_TERMINAL", 400)
    items = [
        RUN | {"steps": {}, "status": "skipped", "reason": "throttled", "detail": "1 in 300 s"},
        RUN | {"steps": {}, "status": "cancelled", "reason": "cancelled", "detail": "no", "ended_by": "ana"},
        RUN | {"steps": {}, "mode": "inline", "is_degraded": True},
        RUN | {"steps": {}, "comparison": {"is_agreed": False, "steps_compared": 1, "differences_count": 1}},
    ]
    server.put("GET /executions", {"items": items, "next": None})
    options = ("--reason", "throttled", "--degraded", "--by", "ana", "--mode", "inline", "--event", "e-1")
    shown = run("run", "list", *options).stdout
    for text in ("throttled (1 in 300 s)", "by ana: no", "degraded", "its double differs"):
        assert text in shown
    asked = server.requests[0].url.params
    names = ("reason", "is_degraded", "started_by", "mode", "event_id")
    assert [asked[name] for name in names] == ["throttled", "true", "ana", "inline", "e-1"]


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"status": "queued", "reason": "slot_taken"}, ("others hold every slot", f"run cancel {ID}")),
        ({"status": "queued", "reason": "engine_down"}, ("the engine is away",)),
        ({"status": "queued", "reason": "gate_silent"}, ("the gate has not said yet", f"run cancel {ID}")),
        ({"status": "queued"}, ("asked whether it may start",)),
        ({"status": "waiting", "reason": "slot_taken"}, ("its wait is over",)),
        (
            {"status": "skipped", "reason": "throttled", "detail": "1 in 300 s"},
            ("throttled: too soon", "(1 in 300 s)"),
        ),
        (
            {"status": "skipped", "reason": "breaker_open"},
            ("breaker was open", f"outlast runbook run-suppressed page {ID}"),
        ),
        ({"status": "skipped"}, ("every action of it was skipped",)),
        ({"status": "skipped", "reason": "brand_new"}, ("brand_new",)),
        ({"status": "cancelled", "detail": "no\x1b[31m", "ended_by": "ana"}, ("by ana: no",)),
        (
            {"cancel": {"by": "ana", "at": "2026-01-02T03:04:05Z", "reason": "no"}},
            ("ana cancelled it", "settled first"),
        ),
        ({"is_degraded": True, "mode": "inline"}, ("the engine was away",)),
        ({"started_by": "ana"}, ("triggered by ana",)),
        ({"instead_of": OTHER}, (f"instead of {OTHER}",)),
        ({"mode": "shadow"}, ("not been compared",)),
        ({"steps": [{"id": "nap", "status": "waiting", "wait": {"kind": "slot"}}]}, ("gave its own back",)),
        (
            {"steps": [{"id": "nap", "status": "skipped", "reason": "inline"}]},
            ("an inline run does not wait",),
        ),
    ],
)
def test_a_run_is_explained_in_words(
    server: Server, changes: dict[str, object], texts: tuple[str, ...]
) -> None:
    shown = show(server, **changes)
    for text in texts:
        assert text in shown
    assert "\x1b[31m" not in shown


def test_a_shadowed_run_is_told_with_each_difference(server: Server) -> None:
    difference = {"activity_id": "post", "what": "input", "inline": "A", "shadow": "a", "after_wait": True}
    compared = {
        "is_agreed": False, "steps_compared": 2, "differences_count": 2, "expected": ["nap"],
        "differences": [difference, difference | {"activity_id": "", "what": "missing", "after_wait": False}],
    }  # fmt: skip
    shown = show(server, mode="shadow", status="success", comparison=compared)
    for text in (
        "differs in 2 places (2 steps compared)", "post, input: inline A, durable a; a wait that inline skips",
        "the run: only the inline run had it", "these differ: nap",
    ):  # fmt: skip
        assert text in shown
    agreed = {"is_agreed": True, "steps_compared": 2, "differences_count": 0}
    assert "agrees with it" in show(server, mode="shadow", status="success", comparison=agreed)


def test_a_runbook_shows_its_breaker_and_what_holds_it_back(server: Server) -> None:
    server.put("GET /runbooks/page", RUNBOOK)
    shown = " ".join(run("runbook", "show", "page").stdout.split())
    for text in (
        "tripped", "open since 2026-01-02T03:04:05Z, after 10 failed runs", "outlast runbook reset-breaker page",
        "1 firing in 300 s for each {{ finding.id }}", "3 firings in 1h for each {{ asset.id }}", "7 firings in 1d",
        "1 run at a time for each {{ asset.id }}; others wait in a queue (at most 5 of them, at most 2h)",
        "gives its slot back", "ends at 2", "opens after 4 failed runs", "the engine is away its runs are held",
    ):  # fmt: skip
        assert text in shown
    closed = RUNBOOK | {"is_active": True, "breaker_tripped_at": None, "failures": 1, "document": {}}
    server.put("GET /runbooks/page", closed)
    assert "closed; 1 failed run in a row" in run("runbook", "show", "page").stdout
    server.put("GET /runbooks", {"items": [RUNBOOK, closed], "next": None})
    listed = run("runbook", "list").stdout
    assert "tripped" in listed
    assert "active" in listed


def test_a_runbook_that_was_saved_as_json_is_exported_as_yaml_that_can_be_applied(server: Server) -> None:
    document = {
        "name": "Page",
        "rules": [],
        "actions": [{"type": "http_request", "config": {"url": "http://x"}}],
    }
    pinned = document | {"actions": [document["actions"][0] | {"id": "action_1", "class": "notify"}]}  # pyright: ignore[reportOperatorIssue]
    server.put(
        "GET /runbooks/page",
        RUNBOOK | {"source": json.dumps(document), "source_format": "json", "document": pinned},
    )
    assert yaml.safe_load(run("runbook", "export", "page").stdout) == document


@pytest.mark.parametrize(
    ("state", "new_runs", "is_fine", "text"),
    [
        ("up", "durable", True, "new runs are durable"),
        ("unknown", "inline", True, "as the mode says"),
        ("unknown", "waiting", False, "wait for it"),
        (
            "down",
            "degraded",
            False,
            "down since 2026-01-02T03:04:05Z; new runs go inline and are marked is_degraded",
        ),
    ],
)
def test_the_doctor_says_what_becomes_of_new_runs(
    state: str, new_runs: str, is_fine: bool, text: str
) -> None:
    since = "2026-01-02T03:04:05Z" if state != "unknown" else None
    found = engine_finding({"mode": "workflow", "state": state, "since": since, "new_runs": new_runs})
    assert (found.is_fine, found.check) == (is_fine, "engine")
    assert text in found.found


@pytest.mark.parametrize(("state", "is_fine"), [("up", True), ("down", False)])
def test_in_mode_shadow_the_doctor_says_that_doubles_wait_and_runs_do_not(state: str, is_fine: bool) -> None:
    found = engine_finding({"mode": "shadow", "state": state, "since": None, "new_runs": "inline"})
    assert found.is_fine == is_fine
    assert "new runs go inline, as the mode says" in found.found
    assert ("doubles wait for it" in found.found) != is_fine


def test_every_reason_is_explained_where_people_look_it_up() -> None:
    table = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"`{reason}`" not in table] == []
