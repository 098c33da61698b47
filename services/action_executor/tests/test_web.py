"""Requests over a real socket, to a server with the manners of the internet."""

import asyncio
import socket
import ssl
import threading
from typing import Any

import pytest
import trustme

from outlast.actions import ActionFailed, HttpRequest, HttpResponse
from outlast.limits import RESPONSE_BYTES_MAX
from outlast.testing.wire_server import WireServer
from outlast_action_executor.guard import Guard
from outlast_action_executor.web import Web


def get(server: WireServer, path: str, **changes: object) -> HttpRequest:
    return HttpRequest(**{"method": "GET", "url": server.url + path, **changes})  # type: ignore[arg-type]


async def failure_of(web: Web, request: HttpRequest) -> ActionFailed:
    with pytest.raises(ActionFailed) as failure:
        await web.request(request)
    return failure.value


async def test_a_request_arrives_as_written_and_its_response_comes_back(web: Web, server: WireServer) -> None:
    request = HttpRequest(method="POST", url=f"{server.url}/ok?a=b", headers={"X-One": "1"}, body=b"{}")
    response = await web.request(request)
    assert (response.status, response.body, response.headers["content-type"]) == (
        200,
        b'{"ok":true}',
        "application/json",
    )
    (arrived,) = server.requests
    assert (arrived.method, arrived.path, arrived.body) == ("POST", "/ok?a=b", b"{}")
    assert arrived.headers["x-one"] == "1"
    assert arrived.headers["host"] == server.url.removeprefix("http://")
    assert arrived.headers["accept-encoding"] == "identity"


async def test_one_connection_serves_requests_one_after_the_other(web: Web, server: WireServer) -> None:
    for path in ("/ok", "/empty", "/chunked", "/text", "/interim", "/status/404", "/ok"):
        await web.request(get(server, path))
    assert server.connections == 1


async def test_requests_side_by_side_have_connections_of_their_own(web: Web, server: WireServer) -> None:
    responses = await asyncio.gather(*(web.request(get(server, "/ok")) for _ in range(5)))
    assert [response.status for response in responses] == [200] * 5
    assert server.connections == 5


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/empty", 204, b""),
        ("/chunked", 200, b"abcde"),
        ("/unbounded", 200, b"until the end"),
        ("/interim", 200, b'{"ok":true}'),
        ("/upgrade", 101, b""),
        ("/status/500", 500, b"the server says no: token-0123456789"),
    ],
)
async def test_every_kind_of_response_is_read(
    web: Web, server: WireServer, path: str, status: int, body: bytes
) -> None:
    response = await web.request(get(server, path))
    assert (response.status, response.body) == (status, body)


async def test_what_comes_after_an_answer_is_nobodys_and_ends_the_connection(
    web: Web, server: WireServer
) -> None:
    response = await web.request(get(server, "/twice"))
    assert (response.status, response.body, "x-forged" in response.headers) == (200, b"first", False)
    assert (await web.request(get(server, "/ok"))).body == b'{"ok":true}'
    assert server.connections == 2


async def test_a_head_request_ends_with_its_headers(web: Web, server: WireServer) -> None:
    response = await web.request(get(server, "/huge", method="HEAD"))
    assert (response.status, response.body) == (200, b"")


async def test_a_huge_body_is_cut_and_no_more_is_read(web: Web, server: WireServer) -> None:
    response = await web.request(get(server, "/huge"))
    assert len(response.body) == RESPONSE_BYTES_MAX
    assert response.is_truncated
    await asyncio.wait_for(server.closed.wait(), 5)


@pytest.mark.parametrize("path", ["/reset", "/early"])
async def test_a_connection_that_breaks_is_worth_another_try(web: Web, server: WireServer, path: str) -> None:
    failure = await failure_of(web, get(server, path))
    assert (failure.code, failure.is_retryable) == ("connection_failed", True)


@pytest.mark.parametrize("path", ["/garbage", "/headers"])
async def test_what_is_not_http_is_refused(web: Web, server: WireServer, path: str) -> None:
    assert (await failure_of(web, get(server, path))).code == "not_http"


@pytest.mark.parametrize("path", ["/hang", "/drip"])
async def test_a_request_that_is_given_up_closes_its_connection(
    web: Web, server: WireServer, path: str
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await web.request(get(server, path))
    if path == "/drip":
        await asyncio.wait_for(server.closed.wait(), 5)
    await web.request(get(server, "/ok"))
    assert server.connections == 2


async def test_nobody_listening_is_worth_another_try(web: Web, server: WireServer) -> None:
    await server.stop()
    failure = await failure_of(web, get(server, "/ok"))
    assert (failure.code, failure.is_retryable) == ("connection_failed", True)
    assert "ConnectionRefusedError" in failure.message


async def test_a_name_without_an_address_is_worth_another_try() -> None:
    class Nameless:
        async def resolve(self, host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

    failure = await failure_of(
        Web(Guard(), Nameless()), HttpRequest(method="GET", url="http://nowhere.invalid/")
    )
    assert (failure.code, failure.is_retryable) == ("dns_failed", True)


async def test_a_connection_that_was_closed_while_idle_is_replaced_once(web: Web, server: WireServer) -> None:
    await web.request(get(server, "/stale"))
    response = await web.request(get(server, "/stale"))
    assert response.status == 200
    assert server.connections == 2
    assert len(server.requests) == 3


async def test_a_server_that_promises_to_stay_and_leaves_costs_nothing(web: Web, server: WireServer) -> None:
    for _ in range(3):
        assert (await web.request(get(server, "/goodbye"))).body == b"bye"
        await asyncio.sleep(0)


async def test_a_redirect_is_returned_unless_it_may_be_followed(web: Web, server: WireServer) -> None:
    response = await web.request(get(server, "/redirect/302//ok"))
    assert response.status == 302
    response = await web.request(get(server, "/redirect/302//ok", follow_redirects=True))
    assert response.status == 200


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "http://user:pw@example.com/",
    ],
)
async def test_a_redirect_to_the_inside_is_refused(web: Web, server: WireServer, location: str) -> None:
    failure = await failure_of(web, get(server, f"/redirect/302/{location}", follow_redirects=True))
    assert failure.code == "egress_refused"
    assert len(server.requests) == 1


