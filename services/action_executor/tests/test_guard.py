"""Where a tenant's request may not go, by whatever spelling."""

import ipaddress

import pytest

from outlast.actions import ActionFailed, HttpRequest
from outlast_action_executor.guard import (
    EgressRefused,
    Guard,
    Target,
    embedded,
    is_internal,
    literal,
    mail_target,
    take_apart,
)
from outlast_action_executor.web import Web, check

EVIL_URLS = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/",
    "//example.com/",
    "example.com",
    "http://",
    "http:///path",
    "http://user:pass@example.com/",
    "http://user@example.com/",
    "http://@example.com/",
    "http://example.com@169.254.169.254/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http://exa mple.com/",
    " http://example.com/",
    "http://example.com/\r\nHost: inside",
    "http://example.com/\x00",
    "http://example.com/\t",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:-1/",
    "http://example.com:80:80/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.1/",
    "http://256.1.1.1/",
    "http://0/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[::1/",
    "http://[example.com]/",
    "http://exa%6dple.com/",
    "http://-example.com/",
    "http://.example.com/",
    "http://example..com/",
    f"http://{'a' * 64}.com/",
    f"http://example.com/{'a' * 9000}",
]
INTERNAL_LITERALS = [
    "http://127.0.0.1/",
    "http://127.255.255.254/",
    "http://localhost./".replace("localhost.", "127.0.0.1."),
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://203.0.113.7/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:a9fe:a9fe::1]/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://①②⑦.0.0.1/",
]


@pytest.mark.parametrize("url", EVIL_URLS)
def test_a_crooked_url_is_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(EgressRefused):
        take_apart(url)


@pytest.mark.parametrize("url", INTERNAL_LITERALS)
def test_an_internal_address_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(EgressRefused):
        choose_literally(url)


def choose_literally(url: str) -> None:
    target = take_apart(url)
    addresses = literal(target)
    assert addresses is not None, "an address must not be left to the resolver"
    Guard().choose(target, addresses)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_a_public_address_is_public(address: str) -> None:
    assert not any(map(is_internal, embedded(ipaddress.ip_address(address))))


def test_a_plain_url_is_taken_apart() -> None:
    assert take_apart("HTTPS://Example.COM:8443/a b".replace(" ", "%20") + "?q=ü#frag") == Target(
        "https", "example.com", 8443, "/a%20b?q=%C3%BC"
    )
    assert take_apart("http://bücher.example/").host == "xn--bcher-kva.example"
    assert take_apart("http://example.com.").authority == "example.com"
    assert take_apart("http://[2606:4700::1111]:80/").authority == "[2606:4700::1111]"


def test_messages_never_hold_path_or_query() -> None:
    assert str(take_apart("https://hooks.example/T000/secret?sig=secret")) == "https://hooks.example"


@pytest.mark.parametrize(
    ("allow", "url", "is_allowed"),
    [
        ("127.0.0.0/8", "http://127.0.0.1:8080/", True),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/", True),
        ("127.0.0.0/8", "http://[64:ff9b::127.0.0.1]/", False),
        ("127.0.0.0/8", "http://10.0.0.1/", False),
        ("10.1.2.3:8080", "http://10.1.2.3:8080/", True),
        ("10.1.2.3:8080", "http://10.1.2.3:8081/", False),
        ("10.1.2.3:*", "http://10.1.2.3:8081/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
    ],
)
def test_the_operator_opens_networks_and_hosts(allow: str, url: str, is_allowed: bool) -> None:
    target = take_apart(url)
    addresses = [ipaddress.ip_address(each) for each in literal(target) or []]
    assert all(Guard([allow]).is_allowed(target, each) for each in addresses) == is_allowed


@pytest.mark.parametrize("port", [22, 25, 465, 587, 6667])
def test_a_request_never_goes_to_a_port_where_its_body_could_be_anothers_commands(port: int) -> None:
    with pytest.raises(EgressRefused, match=str(port)):
        take_apart(f"http://mail.example:{port}/")


@pytest.mark.parametrize(
    ("allow", "relay", "request_to", "is_relay_open", "is_request_open"),
    [
        ("smtp://10.1.2.3:2525", "10.1.2.3", "http://10.1.2.3:2525/", True, False),
        ("smtp://10.1.2.4:2525", "10.1.2.3", "http://10.1.2.4:2525/", False, False),
        ("10.1.2.3:2525", "10.1.2.3", "http://10.1.2.3:2525/", True, True),
        ("smtp://*.corp.example:*", "mail.corp.example", "http://mail.corp.example:2525/", True, False),
    ],
)
def test_what_is_opened_for_mail_is_opened_for_nothing_else(
    allow: str, relay: str, request_to: str, is_relay_open: bool, is_request_open: bool
) -> None:
    inside = ipaddress.ip_address("10.1.2.3")
    guard = Guard([allow])
    assert guard.is_allowed(mail_target(relay, 2525), inside) is is_relay_open
    assert guard.is_allowed(take_apart(request_to), inside) is is_request_open


def test_a_host_that_was_opened_by_name_is_not_opened_by_address() -> None:
    guard = Guard(["*.corp.example:443"])
    inside = ipaddress.ip_address("10.0.0.5")
    assert guard.is_allowed(take_apart("https://jira.corp.example/"), inside)
    assert not guard.is_allowed(take_apart("https://jira.corp.example:80/"), inside)
    assert not guard.is_allowed(take_apart("https://10.0.0.5/"), inside)


@pytest.mark.parametrize("entry", ["jira.internal", "10.0.0.1", "host:port", "10.0.0.1/8"])
def test_an_allow_list_that_cannot_be_meant_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"expected|host bits"):
        Guard([entry])


class Names:
    """A resolver that answers differently each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:10.0.0.1"])
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    web = Web(Guard(), Names([address]))
    with pytest.raises(ActionFailed) as failure:
        await web.request(HttpRequest(method="GET", url="http://innocent.example/"))
    assert failure.value.code == "egress_refused"
    assert not failure.value.is_retryable


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    """Rebinding: there is no second resolution after the check that could answer otherwise."""
    names = Names(["203.0.113.1", "127.0.0.1"], ["127.0.0.1"])
    guard = Guard(["203.0.113.0/24"])
    assert [str(each) for each in guard.choose(take_apart("http://r.example/"), names.answers[0])] == [
        "203.0.113.1"
    ]
    web = Web(Guard(), Names(["127.0.0.1"]))
    with pytest.raises(ActionFailed, match="internal"):
        await web.request(HttpRequest(method="GET", url="http://r.example/"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nHost: inside"),
        ("x", "a\nb"),
        ("x", "a\x00b"),
        ("x\r\ny", "a"),
        ("x y", "a"),
        ("", "a"),
        ("x:", "a"),
        ("Host", "inside"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("x", "snow\u2603man"),
    ],
)
def test_a_header_that_would_break_the_framing_is_refused(name: str, value: str) -> None:
    with pytest.raises(ActionFailed) as failure:
        check(HttpRequest(method="GET", url="http://example.com/", headers={name: value}))
    assert failure.value.code == "invalid_request"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET /x HTTP/1.1\r\n", "get", ""])
def test_a_method_that_is_not_for_actions_is_refused(method: str) -> None:
    with pytest.raises(ActionFailed):
        check(HttpRequest(method=method, url="http://example.com/"))
