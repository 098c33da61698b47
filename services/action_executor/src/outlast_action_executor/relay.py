"""Which server takes our mail, and in whose name it may be sent: the operator's settings, never a tenant's."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from outlast_action_executor.core.letters import LetterRefused, mailbox
from outlast_action_executor.guard import EgressRefused, Target, mail_target

Encryption = Literal["implicit", "required", "optional", "never"]
_STARTTLS: dict[str, Encryption] = {"required": "required", "optional": "optional", "never": "never"}
_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Relay:
    """The server, and how to speak to it."""

    target: Target
    encryption: Encryption
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Senders:
    """The address that mail comes from, and the others that companies may choose."""

    default: Address
    allowed: tuple[tuple[str, str], ...] = ()
    """Company and pattern of an address (`*` for any part)."""

    def of(self, company_id: str, wanted: str) -> Address:
        """The sender of a company's mail; LetterRefused for one that is not the company's to use."""
        if not wanted:
            return self.default
        chosen = mailbox(wanted, "from")
        address = chosen.addr_spec.lower()
        if address == self.default.addr_spec.lower() or any(
            company == company_id and fnmatch.fnmatchcase(address, pattern)
            for company, pattern in self.allowed
        ):
            return chosen
        raise LetterRefused(f"from: expected an address that the operator allows this company, got {address}")


def read_relay(url: str) -> Relay:
    """`smtp[s]://[user:password@]host[:port][?starttls=required|optional|never]`; ValueError without its secrets."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        target = mail_target(host, port or _PORTS.get(parts.scheme, 0))
    except EgressRefused as fault:
        raise ValueError(str(fault)) from fault
    except ValueError as fault:
        raise ValueError("expected a well-formed URL") from fault
    query = parse_qs(parts.query, keep_blank_values=True)
    (starttls,) = query.pop("starttls", ["required"])[-1:]
    if parts.scheme not in _PORTS or parts.path not in ("", "/") or query or parts.fragment:
        raise ValueError("expected smtp://user:password@host:port?starttls=required, or smtps://")
    if starttls not in _STARTTLS:
        raise ValueError(f"expected starttls to be one of {', '.join(_STARTTLS)}")
    encryption = "implicit" if parts.scheme == "smtps" else _STARTTLS[starttls]
    return Relay(target, encryption, unquote(parts.username or ""), unquote(parts.password or ""))


def read_senders(default: str, allowed: Sequence[str]) -> Senders:
    """`default`: an address; `allowed`: `company=pattern` each. ValueError for what is neither."""
    try:
        address = mailbox(default, "the sender")
    except LetterRefused as fault:
        raise ValueError(str(fault)) from fault
    pairs = [each.partition("=") for each in allowed]
    for company, _, pattern in pairs:
        if not company or "@" not in pattern:
            raise ValueError("expected company=address, such as acme=*@acme.example")
    return Senders(address, tuple((company, pattern.lower()) for company, _, pattern in pairs))
