"""Where a tenant's request may not go: into our own network, by whatever spelling, name, redirect or embedding.

A URL is taken apart once, strictly, and the connection is made to an address that was checked after it was resolved:
there is no second resolution that could answer otherwise. An operator opens single networks or hosts with
OUTLAST_EGRESS_ALLOW ("10.1.0.0/16, jira.internal:443, *.corp.example:*, smtp://mail.internal:587").
"""

import fnmatch
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, urlsplit

import idna

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_CHARACTERS_MAX = 8 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
_BAD_PORTS = (
    "1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 "
    "115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 "
    "556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 "
    "6666 6667 6668 6669 6679 6697 10080"
)
PORTS_REFUSED = frozenset(int(each) for each in _BAD_PORTS.split())
"""Where no web server is, but others that take a request's body for their own commands (mail!): Fetch's "bad ports"."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
_TARGET_SAFE = "!#$%&'()*+,/:;=?@[]~-._"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_ALSO_INTERNAL: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16")
)
"""Special-purpose networks (IANA's registries) that some Python releases call global."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_CLOUD_METADATA = frozenset({ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("100.100.100.200")})
"""Metadata services on addresses that look public, or could one day."""


class EgressRefused(Exception):
    """A request that must not leave; the message names the host, never path or query."""


class Target(NamedTuple):
    """A URL, taken apart."""

    scheme: str
    host: str
    """A name in lower case and ASCII, or an address in its shortest form."""
    port: int
    path: str
    """Path and query, as they go on the wire."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What connections and credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        """For messages: no path, no query (both may hold credentials)."""
        return f"{self.scheme}://{self.authority}"


@lru_cache(maxsize=4096)
def take_apart(url: str) -> Target:
    """The URL's parts; EgressRefused unless it is a plain http or https URL without credentials."""
    if len(url) > URL_CHARACTERS_MAX:
        raise EgressRefused(f"expected a URL of at most {URL_CHARACTERS_MAX} characters")
    if _FORBIDDEN_CHARACTERS.search(url):
        raise EgressRefused("expected a URL without white space, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise EgressRefused("expected a well-formed URL") from fault
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise EgressRefused(f"expected http or https, got {scheme[:20]!r}")
    if "@" in parts.netloc:
        raise EgressRefused("expected a URL without a user or password")
    host = _host(parts.hostname or "", is_bracketed="[" in parts.netloc)
    path = quote(parts.path or "/", safe=_TARGET_SAFE.replace("?", "").replace("#", ""))
    if parts.query:
        path += "?" + quote(parts.query, safe=_TARGET_SAFE.replace("#", ""))
    if port == 0:
        raise EgressRefused("expected a port from 1 to 65535")
    if port in PORTS_REFUSED:
        raise EgressRefused(f"expected a port that web servers use, got {port}")
    return Target(scheme, host, port or DEFAULT_PORTS[scheme], path)


def mail_target(host: str, port: int) -> Target:
    """A mail relay; EgressRefused unless it is a plain host and port."""
    if not 1 <= port <= 65535:
        raise EgressRefused("expected a port from 1 to 65535")
    return Target("smtp", _host(host, is_bracketed=":" in host), port, "")


@lru_cache(maxsize=1024)
def _host(text: str, *, is_bracketed: bool) -> str:
    if is_bracketed:
        try:
            return ipaddress.IPv6Address(text).compressed if "%" not in text else _refuse_host(text)
        except ValueError:
            return _refuse_host(text)
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        return _refuse_host(text)
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # 127.1, 0x7f000001, 2130706433, 0177.0.0.1: addresses to a resolver
        try:
            return ipaddress.IPv4Address(name).compressed
        except ValueError:
            return _refuse_host(text)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return _refuse_host(text)
    return name


def _refuse_host(text: str) -> str:
    shown = text.partition("%")[0][
        :100
    ]  # a path may have been written into the host, and credentials with it
    raise EgressRefused(f"expected a host name or a canonical address, got {shown!r}")


class Guard:
    """Which addresses may be connected to. `allow`: networks, and `host:port` patterns (`*` for any).

    `smtp://host:port` opens a mail relay to mail and to nothing else: tenants' requests stay away from it.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._networks: list[Network] = []
        self._hosts: list[tuple[str, str, str]] = []
        for entry in filter(None, (each.strip() for each in allow)):
            is_mail = entry.startswith("smtp://")
            host, colon, port = entry.removeprefix("smtp://").rpartition(":")
            if "/" in entry and not is_mail:
                self._networks.append(ipaddress.ip_network(entry))
            elif colon and host and (port == "*" or port.isdigit()):
                self._hosts.append(("smtp" if is_mail else "*", host.lower().strip("[]"), port))
            else:
                raise ValueError(f"expected a network (10.0.0.0/8) or host:port, got {entry!r}")

    def is_allowed(self, target: Target, address: Address) -> bool:
        """Whether this address may be connected to for that target."""
        if not any(is_internal(each) for each in embedded(address)):
            return True
        plain = getattr(address, "ipv4_mapped", None) or address
        if any(plain in network for network in self._networks if network.version == plain.version):
            return True
        return any(
            scheme in ("*", target.scheme)
            and fnmatch.fnmatchcase(target.host, host)
            and port in ("*", str(target.port))
            for scheme, host, port in self._hosts
        )

    def choose(self, target: Target, addresses: Sequence[str]) -> list[Address]:
        """The addresses that may be connected to, in order; EgressRefused if there is none."""
        allowed = [each for each in map(ipaddress.ip_address, addresses) if self.is_allowed(target, each)]
        if not allowed:
            raise EgressRefused(f"expected a public address, but {target.host} is an internal one")
        return allowed


def literal(target: Target) -> list[str] | None:
    """The address that the host is, if it is one; None for a name."""
    is_address = ":" in target.host or _NUMBER.fullmatch(target.host.rpartition(".")[2])
    return [target.host] if is_address else None


def embedded(address: Address) -> list[Address]:
    """The address and those that it carries inside: v4-mapped, v4-compatible, 6to4, Teredo, NAT64."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        if address in _NAT64:
            return [low]
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if address.teredo is not None:
            found += address.teredo
        if address in _COMPATIBLE or address in _NAT64_LOCAL:
            found.append(low)
    return found


def is_internal(address: Address) -> bool:
    """Private, loopback, link-local, shared, multicast, reserved, unspecified, metadata: anything not public."""
    return (
        not address.is_global
        or address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_link_local
        or address.is_unspecified
        or address in _CLOUD_METADATA
        or any(address in network for network in _ALSO_INTERNAL)
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )
