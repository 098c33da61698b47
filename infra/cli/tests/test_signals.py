"""`outlast signal`: what is sent, what is said about it, and the exit status."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from outlast_cli.main import outlast

NOTHING_YET = {
    "id": "s1", "name": "approved", "status": "pending", "deliveries": [], "expires_at": "2030-01-01T00:00:00Z",
}  # fmt: skip


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[httpx.Request]:
    """The requests that signal_delivery got; `answers` says what it answers."""
    for name, value in {
        "OUTLAST_RUN_DIR": str(tmp_path / "run"), "OUTLAST_API_URL": "http://control", "OUTLAST_API_KEY": "olk_x",
        "SIGNAL_DELIVERY_URL": "http://signals",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OUTLAST_COMPANY", raising=False)
    monkeypatch.setattr("outlast_cli.commands.signals.POLL_SECONDS", 0.0)
    return []


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch, sent: list[httpx.Request]) -> Callable[..., None]:
    """Let signal_delivery answer these bodies, one a request, the last for ever."""
    real = httpx.Client

    def set_up(*bodies: dict[str, Any]) -> None:
        left = list(bodies)

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            body = left.pop(0) if len(left) > 1 else left[0]
            return httpx.Response(200, json=NOTHING_YET | body)

        def made(**options: object) -> httpx.Client:
            return real(**(options | {"transport": httpx.MockTransport(answer)}))  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(httpx, "Client", made)

    return set_up


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(outlast, ["signal", *arguments], input=text)


def verdicts(*each: str | None, status: str = "delivered") -> dict[str, Any]:
    return {
        "status": status,
        "deliveries": [{"execution_id": f"run-{n}", "verdict": verdict} for n, verdict in enumerate(each)],
    }


def test_a_signal_is_sent_with_an_id_of_its_own(
    sent: list[httpx.Request], answer_with: Callable[..., None]
) -> None:
    answer_with(verdicts("consumed"))
    done = run("approved", "--run", "r-1", "--payload", '{"by": "eve"}', "--wait", "3s")
    assert (done.exit_code, "run run-0 took it" in done.stdout) == (0, True)
    (request,) = sent
    assert (request.method, request.url.host, request.url.path) == ("POST", "signals", "/api/v1/signals")
    assert dict(request.url.params) == {"wait": "3s"}
    body = json.loads(request.content)
    assert body.pop("id")
    assert body == {"name": "approved", "execution_id": "r-1", "payload": {"by": "eve"}}


def test_by_key_it_may_be_for_runs_to_come_and_for_a_while(
    sent: list[httpx.Request], answer_with: Callable[..., None], tmp_path: Path
) -> None:
    answer_with(verdicts("consumed", "early"))
    (tmp_path / "p.json").write_text("[1]")
    arguments = ("--key", "F-1", "--for-future", "--expires", "2h", "--id", "mine", "--payload")
    assert run("approved", *arguments, f"@{tmp_path / 'p.json'}").exit_code == 0
    assert run("approved", *arguments, "-", text="[1]").exit_code == 0
    body = {
        "name": "approved",
        "id": "mine",
        "key": "F-1",
        "payload": [1],
        "for_future": True,
        "expires_in": "7200s",
    }
    assert [json.loads(request.content) for request in sent] == [body, body]


@pytest.mark.parametrize(
    ("verdict", "clue"),
    [("late", "outlast run show run-1"), ("unknown", "no run run-1"), ("rejected", "run-1 has taken")],
)
def test_what_cannot_be_delivered_is_status_1_and_a_sentence(
    answer_with: Callable[..., None], verdict: str, clue: str
) -> None:
    answer_with(verdicts("consumed", verdict))
    done = run("approved", "--key", "k")
    assert (done.exit_code, "run-0 took it" in done.stdout, clue in done.stderr) == (1, True, True)
    done = run("approved", "--key", "k", "--json")
    assert (done.exit_code, json.loads(done.stdout)["deliveries"][1]["verdict"]) == (1, verdict)
    assert run("show", "s1").exit_code == 1


def test_it_asks_until_every_run_has_answered_and_no_longer_than_it_may(
    sent: list[httpx.Request], answer_with: Callable[..., None]
) -> None:
    answer_with(
        {}, verdicts(None, status="pending"), verdicts("unknown", status="pending"), verdicts("consumed")
    )
    assert run("approved", "--run", "r").exit_code == 0
    assert [request.method for request in sent] == ["POST", "GET", "GET", "GET"]
    assert sent[-1].url.path == "/api/v1/signals/s1"
    answer_with({})
    done = run("approved", "--key", "nobody", "--wait", "0s")
    assert (done.exit_code, len(sent), "no run has it yet" in done.stdout) == (0, 5, True)


def test_a_signal_that_is_called_like_a_command_can_be_sent(
    sent: list[httpx.Request], answer_with: Callable[..., None]
) -> None:
    answer_with(verdicts("consumed"))
    assert run("send", "show", "--run", "r").exit_code == 0
    assert json.loads(sent[0].content)["name"] == "show"


def test_help_is_about_sending() -> None:
    assert "--run ID | --key KEY" in run("--help").stdout
    assert "--for-future" in run("send", "--help").stdout
