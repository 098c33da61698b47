"""The receiver of the sample runbooks' calls."""

import contextlib
import http.client
import json
import smtplib
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from outlast_cli.mail_receiver import MailReceiver
from outlast_cli.receiver import Receiver
from outlast_cli.sample import free_port_pair


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


def test_a_mail_is_taken_as_a_relay_takes_it_and_written_down(tmp_path: Path) -> None:
    entries: list[dict[str, object]] = []

    def keep(entry: dict[str, object]) -> int:
        entries.append(entry)
        return len(entries)

    server = MailReceiver(("127.0.0.1", 0), keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Grüße"
    message.set_content("eins\n.\n.. zwei")
    try:
        with smtplib.SMTP("127.0.0.1", server.server_address[1], timeout=5) as client:
            assert client.send_message(message) == {}
            assert client.send_message(message) == {}
            assert client.docmd("VRFY", "x")[0] == 503
    finally:
        server.shutdown()
        server.server_close()
    first, second = entries
    assert first == second
    assert first["path"] == "/mail"
    assert first["body"] == {"from": "a@example.org", "to": ["b@example.org"], "text": "eins\n.\n.. zwei\n"}
    assert first["headers"]["subject"] == "Grüße"  # type: ignore[index]


def test_the_ports_of_the_receiver_are_two_free_ones() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port_pair("127.0.0.1", port - 1) != port - 1
        assert free_port_pair("127.0.0.1", port) != port
