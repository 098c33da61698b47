"""Following runs: what changed is told once, and little is asked for."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from outlast.messaging.cloudevents import parse
from outlast.messaging.ports import Received
from outlast_cli.client import Client
from outlast_cli.commands.tail import Pairs
from outlast_cli.failures import Failure
from outlast_cli.follow import Patience, RunChanges
from outlast_cli.main import outlast
from outlast_cli.profiles import Target

PAGE = 3


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast_cli.follow.PAGE_MAX", PAGE)


def made(number: int, status: str = "success", **members: object) -> dict[str, Any]:
    return {
        "id": f"0199f000-0000-8000-8000-{number:012}", "company": "acme", "runbook": "page", "status": status,
        "event": {"source": "s", "id": f"e{number}", "type": "finding_created"}, "started_at": "2026-01-02T03:04:05Z",
        "finished_at": None if status in {"running", "waiting"} else "2026-01-02T03:04:06Z", "duration_ms": None,
        "steps": {}, "waits": [],
    } | members  # fmt: skip


class Server:
    """The control plane's list of runs: newest first, pages of `limit`."""

    def __init__(self, *runs: dict[str, Any]) -> None:
        self.runs = {run["id"]: run for run in runs}
        self.requests: list[httpx.Request] = []

    def put(self, *runs: dict[str, Any]) -> None:
        self.requests.clear()
        self.runs |= {run["id"]: run for run in runs}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/api/v1/executions")
        if path:
            return httpx.Response(200, json=self.runs[path[1:]] | {"steps": [{"status": "success"}]})
        query = request.url.params
        found = [
            run
            for run_id, run in sorted(self.runs.items(), reverse=True)
            if query.get("status") in {None, run["status"]} and (query.get("after") or "g") > run_id
        ]
        shown = found[:PAGE]
        return httpx.Response(
            200, json={"items": shown, "next": shown[-1]["id"] if len(found) > len(shown) else None}
        )

    def client(self) -> Client:
        return Client(Target("http://control", "", "olk_x", "acme"), httpx.MockTransport(self))


def numbers(runs: list[dict[str, Any]]) -> list[int]:
    return [int(run["id"][-12:]) for run in runs]


def test_the_first_round_tells_what_is_unfinished_and_the_next_what_changed() -> None:
    server = Server(made(1, "waiting"), *(made(n) for n in range(2, 9)), made(9, "running"))
    changes = RunChanges(server.client())
    assert numbers(changes.round()) == [1, 9]
    assert changes.round() == []
    server.put(made(9), made(10, "running"))
    assert [run["status"] for run in changes.round()] == ["success", "running"]


def test_more_new_runs_than_a_page_holds_are_all_told() -> None:
    server = Server(made(1))
    changes = RunChanges(server.client())
    changes.round()
    server.put(*(made(n) for n in range(2, 12)))
    assert numbers(changes.round()) == list(range(2, 12))


def test_an_old_run_that_waited_is_told_when_it_ends() -> None:
    server = Server(made(1, "waiting"), *(made(n) for n in range(2, 9)))
    changes = RunChanges(server.client())
    changes.round()
    server.put(made(1))
    (ended,) = changes.round()
    assert (ended["status"], ended["steps"]) == ("success", {"success": 1})
    server.put()
    changes.round()
    assert len(server.requests) == 1  # nothing is unfinished: the newest page is enough


def test_a_new_wait_of_a_run_is_a_change() -> None:
    wait = {"activity_id": "a", "kind": "sleep", "until": "2026-01-02T04:00:00Z"}
    server = Server(made(1, "waiting", waits=[wait]))
    changes = RunChanges(server.client())
    changes.round()
    server.put(made(1, "waiting", waits=[wait | {"activity_id": "b"}]))
    assert numbers(changes.round()) == [1]


