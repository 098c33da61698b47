"""The command as scripts use it: stdout, stderr, exit statuses, and files with keys."""

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from outlast_cli.main import outlast
from outlast_cli.profiles import Profile, Profiles, find_target, profiles_file, read_profiles, write_profiles
from outlast_local.layout import RunFolder

Answer = Callable[[httpx.Request], httpx.Response]
RUN = {
    "id": "0199f000-0000-8000-8000-000000000001", "company": "acme", "runbook": "page", "runbook_name": "Page",
    "runbook_version": 2, "mode": "workflow", "status": "partial", "started_at": "2026-01-02T03:04:05Z",
    "finished_at": "2026-01-02T03:04:06Z", "duration_ms": 1000.0, "steps": {"failed": 1, "success": 1},
    "event": {"source": "s", "id": "e", "type": "finding_created", "time": "2026-01-02T03:04:05Z"}, "error": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """An empty run folder and a known target."""
    for name in ("OUTLAST_COMPANY", "OUTLAST_ADMIN_KEY", "KAFKA_BOOTSTRAP_SERVERS", "PLATFORM_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTLAST_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("OUTLAST_API_URL", "http://control")
    monkeypatch.setenv("OUTLAST_API_KEY", "olk_x")
    return RunFolder.current()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """Answers by method and path; anything else is not found."""
    answers: dict[str, Answer] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        known = answers.get(f"{request.method} {request.url.path.removeprefix('/api/v1')}")
        return (
            known(request) if known else httpx.Response(404, json={"detail": "No such.", "code": "not_found"})
        )

    real = httpx.Client

    def made(**options: object) -> httpx.Client:
        return real(**(options | {"transport": httpx.MockTransport(answer)}))  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(httpx, "Client", made)
    return answers


def run(*arguments: str, text: bytes = b"") -> Result:
    return CliRunner().invoke(outlast, list(arguments), input=text)


def test_run_list_json_is_items_and_next(server: dict[str, Answer]) -> None:
    server["GET /executions"] = lambda _: httpx.Response(200, json={"items": [RUN], "next": None})
    done = run("run", "list", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"items": [RUN], "next": None}
    assert "partial" in run("run", "list").stdout


def test_run_list_says_what_waits_for_what_and_for_how_long(
    server: dict[str, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast_cli.output.WIDTH_WITHOUT_TERMINAL", 400)
    until = (datetime.now(UTC) + timedelta(hours=71, minutes=5)).isoformat()
    waits = [
        [{"activity_id": "ok", "kind": "signal", "signal": "approved", "key": "F-1", "until": until}],
        [{"activity_id": "nap", "kind": "sleep", "until": until}],
        [{"activity_id": "call", "kind": "retry", "attempt": 2, "until": "2020-01-01T00:00:00Z"}],
    ]
    items = [
        RUN | {"id": f"{RUN['id'][:-1]}{n}", "status": "waiting", "finished_at": None, "waits": each}
        for n, each in enumerate(waits)
    ]  # fmt: skip
    server["GET /executions"] = lambda _: httpx.Response(200, json={"items": items, "next": None})
    shown = run("run", "list").stdout
    for text in (
        "signal approved (F-1), times out in 3 d", "sleep nap, goes on in 3 d", "attempt 2 of call now",
    ):  # fmt: skip
        assert text in shown


def test_a_failure_goes_to_stderr_and_with_json_to_stdout_as_an_object(server: dict[str, Answer]) -> None:
    done = run("run", "show", RUN["id"], "--json")  # pyright: ignore[reportArgumentType]
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["code"] == "not_found"
    assert "error: No such." in done.stderr
    assert "outlast run list" in done.stderr


def test_show_says_for_each_step_what_happened_and_hides_nothing_of_a_failure(
    server: dict[str, Answer],
) -> None:
    steps = [
        {"id": "a", "status": "success", "action": "http_request", "input": {"url": "u"}, "output": {"status": 200}},
        {"id": "b", "status": "skipped", "action": "x", "reason": "when is false", "when": "{{ false }}"},
        {
            "id": "c", "status": "failed", "action": "x", "attempts": 3,
            "error": {"code": "http_500", "message": "bad \x1b[31m", "path": "config.url", "retryable": True},
        },
    ]  # fmt: skip
    body = RUN | {"steps": steps, "payload": {"finding": {"id": "F", "severity": "high", "title": "T"}}}
    server[f"GET /executions/{RUN['id']}"] = lambda _: httpx.Response(200, json=body)
    shown = run("run", "show", str(RUN["id"])).stdout
    for text in (
        "finding F (high) T",
        '"url": "u"',
        "when is false",
        "{{ false }}",
        "3 attempts",
        "http_500",
        "config.url",
    ):
        assert text in shown
    assert "\x1b[31m" not in shown


def test_show_explains_what_a_step_waits_for_and_what_it_tried(server: dict[str, Answer]) -> None:
    steps = [
        {
            "id": "call", "status": "waiting", "action": "http_request", "attempts": 1, "max_attempts": 5,
            "wait": {"kind": "retry", "attempt": 2, "until": "2030-01-01T00:00:01Z"},
            "tries": [{
                "attempt": 1, "at": "2030-01-01T00:00:00Z", "next_at": "2030-01-01T00:00:01Z",
                "error": {"code": "http_503", "message": "busy"},
            }],
        },
        {
            "id": "ok", "status": "waiting", "action": "await_signal", "on_timeout": "fail",
            "wait": {"kind": "signal", "signal": "approved", "key": "F-1", "until": "2030-01-01T00:00:01Z"},
        },
        {"id": "nap", "status": "waiting", "wait": {"kind": "sleep", "until": "2030-01-01T00:00:01Z"}},
    ]  # fmt: skip
    signals = [
        {
            "id": "s",
            "name": "denied",
            "sent_by": "eve",
            "sent_at": "2030-01-01T00:00:00Z",
            "consumed_by": None,
        }
    ]
    body = RUN | {"status": "waiting", "steps": steps, "signals": signals, "payload": {}}
    server[f"GET /executions/{RUN['id']}"] = lambda _: httpx.Response(200, json=body)
    shown = run("run", "show", str(RUN["id"])).stdout
    for text in (
        "attempt 2 of 5 at 2030-01-01T00:00:01Z",
        "attempt 1 of 5 at 2030-01-01T00:00:00Z: http_503: busy; next at 2030-01-01T00:00:01Z",
        "the signal approved with the key F-1; without it the step fails at 2030-01-01T00:00:01Z",
        f"outlast signal approved --run {RUN['id']}",
        "--key F-1",
        "until 2030-01-01T00:00:01Z",
        "denied (s) from eve",
    ):
        assert text in shown


def test_what_a_file_would_do_is_shown_first_and_a_refused_one_stops_all(
    server: dict[str, Answer], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("name: A\n")
    (tmp_path / "b.yaml").write_text("name: B\n")
    nothing = {"version": None, "is_active": False, "will_be_active": True, "diff": "", "errors": []}
    plan = [nothing | {"id": "a", "change": "create"}, nothing | {"id": "b", "change": "refused"}]
    plan[1]["errors"] = [{"path": "rules", "message": "expected rules"}]
    saved: list[str] = []

    def save(request: httpx.Request) -> httpx.Response:
        saved.append(request.url.path)
        return httpx.Response(201, json={"id": "a", "change": "create"})

    server["POST /runbooks:plan"] = lambda _: httpx.Response(200, json={"items": plan})
    server["PUT /runbooks/a"] = save
    refused = run("runbook", "apply", str(tmp_path), "--yes")
    assert refused.exit_code == 2
    assert "b.yaml: rules: expected rules" in refused.stderr
    assert saved == []
    plan.pop()
    (tmp_path / "b.yaml").unlink()
    assert run("runbook", "apply", str(tmp_path), "--dry-run").exit_code == 0
    assert saved == []
    assert "create a, will be active" in run("runbook", "apply", str(tmp_path), "--yes").stdout
    assert saved == ["/api/v1/runbooks/a"]


@pytest.mark.parametrize(
    ("text", "kind", "count"),
    [
        (b'{"a": 1}', "application/cloudevents+json", 1),
        (b'[{"a": 1}, {"a": 2}]', "application/cloudevents-batch+json", 2),
        (b'{"a": 1}\n{"a": 2}\n\n{"a": 3}\n', "application/cloudevents-batch+json", 3),
        (b'{\n "a": 1\n}', "application/cloudevents+json", 1),
    ],
)
def test_events_are_sent_as_one_a_list_or_one_a_line(
    server: dict[str, Answer], text: bytes, kind: str, count: int
) -> None:
    sent: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(202, json={"items": []})

    server["POST /events"] = take
    assert run("events", "emit", "-", text=text).exit_code == 0
    assert sent[0].headers["content-type"] == kind
    decoded = json.loads(sent[0].content)
    assert (len(decoded) if isinstance(decoded, list) else 1) == count


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "emit", "absent.json"),
        ("import", "absent.json", "--json"),
        ("runbook", "apply", "absent.yaml"),
        ("run", "list", "--since", "yesterday"),
        ("run", "list", "--status", "exploded"),
        ("run", "watch", "--interval", "0.1"),
        ("run", "watch", "an-id", "--runbook", "page"),
        ("signal", "approved"),
        ("signal", "approved", "--run", "x", "--key", "y"),
        ("signal", "approved", "--run", "x", "--for-future"),
        ("signal", "approved", "--run", "x", "--payload", "{"),
        ("signal", "approved", "--run", "x", "--payload", "@absent.json"),
        ("signal", "approved", "--key", "x", "--expires", "soon"),
        ("--profile", "nobody", "run", "list"),
    ],
)
def test_wrong_use_has_status_2_and_a_sentence(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.strip()


def test_keys_are_kept_where_only_their_owner_reads_and_the_administrators_is_not_copied(
    folder: RunFolder,
) -> None:
    folder.create()
    folder.secrets.write_text(json.dumps({"OUTLAST_ADMIN_KEY": "olk_admin"}))
    profiles = read_profiles(folder)
    assert profiles.items["admin"].key == "olk_admin"
    write_profiles(folder, Profiles("acme", profiles.items | {"acme": Profile("olk_acme", "acme")}))
    path = profiles_file(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "olk_admin" not in path.read_text()
    assert set(read_profiles(folder).items) == {"admin", "acme"}


def test_a_named_profile_goes_before_the_environment(folder: RunFolder) -> None:
    write_profiles(folder, Profiles("acme", {"acme": Profile("olk_acme", "acme")}))
    named = find_target(url="http://other", key=None, company=None, profile="acme")
    assert (named.control_plane_url, named.key, named.company) == ("http://other", "olk_acme", "acme")
    unnamed = find_target(url=None, key=None, company=None, profile=None)
    assert (unnamed.control_plane_url, unnamed.key, unnamed.company) == ("http://control", "olk_x", "")


def test_every_command_has_help_and_completions_can_be_printed() -> None:
    for name in outlast.commands:
        assert run(name, "--help").exit_code == 0
    assert "_OUTLAST_COMPLETE" in run("completions", "bash").stdout
