"""Mail to the outside, for actions: over the operator's relay, to an address that the guard has allowed.

A connection a mail. What the relay answers decides: 4yz may pass, 5yz will not, and a connection that ends between
the mail and its answer leaves an outcome that nobody knows.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable

import aiosmtplib

from outlast.actions import ActionFailed, Mail, MailReceipt, MailRefusal
from outlast.limits import ERROR_EXCERPT_CHARACTERS_MAX
from outlast_action_executor.core.letters import Letter, LetterRefused, write_letter
from outlast_action_executor.guard import EgressRefused, Guard, literal
from outlast_action_executor.relay import Relay, Senders
from outlast_action_executor.web import CONNECT_SECONDS_MAX, Resolver, SystemResolver

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class NoMailer:
    """The port `Mailer` where no relay is set."""

    async def send(self, mail: Mail) -> MailReceipt:
        """Fails."""
        raise ActionFailed(
            "mail_not_configured", "expected a mail relay (OUTLAST_ACTION_EXECUTOR_SMTP_URL), but none is set"
        )


class SmtpMailer:
    """The port `Mailer`."""

    def __init__(
        self,
        relay: Relay,
        senders: Senders,
        guard: Guard,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._relay = relay
        self._senders = senders
        self._guard = guard
        self._resolver = resolver or SystemResolver()
        self._tls = tls

    async def send(self, mail: Mail) -> MailReceipt:
        """What became of it, once the relay has taken it for at least one recipient. ActionFailed otherwise."""
        try:
            letter = write_letter(mail, self._senders.of(mail.company_id, mail.sender))
        except LetterRefused as refusal:
            raise ActionFailed("invalid_mail", str(refusal)) from refusal
        conversation = _Conversation(self._relay, self._tls_context)
        try:
            async with asyncio.timeout(mail.within_seconds):
                sock = await self._dial()
                return await conversation.send(letter, sock)
        except (aiosmtplib.SMTPException, OSError) as fault:  # a TimeoutError is an OSError
            raise conversation.failure(fault) from fault
        finally:
            conversation.close()

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    async def _dial(self) -> socket.socket:
        """A connected socket: made to an address that was checked after the name was resolved, like any other."""
        target = self._relay.target
        try:
            addresses = literal(target) or await self._resolver.resolve(target.host, target.port)
        except (OSError, UnicodeError) as fault:
            raise ActionFailed(
                "dns_failed", f"{target}: the name has no address", is_retryable=True
            ) from fault
        try:
            allowed = self._guard.choose(target, addresses)
        except EgressRefused as refusal:
            raise ActionFailed("egress_refused", str(refusal)) from refusal
        failure: OSError | None = None
        for address in allowed:
            sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    await asyncio.get_running_loop().sock_connect(sock, (str(address), target.port))
                return sock
            except OSError as fault:
                failure = fault
                sock.close()
            except BaseException:
                sock.close()
                raise
        reason = type(failure).__name__
        raise ActionFailed(
            "connection_failed", f"{target}: no connection ({reason})", is_retryable=True
        ) from failure


class _Conversation:
    """One connection to the relay, and how far it has come."""

    def __init__(self, relay: Relay, tls: Callable[[], ssl.SSLContext]) -> None:
        self._relay = relay
        self._tls = tls
        self._client: aiosmtplib.SMTP | None = None
        self._sock: socket.socket | None = None
        self._is_handed_over = False
        """The mail is on its way: what goes wrong from here on leaves its outcome unknown."""
        self._is_authenticating = False

    async def send(self, letter: Letter, sock: socket.socket) -> MailReceipt:
        """Greet, encrypt, authenticate, hand over."""
        self._sock = sock
        is_implicit = self._relay.encryption == "implicit"
        self._client = client = aiosmtplib.SMTP(
            hostname=self._relay.target.host,
            sock=sock,
            use_tls=is_implicit,
            start_tls=False,
            tls_context=self._tls() if is_implicit else None,
            local_hostname=letter.sender.rpartition("@")[2],
            timeout=None,
        )
        await client.connect()
        is_encrypted = await self._greet(client)
        if self._relay.user:
            await self._authenticate(client, is_encrypted=is_encrypted)
        options = self._size_option(client, len(letter.data))
        await client.mail(letter.sender, options=options)
        accepted, refused = await self._address(client, letter.recipients)
        if not accepted:
            raise _refused_by_all(refused)
        self._is_handed_over = True
        reply = await client.data(letter.data)
        return MailReceipt(
            message_id=letter.message_id,
            accepted=tuple(accepted),
            refused=tuple(refused),
            reply=f"{reply.code} {_line(reply.message)}",
        )

    async def _greet(self, client: aiosmtplib.SMTP) -> bool:
        """EHLO, and STARTTLS as the relay is set; whether the connection is encrypted then."""
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError as fault:
            if fault.code == 421:
                raise
            await client.helo()
        encryption = self._relay.encryption
        if encryption in ("implicit", "never"):
            return encryption == "implicit"
        if client.supports_extension("starttls"):
            await client.starttls(server_hostname=self._relay.target.host, tls_context=self._tls())
            await client.ehlo()
            return True
        if encryption == "required":
            raise ActionFailed("tls_failed", f"{self._relay.target}: expected STARTTLS, it is not offered")
        return False

    async def _authenticate(self, client: aiosmtplib.SMTP, *, is_encrypted: bool) -> None:
        if not is_encrypted and self._relay.encryption != "never":
            raise ActionFailed(
                "tls_failed", f"{self._relay.target}: expected STARTTLS before a password is sent"
            )
        self._is_authenticating = True
        await client.login(self._relay.user, self._relay.password)
        self._is_authenticating = False

    def _size_option(self, client: aiosmtplib.SMTP, size: int) -> list[str]:
        if not client.supports_extension("size"):
            return []
        limit = client.esmtp_extensions.get("size", "")
        if limit.isdigit() and 0 < int(limit) < size:
            raise ActionFailed(
                "mail_too_large", f"{self._relay.target}: takes {limit} bytes, this mail has {size}"
            )
        return [f"SIZE={size}"]

    async def _address(
        self, client: aiosmtplib.SMTP, recipients: tuple[str, ...]
    ) -> tuple[list[str], list[MailRefusal]]:
        accepted: list[str] = []
        refused: list[MailRefusal] = []
        for recipient in recipients:
            try:
                await client.rcpt(recipient)
                accepted.append(recipient)
            except aiosmtplib.SMTPRecipientRefused as fault:
                if fault.code == 421 or not 400 <= fault.code < 600:
                    raise
                refused.append(MailRefusal(address=recipient, code=fault.code, reply=_line(fault.message)))
        return accepted, refused

    def failure(self, fault: Exception) -> ActionFailed:
        """What a conversation that ended otherwise means for the action. Nothing of AUTH is repeated in it."""
        target = self._relay.target
        if isinstance(fault, aiosmtplib.SMTPResponseException) and 400 <= fault.code < 600:
            said = "" if self._is_authenticating else f" {_line(fault.message)}"
            return ActionFailed(
                f"smtp_{fault.code}", f"{target}: {fault.code}{said}", is_retryable=fault.code < 500
            )
        if self._is_handed_over:
            message = f"{target}: no answer to the mail came back; it may have been taken"
            return ActionFailed("connection_lost", message, is_unknown=True)
        untrusted = fault if isinstance(fault, ssl.SSLCertVerificationError) else fault.__cause__
        if isinstance(untrusted, ssl.SSLCertVerificationError):
            message = f"{target}: the certificate is not trusted ({untrusted.verify_message})"
            return ActionFailed("tls_failed", message)
        if self._is_authenticating and type(fault) is aiosmtplib.SMTPException:
            return ActionFailed(
                "smtp_auth_failed", f"{target}: it offers no way to authenticate that we know"
            )
        is_late = isinstance(fault, TimeoutError)
        code = "timeout" if is_late else "connection_failed"
        message = (
            f"{target}: {'no answer in time' if is_late else 'the connection ended before the mail was sent'}"
        )
        return ActionFailed(code, message, is_retryable=True)

    def close(self) -> None:
        """Take leave without waiting for an answer."""
        client = self._client
        if client is not None and client.is_connected and client.protocol is not None:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                client.protocol.write(b"QUIT\r\n")
            client.close()
        elif self._sock is not None:
            self._sock.close()


def _refused_by_all(refused: list[MailRefusal]) -> ActionFailed:
    """No recipient was taken. As long as one may be taken later, it is tried again."""
    later = [each for each in refused if each.code < 500]
    shown = (later or refused)[0]
    message = f"no recipient was accepted; {shown.address}: {shown.code} {shown.reply}"
    return ActionFailed(f"smtp_{shown.code}", message, is_retryable=bool(later))


def _line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()[:ERROR_EXCERPT_CHARACTERS_MAX]