async def test_an_endless_redirect_ends(web: Web, server: WireServer) -> None:
    assert (await failure_of(web, get(server, "/loop", follow_redirects=True))).code == "too_many_redirects"
    assert len(server.requests) == 6


async def test_credentials_do_not_travel_to_another_origin(server: WireServer) -> None:
    other = WireServer()
    await other.start()
    web = Web(Guard(["127.0.0.0/8"]))
    headers = {"Authorization": "Bearer s", "Cookie": "c=1", "X-Api-Key": "k", "Idempotency-Key": "1"}

    async def follow(location: str) -> HttpResponse:
        return await web.request(
            get(server, f"/redirect/307/{location}", headers=headers, follow_redirects=True)
        )

    await follow(f"{other.url}/ok")
    await follow(f"{server.url}/ok")
    assert {"authorization", "cookie", "x-api-key"}.isdisjoint(other.requests[0].headers)
    assert other.requests[0].headers["idempotency-key"] == "1"
    assert server.requests[-1].headers["authorization"] == "Bearer s"
    assert server.requests[-1].headers["x-api-key"] == "k"
    await web.close()
    await other.stop()


@pytest.mark.parametrize(
    ("status", "method", "body"), [(302, "GET", b""), (303, "GET", b""), (307, "POST", b"{}")]
)
async def test_a_redirected_post_keeps_its_body_where_the_status_says_so(
    web: Web, server: WireServer, status: int, method: str, body: bytes
) -> None:
    request = get(server, f"/redirect/{status}//ok", method="POST", body=b"{}", follow_redirects=True)
    await web.request(request)
    assert (server.requests[-1].method, server.requests[-1].body) == (method, body)


async def test_proxies_of_the_environment_are_not_used(
    web: Web, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await web.request(get(server, "/ok"))).status == 200


async def test_a_name_is_checked_and_connected_to_at_one_resolution(server: WireServer) -> None:
    """Rebinding: the address that was allowed is the one that is connected to."""
    asked: list[str] = []

    class Rebinding:
        async def resolve(self, host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["10.255.255.1"]

    port = server.url.rpartition(":")[2]
    web = Web(Guard(["127.0.0.0/8"]), Rebinding())
    assert (
        await web.request(HttpRequest(method="GET", url=f"http://r.example:{port}/goodbye"))
    ).status == 200
    await asyncio.wait_for(server.closed.wait(), 5)
    assert asked == ["r.example"]
    failure = await failure_of(web, HttpRequest(method="GET", url=f"http://r.example:{port}/ok"))
    assert failure.code == "egress_refused"
    await web.close()


async def test_names_that_nobody_answers_hold_back_nobody_else(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than the event loop has threads of its own."""
    answered = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **named: Any) -> Any:
        if host.endswith(".dead.example"):
            answered.wait(30)
            raise OSError("nobody answers")
        return real(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    web = Web(Guard(["127.0.0.0/8", "::1/128"]))
    dead = [
        asyncio.ensure_future(
            failure_of(web, HttpRequest(method="GET", url=f"http://{number}.dead.example/"))
        )
        for number in range(100)
    ]
    try:
        await asyncio.sleep(0)  # all of them have begun to ask
        url = server.url.replace("127.0.0.1", "localhost")
        async with asyncio.timeout(10):
            assert (await web.request(HttpRequest(method="GET", url=f"{url}/ok"))).status == 200
    finally:
        answered.set()
    assert {each.code for each in await asyncio.gather(*dead)} == {"dns_failed"}
    await web.close()


class Addresses:
    """A resolver that knows one address."""

    async def resolve(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("is_trusted", "name", "code"),
    [
        (True, "hooks.example", ""),
        (True, "other.example", "tls_failed"),
        (False, "hooks.example", "tls_failed"),
    ],
)
async def test_a_certificate_must_be_trusted_and_name_the_host_that_was_asked_for(
    is_trusted: bool, name: str, code: str
) -> None:
    """The connection is made to an address, but the name is what is verified."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    ours = ssl.create_default_context()
    (authority if is_trusted else trustme.CA()).configure_trust(ours)
    server = WireServer(tls=context)
    await server.start()
    web = Web(Guard(["127.0.0.0/8"]), Addresses(), ours)
    request = HttpRequest(method="POST", url=f"https://hooks.example:{server.url.rpartition(':')[2]}/ok")
    if code:
        failure = await failure_of(web, request)
        assert (failure.code, failure.is_retryable, failure.is_unknown) == (code, False, False)
        assert server.requests == []
    else:
        assert (await web.request(request)).status == 200
    await web.close()
    await server.stop()