def test_a_side_that_is_away_is_asked_again_and_a_refusal_is_not() -> None:
    def away() -> int:
        raise Failure("away", code="unavailable")

    def refused() -> int:
        raise Failure("no", code="forbidden")

    patience = Patience()
    assert patience.ask(away) is None
    assert patience.ask(lambda: 3) == 3
    with pytest.raises(Failure):
        patience.ask(refused)


def test_a_run_is_paired_with_its_event_whichever_is_seen_first() -> None:
    text = {
        "specversion": "1.0", "id": "e1", "source": "s", "type": "finding_created", "companyid": "acme", "data": {},
    }  # fmt: skip
    headers = (("content-type", b"application/cloudevents+json"),)
    event = parse(Received("platform.x.events", 0, 0, 0, None, json.dumps(text).encode(), headers))
    early, late = Pairs(), Pairs()
    assert early.run(made(1)) is False
    assert numbers(early.event(event)) == [1]
    assert late.event(event) == []
    assert late.run(made(1)) is True
    assert late.run(made(1, "waiting")) is False
    assert late.run(made(2)) is False


# ---- one run


GOING: dict[str, Any] = {
    "id": "r-1", "mode": "workflow", "status": "running", "started_at": "2026-01-02T03:04:05Z", "finished_at": None,
    "steps": [], "reason": "", "detail": "", "ended_by": "", "is_degraded": False, "comparison": None,
}  # fmt: skip
END = "2026-01-02T03:04:09Z"


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Result]:
    """`outlast run watch ID` over these events, two a page."""
    monkeypatch.setenv("OUTLAST_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("OUTLAST_API_URL", "http://control")
    monkeypatch.setenv("OUTLAST_API_KEY", "olk_x")
    monkeypatch.setattr("time.sleep", lambda _: None)
    real = httpx.Client

    def run(
        events: list[tuple[str, dict[str, Any]]], *options: str, records: Sequence[dict[str, Any]] = ()
    ) -> Result:
        left = [GOING | record for record in records] or [GOING]
        lines = [
            {"seq": seq, "type": f"{kind}.v1", "at": "2026-01-02T03:04:05Z", "data": data}
            for seq, (kind, data) in enumerate(events, 1)
        ]

        def answer(request: httpx.Request) -> httpx.Response:
            if not request.url.path.endswith("/history"):
                return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])
            after = int(request.url.params["after"])
            return httpx.Response(200, json={"items": lines[after : after + 2], "next": None})

        def client(**options: object) -> httpx.Client:
            return real(**(options | {"transport": httpx.MockTransport(answer)}))  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(httpx, "Client", client)
        return CliRunner().invoke(outlast, ["run", "watch", "r-1", *options])

    return run


STORY: list[tuple[str, dict[str, Any]]] = [
    ("workflow_started", {"runbook": {"name": "Page"}, "event": {"type": "finding_created", "id": "e1"}}),
    ("activity_scheduled", {"activity_id": "call", "action": "http_request", "attempt": 1}),
    (
        "activity_failed",
        {"activity_id": "call", "attempt": 1, "error": {"code": "http_503", "message": "busy"}},
    ),
    (
        "timer_started",
        {"timer_id": "t", "activity_id": "call", "purpose": "retry", "fire_at": "2030-01-01T00:00:00Z"},
    ),
    ("timer_fired", {"timer_id": "t"}),
    ("activity_scheduled", {"activity_id": "call", "action": "http_request", "attempt": 2}),
    ("activity_completed", {"activity_id": "call", "attempt": 2, "duration_ms": 12.0}),
    ("signal_awaited", {"activity_id": "ok", "signal": "approved", "key": "F-1"}),
    ("signal_received", {"signal_id": "s1", "name": "approved", "sent_by": "eve"}),
    ("signal_consumed", {"signal_id": "s1", "activity_id": "ok"}),
    ("activity_completed", {"activity_id": "ok", "attempt": 1, "duration_ms": 0.0}),
]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (("workflow_completed", {"status": "success"}), 0),
        (("workflow_completed", {"status": "skipped"}), 0),
        (("workflow_completed", {"status": "partial"}), 1),
        (("workflow_failed", {"error": {"code": "x", "message": "y"}}), 1),
        (("workflow_cancelled", {}), 1),
    ],
)
def test_each_event_is_told_until_the_run_ends_and_the_exit_status_is_the_runs(
    watch: Callable[..., Result], end: tuple[str, dict[str, Any]], status: int
) -> None:
    done = watch([*STORY, end])
    assert done.exit_code == status, done.output
    for text in (
        "fired by finding_created e1", "attempt 1: http_503: busy", "tries again in", "http_request, attempt 2",
        "12 ms", "for the signal approved with the key F-1", "approved (s1) from eve", "the run",
    ):  # fmt: skip
        assert text in done.stdout


