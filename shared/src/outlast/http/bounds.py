"""Around every request: a bound on its body, kept while it arrives, and the time that its answer took."""

import time
from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.http.problems import Problem, problem_response

NO_LARGER: Mapping[str, int] = MappingProxyType({})


class BodyLimit:
    """Answers 413 as soon as a body is known to be too large. Some paths may take `larger` ones than others."""

    def __init__(self, app: ASGIApp, bytes_max: int, larger: Mapping[str, int] = NO_LARGER) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bytes_max = self._larger.get(scope["path"], self._bytes_max)
        sentence = f"Expected a body of at most {bytes_max} bytes."
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > bytes_max:
            await problem_response(Problem(413, "too_large", sentence))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bytes_max:
                raise HTTPException(413, sentence)  # answered where every other fault is
            return message

        await self._app(scope, counted, send)


class Measured:
    """Observes the time until an answer begins, by method, route as written, and status: the labels of `seconds`."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, watching for its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unknown")
                status = str(message["status"])
                method = scope["method"] if route != "unknown" else "other"
                self._seconds.labels(method, route, status).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, watched)
