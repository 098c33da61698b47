"""A mail as it goes over the wire: checked addresses, headers of one line each, a Message-ID that attempts share. Pure.

The same mail under the same key gives the same bytes but for its date: a receiver that keeps Message-IDs tells the
second copy from a second mail.
"""

import hashlib
import re
from collections.abc import Iterable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import NamedTuple

import idna

from outlast.actions import Mail

MAIL_BYTES_MAX = 512 * 1024
"""A mail as it goes over the wire."""
RECIPIENTS_MAX = 50
"""Addresses in `to` and `cc` together."""
SUBJECT_CHARACTERS_MAX = 500
_NAME_CHARACTERS_MAX = 200
_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What may end a header's line, or stands on no line at all."""
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_POLICY = SMTP.clone(cte_type="7bit")


class LetterRefused(Exception):
    """A mail that must not be written so; the message begins with the place of the fault."""


class Letter(NamedTuple):
    """What is sent: the envelope and the bytes in it."""

    sender: str
    recipients: tuple[str, ...]
    """Each address once, `to` before `cc`."""
    data: bytes
    message_id: str


def mailbox(text: str, place: str) -> Address:
    """One address, `ana@example.org` or `Ana <ana@example.org>`; LetterRefused for several, or for none."""
    if _BREAKING.search(text):
        raise LetterRefused(f"{place}: expected one line without control characters")
    name, bracket, address = text.strip().rpartition("<")
    if bracket and not address.endswith(">"):
        return _refuse(text, place)
    local, _, domain = address.removesuffix(">").rpartition("@")
    name = name.strip().removeprefix('"').removesuffix('"').strip()
    try:
        domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return _refuse(text, place)
    is_address = len(local) <= 64 and _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)
    if not is_address or len(name) > _NAME_CHARACTERS_MAX or any(each in name for each in '<>"\\'):
        return _refuse(text, place)
    return Address(display_name=name, username=local, domain=domain)


def write_letter(mail: Mail, sender: Address) -> Letter:
    """The mail as bytes, from this sender; LetterRefused with the place of what does not fit."""
    to = _mailboxes(mail.to, "to")
    cc = _mailboxes(mail.cc, "cc")
    recipients = tuple(dict.fromkeys(each.addr_spec for each in (*to, *cc)))
    if not 1 <= len(recipients) <= RECIPIENTS_MAX:
        raise LetterRefused(f"to: expected 1 to {RECIPIENTS_MAX} recipients, got {len(recipients)}")
    if _BREAKING.search(mail.subject) or len(mail.subject) > SUBJECT_CHARACTERS_MAX:
        raise LetterRefused(
            f"subject: expected one line of at most {SUBJECT_CHARACTERS_MAX} characters, no control characters"
        )
    mark = hashlib.sha256(f"{mail.company_id}\n{mail.key}".encode()).hexdigest()[:40]
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    if to:
        message["To"] = to
    if cc:
        message["Cc"] = cc
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.at)
    message["Message-ID"] = message_id = f"<{mark}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies to this
    try:
        message.set_content(mail.text)
        if mail.html:
            message.add_alternative(mail.html, subtype="html")
            message.set_boundary(f"=_{mark}")
        data = message.as_bytes()
    except UnicodeEncodeError as fault:
        raise LetterRefused("text: expected Unicode text without lone surrogates") from fault
    if len(data) > MAIL_BYTES_MAX:
        raise LetterRefused(f"expected a mail of at most {MAIL_BYTES_MAX} bytes, got {len(data)}")
    return Letter(sender.addr_spec, recipients, data, message_id)


def _mailboxes(texts: Iterable[str], place: str) -> tuple[Address, ...]:
    return tuple(mailbox(text, f"{place}[{number}]") for number, text in enumerate(texts))


def _refuse(text: str, place: str) -> Address:
    raise LetterRefused(f"{place}: expected one mail address, got {text[:100]!r}")
