"""Answers as values, problems as failures that say what to do."""

import json
from collections.abc import Callable

import httpx
import pytest

from outlast_cli.client import Client
from outlast_cli.failures import Failure
from outlast_cli.profiles import Target

TARGET = Target("http://control", "http://platform", "olk_x", "acme")


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(TARGET, httpx.MockTransport(answer))


def problem(status: int, **members: object) -> Callable[[httpx.Request], httpx.Response]:
    body = {"detail": "No.", "code": "refused"} | members
    return lambda _: httpx.Response(status, json=body)


def test_a_request_carries_the_key_the_company_and_for_a_post_an_idempotency_key() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    asked = client(answer)
    assert asked.post("/events", {"a": 1}) == {"ok": True}
    asked.get("/runbooks", limit=3, after=None, activate=True)
    asked.platform("POST", "/imports", content=b"{}", kind="application/json")
    post, get, imported = seen
    assert post.headers["authorization"] == "Bearer olk_x"
    assert post.headers["idempotency-key"]
    assert "idempotency-key" not in get.headers
    assert dict(get.url.params) == {"limit": "3", "activate": "true", "company": "acme"}
    assert (imported.url.host, imported.url.path) == ("platform", "/api/v1/imports")


@pytest.mark.parametrize(
    ("status", "exit_status"), [(401, 1), (403, 1), (404, 1), (412, 2), (413, 2), (422, 2), (503, 1)]
)
def test_a_problem_is_a_failure_with_its_faults_and_a_next_step(status: int, exit_status: int) -> None:
    errors = [{"path": "rules[0].event", "message": "unknown"}]
    with pytest.raises(Failure) as caught:
        client(problem(status, errors=errors)).get("/x")
    failure = caught.value
    assert (failure.exit_code, failure.errors) == (exit_status, (("rules[0].event", "unknown"),))
    assert failure.as_json()["error"]["code"] == "refused"  # pyright: ignore[reportIndexIssue] a dict
    assert failure.next_step or status == 422


def test_an_answer_that_is_no_problem_document_still_says_its_status() -> None:
    with pytest.raises(Failure, match="502"):
        client(lambda _: httpx.Response(502, text="<html>")).get("/x")


def test_nobody_answering_says_how_to_start_it() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Failure) as caught:
        client(refuse).get("/x")
    assert "outlast up" in caught.value.next_step


def test_what_was_cut_off_is_sent_again_under_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast_cli.client.PAUSE_SECONDS", 0.0)
    keys: list[str] = []

    def cut_off_once(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) == 1:
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(200, json={})

    client(cut_off_once).post("/identities", {"name": "x"})
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_every_page_is_fetched() -> None:
    pages = {None: {"items": [1, 2], "next": "2"}, "2": {"items": [3], "next": None}}
    asked = client(lambda request: httpx.Response(200, json=pages[request.url.params.get("after")]))
    assert list(asked.pages("/runbooks")) == [1, 2, 3]
    assert json.dumps(pages[None])
