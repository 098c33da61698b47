"""The two doors for our own services: `POST /lookup` and `POST /internal/findings/actions`.

Plain ASGI in front of the API, without its models: the matcher asks once a polled batch, and what Postgres wrote as
JSON goes out as it is.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.errors import ContractError, DataRejected, LimitExceeded, TransientError
from outlast.http.problems import Fault, Problem, invalid, problem_response, unavailable
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import HEADER
from outlast_platform import metrics
from outlast_platform.access import unauthenticated
from outlast_platform.finding_actions import apply_operations, decode_operations
from outlast_platform.limits import INTERNAL_BYTES_MAX
from outlast_platform.lookups import decode_lookup, look_up
from outlast_platform.services import Services

LOOKUP = "/lookup"
FINDING_ACTIONS = "/internal/findings/actions"

Headers = Mapping[bytes, bytes]
log = get_logger(__name__)


class InternalDoor:
    """Answers the internal paths, and passes everything else on."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._handlers: dict[str, Callable[[bytes, Headers], Awaitable[bytes]]] = {
            LOOKUP: self._look_up,
            FINDING_ACTIONS: self._act,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        try:
            response = Response(await self._answer(scope, receive, handler), media_type="application/json")
        except Problem as problem:
            response = problem_response(problem)
        except Exception as fault:
            log.error("request_failed", path=scope["path"], exc_info=fault)
            response = problem_response(
                Problem(500, "internal", "This is our fault; the service's log has the reason.")
            )
        await response(scope, receive, send)
        metrics.requests.labels("POST", scope["path"], str(response.status_code)).observe(
            perf_counter() - began
        )

    async def _answer(
        self, scope: Scope, receive: Receive, handler: Callable[[bytes, Headers], Awaitable[bytes]]
    ) -> bytes:
        headers: Headers = dict(scope["headers"])
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not self._services.keyring.is_service(token):
            raise unauthenticated("This needs the service token.")
        if scope["method"] != "POST":
            raise Problem(405, "method_not_allowed", "Expected POST.", headers={"Allow": "POST"})
        try:
            return await handler(await _body(receive), headers)
        except ContractError as fault:
            raise invalid(fault.message, Fault(fault.path, fault.message)) from fault
        except LimitExceeded as fault:
            raise Problem(413, "too_large", str(fault)) from fault
        except DataRejected as fault:
            raise invalid(f"The store does not take this: {fault}") from fault
        except TransientError as fault:
            raise unavailable("The store does not answer; try again.") from fault

    async def _look_up(self, body: bytes, _: Headers) -> bytes:
        lookup = decode_lookup(body)
        metrics.looked_up.inc(len(lookup.requests))
        return await look_up(self._services.pools.service, lookup)

    async def _act(self, body: bytes, headers: Headers) -> bytes:
        batch = decode_operations(body)
        write = self._services.write(headers.get(HEADER.encode(), b"").decode("ascii", "replace"))
        async with self._services.pools.of_all() as connection:
            answer = await apply_operations(connection, write, batch)
        self._services.wake_publisher()
        for result in answer.results:
            metrics.operations.labels(result.status).inc()
        return msgspec.json.encode(answer)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "incomplete", "The request ended before its body did.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > INTERNAL_BYTES_MAX:
            raise Problem(413, "too_large", f"Expected a body of at most {INTERNAL_BYTES_MAX} bytes.")
        if not message.get("more_body", False):
            return b"".join(parts)