def test_a_cancelled_run_is_told_with_who_ended_it_and_when_what_is_in_flight_is_given_up(
    watch: Callable[..., Result],
) -> None:
    told = [
        ("cancel_requested", {"by": "eve", "at": "2030-01-01T00:00:00Z", "reason": "a drill"}),
        (
            "timer_started",
            {
                "timer_id": ":cancel",
                "activity_id": "",
                "purpose": "cancel",
                "fire_at": "2030-01-01T00:00:00Z",
            },
        ),
        ("workflow_cancelled", {}),
    ]
    done = watch([*STORY, *told])
    assert done.exit_code == 1
    for text in ("cancelling", "by eve: a drill", "gives up in", "cancelled"):
        assert text in done.stdout


def test_with_json_each_line_is_an_event(watch: Callable[..., Result]) -> None:
    done = watch([*STORY, ("workflow_completed", {"status": "success"})], "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(STORY) + 2))
    assert {line["run"] for line in lines} == {"r-1"}


def test_a_run_in_the_queue_is_told_by_its_record_until_its_history_begins(
    watch: Callable[..., Result],
) -> None:
    queued = {"status": "queued", "reason": "slot_taken", "started_at": None}
    withheld = queued | {"status": "skipped", "reason": "queue_age", "finished_at": END}
    never_began = watch([], records=[queued, queued, withheld])
    assert never_began.exit_code == 0
    assert [line.split()[-2:] for line in never_began.stdout.splitlines()] == [
        ["queued", "slot_taken"], ["skipped", "queue_age"],
    ]  # fmt: skip
    ended = {"status": "failed", "finished_at": END}
    began = watch([*STORY, ("workflow_failed", {"error": {"code": "x"}})], records=[queued, {}, ended])
    assert began.exit_code == 1
    assert began.stdout.count("queued") == 1
    assert "http_request, attempt 2" in began.stdout


@pytest.mark.parametrize(("status", "code"), [("success", 0), ("partial", 1), ("cancelled", 1)])
def test_a_run_without_a_history_of_its_own_is_followed_by_its_record(
    watch: Callable[..., Result], status: str, code: int
) -> None:
    inline = {"mode": "inline", "is_degraded": True}
    double = [("workflow_completed", {"status": "success"})]  # not the run's: it says nothing of its end
    for mode, events in (("inline", []), ("shadow", double)):
        made = inline | {"mode": mode}
        done = watch(events, records=[made, made, made | {"status": status, "finished_at": END}])
        assert done.exit_code == code, done.output
        assert [line.split()[3] for line in done.stdout.splitlines()] == ["running", status]
    lines = watch([], "--json", records=[inline | {"status": status, "finished_at": END}]).stdout.splitlines()
    assert [json.loads(line)["data"]["status"] for line in lines] == [status]


def test_a_durable_run_whose_history_was_dropped_ends_by_its_record(watch: Callable[..., Result]) -> None:
    done = watch([], records=[{"status": "failed", "finished_at": END, "steps": [{"id": "a"}]}])
    assert done.exit_code == 1
