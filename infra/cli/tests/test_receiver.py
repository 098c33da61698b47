"""The receiver of the sample runbooks' calls."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from outlast_cli.receiver import Receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    log = tmp_path / "calls.jsonl"
    server = Receiver(("127.0.0.1", 0), log)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", log
    server.shutdown()
    server.server_close()


def test_every_call_is_answered_with_a_number_and_written_down_without_credentials(
    receiver: tuple[str, Path],
) -> None:
    url, log = receiver
    with httpx.Client(trust_env=False) as client:
        first = client.post(
            f"{url}/a", json={"x": "ü"}, headers={"Authorization": "secret", "Idempotency-Key": "k"}
        )
        second = client.post(f"{url}/b", content=b"\xff not json")
        assert [answer.json()["ticket"] for answer in (first, second)] == ["DEMO-1", "DEMO-2"]
        assert client.get(url).json() == {"received": 2}
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(entry["path"], entry["body"]) for entry in entries] == [("/a", {"x": "ü"}), ("/b", "� not json")]
    assert entries[0]["headers"]["idempotency-key"] == "k"
    assert "secret" not in log.read_text()


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(receiver: tuple[str, Path]) -> None:
    address = receiver[0].removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        connection.putrequest("POST", "/a")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        assert connection.getresponse().status == 413
