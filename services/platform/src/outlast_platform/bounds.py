"""A bound on request bodies, kept while they arrive: a large one is refused before it fills the memory."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast_platform.limits import REPORT_BYTES_MAX, REQUEST_BYTES_MAX
from outlast_platform.problems import Problem, problem_response


class BodyLimit:
    """Answers 413 as soon as a body is known to be too large. Reports may be larger than other requests."""

    def __init__(self, app: ASGIApp, reports_path: str) -> None:
        self._app = app
        self._reports_path = reports_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bytes_max = REPORT_BYTES_MAX if scope["path"] == self._reports_path else REQUEST_BYTES_MAX
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
