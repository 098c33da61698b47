"""A receiver for the sample runbooks' calls: answers every POST with 200 and writes it down, one JSON a line.

It takes their mail too, on the next port. It runs beside the local system and ends with it: `--with-pid` names the
process whose end is its own.
"""

import argparse
import contextlib
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from outlast_cli.mail_receiver import MailReceiver

BODY_BYTES_MAX = 1024 * 1024
CHECK_SECONDS = 0.5
CREDENTIALS = {"authorization", "cookie", "proxy-authorization"}


class Receiver(ThreadingHTTPServer):
    """Counts and keeps what it is sent."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], log: Path) -> None:
        super().__init__(address, _Handler)
        self._log = log
        self._lock = threading.Lock()
        self.received = 0

    def keep(self, entry: dict[str, object]) -> int:
        """Append one call with its time; returns how many there were."""
        entry = {"at": datetime.now(UTC).isoformat(), **entry}
        with self._lock, self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self.received += 1
            return self.received


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._answer(200, {"received": self.server.received})

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(413, {"error": f"expected a body of at most {BODY_BYTES_MAX} bytes"})
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            body: object = json.loads(text)
        except ValueError:
            body = text
        headers = {
            name.lower(): value for name, value in self.headers.items() if name.lower() not in CREDENTIALS
        }
        number = self.server.keep({"path": self.path, "headers": headers, "body": body})
        self._answer(200, {"received": True, "ticket": f"DEMO-{number}", "path": self.path})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the calls themselves are kept."""


def main() -> None:
    """Receive until the process named by --with-pid is gone."""
    parser = argparse.ArgumentParser(prog="outlast_cli.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--with-pid", type=int, required=True)
    options = parser.parse_args()
    server = Receiver(("127.0.0.1", options.port), options.log)
    mail = MailReceiver(("127.0.0.1", mail_port(options.port)), server.keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=mail.serve_forever, daemon=True).start()
    pause = threading.Event()
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(options.with_pid)
        while _lives(process) and not pause.wait(CHECK_SECONDS):
            pass
    server.shutdown()
    mail.shutdown()


def mail_port(port: int) -> int:
    """Where mail is taken, beside the calls at this port."""
    return port + 1


def _lives(process: psutil.Process) -> bool:
    """Whether it still does something; one that ended and was not reaped is gone."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


if __name__ == "__main__":
    main()
