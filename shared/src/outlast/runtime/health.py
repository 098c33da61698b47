"""Liveness, readiness and metrics from a tiny server in a thread of its own.

A loop that hangs must be visible: liveness is what the service says of its own progress, not that the port answers.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import REGISTRY, generate_latest

Check = Callable[[], "tuple[bool, dict[str, object]]"]


class Health:
    """What a service says of itself; set from its event loop, read by the server's threads."""

    def __init__(self) -> None:
        self._ready: dict[str, bool] = {}
        self._facts: dict[str, object] = {}
        self.is_alive: Callable[[], bool] = lambda: True

    def ready(self, part: str, is_ready: bool) -> None:
        """One part's readiness; the service is ready when every part is."""
        self._ready[part] = is_ready

    def fact(self, name: str, value: object) -> None:
        """Something to show beside it, for example the engine's mode."""
        self._facts[name] = value

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether every part is ready, and the parts."""
        parts = dict(self._ready)
        return bool(parts) and all(parts.values()), {"parts": parts, **self._facts}

    def liveness(self) -> tuple[bool, dict[str, object]]:
        """Whether the service still makes progress."""
        return self.is_alive(), {}


def serve_health(health: Health, host: str, port: int) -> ThreadingHTTPServer:
    """Serve /livez, /readyz and /metrics in a daemon thread; returns the server (its port is in server_port)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(REGISTRY), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path in ("/livez", "/readyz"):
                is_fine, facts = health.liveness() if self.path == "/livez" else health.readiness()
                body = json.dumps({"status": "ok" if is_fine else "unavailable", **facts}).encode()
                self._answer(200 if is_fine else 503, body, "application/json")
            else:
                self._answer(404, b'{"status":"not found"}', "application/json")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: probes are not events."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
