"""A real SMTP server on a real socket (aiosmtpd); how relays misbehave is said by the recipients and by `replies`."""

import asyncio
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Taken:
    """A mail that the server has taken."""

    sender: str
    recipients: list[str]
    data: bytes
    is_encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        """The mail, read as a reader of mail would."""
        return cast(EmailMessage, message_from_bytes(self.data, policy=default))


@dataclass
class MailServer:
    """Remembers what it took. `NNN-anything@…` as recipient is answered NNN; the replies of other steps are set."""

    tls: ssl.SSLContext | None = None
    """For STARTTLS."""
    is_implicit: bool = False
    """TLS from the first byte on."""
    password: str = ""
    """Whoever gives another one is refused."""
    size_max: int = 1024 * 1024
    replies: dict[str, str] = field(default_factory=dict[str, str])
    """By step (EHLO, MAIL, DATA): a line instead of the usual; "drop" ends the connection, "hang" says nothing."""
    taken: list[Taken] = field(default_factory=list[Taken])
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _protocols: list[SMTP] = field(default_factory=list[SMTP])

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, "127.0.0.1", 0, ssl=self.tls if self.is_implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every conversation."""
        assert self._server is not None
        self._server.close()
        for protocol in self._protocols:
            _abort(protocol)
        await asyncio.sleep(0)

    def _protocol(self) -> SMTP:
        self.connections += 1
        protocol = SMTP(
            self,
            hostname="relay.test",
            data_size_limit=self.size_max,
            tls_context=None if self.is_implicit else self.tls,
            authenticator=self._authenticate if self.password else None,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        self._protocols.append(protocol)
        return protocol

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        is_right = data.password == self.password.encode()
        if is_right:
            return AuthResult(success=True, handled=False, auth_data=data.login.decode())
        # a server that repeats what it was told
        return AuthResult(
            success=False, handled=False, message=f"535 5.7.8 {data.password.decode()} is wrong"
        )

    async def _reply(self, step: str, server: SMTP, usual: str) -> str:
        reply = self.replies.get(step, usual)
        if reply == "drop":
            _abort(server)
        elif reply == "hang":
            await asyncio.Event().wait()
        return reply

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """aiosmtpd asks."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._reply("MAIL", server, "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """aiosmtpd asks."""
        code, dash, _ = address.partition("-")
        if dash and code.isdigit():
            return f"{code} {address} is not taken\r\n".strip()
        envelope.rcpt_tos.append(address)
        return await self._reply("RCPT", server, "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """aiosmtpd asks; the mail is taken whatever becomes of the answer, unless the answer refuses it."""
        reply = self.replies.get("DATA", "250 OK")
        if reply[0] not in "45":
            content = envelope.content
            assert isinstance(content, bytes)
            taken = Taken(
                sender=envelope.mail_from or "",
                recipients=list(envelope.rcpt_tos),
                data=content,
                is_encrypted=session.ssl is not None or self.is_implicit,
                user=str(session.auth_data or ""),
            )
            self.taken.append(taken)
        return await self._reply("DATA", server, "250 OK: queued as 7F3A")


def _abort(protocol: SMTP) -> None:
    if isinstance(protocol.transport, asyncio.WriteTransport):
        protocol.transport.abort()
