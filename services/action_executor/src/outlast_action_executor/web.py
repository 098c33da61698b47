"""Requests to the outside, for actions: guarded, pooled by origin, bounded in size; time is the caller's.

No proxies of the environment, no cookies, nothing decompressed. Every connection is made to an address that the
guard has allowed after resolving, so a name that answers differently the second time gains nothing, and every hop of
a redirect is a new request to the guard.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from urllib.parse import urljoin

import httptools
import msgspec

from outlast.actions import ActionFailed, HttpRequest, HttpResponse
from outlast.limits import CALLS_IN_FLIGHT_MAX, CALLS_PER_DESTINATION_MAX, REDIRECTS_MAX
from outlast_action_executor.guard import EgressRefused, Guard, Target, literal, take_apart
from outlast_action_executor.wire import Answer, Connection, Disconnected, write_request

RESOLVE_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 10.0
IDLE_SECONDS_MAX = 4.0
"""Below what common servers keep an idle connection (5 s), so that few requests meet one that is being closed."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
USER_AGENT = "outlast"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "expect",
    )
)
_TRAVELLING = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "idempotency-key",
        "traceparent",
        "user-agent",
    )
)
"""What another origin may be told after a redirect. Any other header may be a credential: X-Api-Key, Private-Token."""
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, in order of preference; OSError if it has none."""
        ...


class SystemResolver:
    """The machine's resolver, in threads of its own: as many as there are calls.

    The event loop's own threads are few, and names that nobody answers hold a thread each for half a minute: a tenant's
    dead names would hold back everybody's.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CALLS_IN_FLIGHT_MAX, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            return await loop.run_in_executor(self._threads, _look_up, host, port)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Web:
    """The port `Outside` of the actions."""

    def __init__(
        self, guard: Guard, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._resolver = resolver or SystemResolver()
        self._tls = tls
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def request(self, request: HttpRequest) -> HttpResponse:
        """The response, whatever its status. ActionFailed when there is none, or the guard says no."""
        try:
            checked = check(request)
            target = take_apart(request.url)
            for _ in range(REDIRECTS_MAX + 1):
                answer = await self._exchange(target, checked)
                location = answer.headers.get("location")
                if not (request.follow_redirects and answer.status in _REDIRECTS and location):
                    return HttpResponse(
                        status=answer.status,
                        headers=answer.headers,
                        body=bytes(answer.body),
                        is_truncated=answer.is_truncated,
                        url=str(target),
                    )
                there = take_apart(urljoin(f"{target}{target.path}", location))
                checked = _redirected(checked, answer.status, is_same_origin=there.origin == target.origin)
                target = there
        except EgressRefused as refusal:
            raise ActionFailed("egress_refused", str(refusal)) from refusal
        raise ActionFailed("too_many_redirects", f"expected at most {REDIRECTS_MAX} redirects")

    async def close(self) -> None:
        """Close every idle connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(self, target: Target, request: HttpRequest) -> Answer:
        data = write_request(request.method, target.path, target.authority, request.headers, request.body)
        is_head = request.method == "HEAD"
        connection = self._take_idle(target) if request.may_repeat else None
        try:
            if connection is not None:
                try:
                    return await self._ask(target, connection, data, is_head)
                except Disconnected as fault:
                    if not fault.is_untouched:
                        raise
                    # an idle connection that was being closed: once more on a new one, under the same key
            return await self._ask(target, await self._connect(target), data, is_head)
        except Disconnected as fault:
            # the request was sent: whether it was acted on, nobody knows
            raise ActionFailed("connection_failed", f"{target}: {fault}", is_unknown=True) from fault
        except httptools.HttpParserError as fault:
            raise ActionFailed("not_http", f"{target}: expected an HTTP response", is_unknown=True) from fault

    async def _ask(self, target: Target, connection: Connection, data: bytes, is_head: bool) -> Answer:
        answer = await connection.ask(data, is_head=is_head)
        if connection.is_open:
            self._give_back(target, connection)
        return answer

    # ---- connections -----------------------------------------------------------------------------------------

    async def _connect(self, target: Target) -> Connection:
        try:
            addresses = literal(target) or await self._resolver.resolve(target.host, target.port)
        except (OSError, UnicodeError) as fault:
            raise ActionFailed(
                "dns_failed", f"{target}: the name has no address", is_retryable=True
            ) from fault
        allowed = self._guard.choose(target, addresses)
        is_tls = target.scheme == "https"
        if is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        failure: Exception | None = None
        for address in allowed:
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    _, connection = await asyncio.get_running_loop().create_connection(
                        Connection,
                        str(address),
                        target.port,
                        ssl=self._tls if is_tls else None,
                        server_hostname=target.host if is_tls else None,
                    )
                    return connection
            except ssl.SSLCertVerificationError as fault:
                message = f"{target}: the certificate is not trusted ({fault.verify_message})"
                raise ActionFailed("tls_failed", message) from fault
            except (OSError, TimeoutError) as fault:
                failure = fault
        reason = type(failure).__name__
        raise ActionFailed(
            "connection_failed", f"{target}: no connection ({reason})", is_retryable=True
        ) from failure

    def _take_idle(self, target: Target) -> Connection | None:
        idle = self._idle.get(target.origin)
        since = asyncio.get_running_loop().time() - IDLE_SECONDS_MAX
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since > since:
                return connection
            connection.close()
        return None

    def _give_back(self, target: Target, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle = self._idle.setdefault(target.origin, [])
        if len(idle) >= CALLS_PER_DESTINATION_MAX:
            connection.close()
            return
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE_SECONDS_MAX, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle too long."""
        loop = asyncio.get_running_loop()
        since = loop.time() - IDLE_SECONDS_MAX
        for origin, connections in list(self._idle.items()):
            kept = [each for each in connections if each.is_open and each.idle_since > since]
            for each in connections:
                if each not in kept:
                    each.close()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._sweeper = loop.call_later(IDLE_SECONDS_MAX, self._sweep) if self._idle else None


def check(request: HttpRequest) -> HttpRequest:
    """The request as it may be written; ActionFailed for a method or header that would break or abuse the wire."""
    if request.method not in METHODS:
        raise ActionFailed("invalid_request", f"expected one of {', '.join(METHODS)} as the method")
    headers: dict[str, str] = {"user-agent": USER_AGENT, "accept-encoding": "identity"}
    for name, value in request.headers.items():
        lower = name.lower()
        if _NAME.fullmatch(name) is None or lower in _FRAMING:
            raise ActionFailed("invalid_request", f"expected a header that may be set, got {name[:60]!r}")
        if _VALUE.fullmatch(value) is None:
            raise ActionFailed("invalid_request", f"header {lower}: expected one line of Latin-1 text")
        headers[lower] = value
    return msgspec.structs.replace(request, headers=headers)


def _redirected(request: HttpRequest, status: int, *, is_same_origin: bool) -> HttpRequest:
    """The request of the next hop: credentials stay at their origin; 303 (and 301, 302 after a POST) mean GET."""
    headers: Mapping[str, str] = request.headers
    if not is_same_origin:
        headers = {name: value for name, value in headers.items() if name in _TRAVELLING}
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        return msgspec.structs.replace(request, method="GET", headers=headers, body=b"")
    return msgspec.structs.replace(request, headers=headers)
