"""A mail relay for the sample runbooks: takes every mail on the loopback and passes it on to nobody."""

import re
import socketserver
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import cast

MAIL_BYTES_MAX = 1024 * 1024
LINE_BYTES_MAX = 2_000
RECIPIENTS_MAX = 100
IDLE_SECONDS_MAX = 60
_PATH = re.compile(rb"(?i)(mail from|rcpt to):\s*<([^<>]*)>")

Keep = Callable[[dict[str, object]], int]


class MailReceiver(socketserver.ThreadingTCPServer):
    """Gives each mail to `keep`: who sent it, who was to get it, its headers and its text."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], keep: Keep) -> None:
        super().__init__(address, _Conversation)
        self.keep = keep


class _Conversation(socketserver.StreamRequestHandler):
    """As much SMTP (RFC 5321) as a sender needs who neither encrypts nor authenticates."""

    timeout = IDLE_SECONDS_MAX
    server: MailReceiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        sender, recipients = "", list[str]()
        self._say("220 samples ready")
        while line := self.rfile.readline(LINE_BYTES_MAX):
            verb = line[:4].upper()
            named = _PATH.match(line)
            if verb in (b"EHLO", b"HELO", b"NOOP"):
                self._say("250 samples")
            elif verb == b"RSET" or (named and verb == b"MAIL"):
                sender, recipients = named[2].decode("latin-1") if named else "", []
                self._say("250 OK")
            elif named and verb == b"RCPT" and len(recipients) < RECIPIENTS_MAX:
                recipients.append(named[2].decode("latin-1"))
                self._say("250 OK")
            elif verb == b"DATA" and recipients:
                self._say("354 end with a dot")
                content = self._content()
                if content is None:
                    return
                number = self.server.keep(_entry(sender, recipients, content))
                self._say(f"250 OK: kept as {number}")
                recipients = []
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("503 not now")

    def _content(self) -> bytes | None:
        """The mail up to its dot; None if the sender went away or it is too large."""
        lines: list[bytes] = []
        size = 0
        while (line := self.rfile.readline(LINE_BYTES_MAX)) and size < MAIL_BYTES_MAX:
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line.removeprefix(b"."))
            size += len(line)
        return None

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def _entry(sender: str, recipients: list[str], content: bytes) -> dict[str, object]:
    message = cast(EmailMessage, message_from_bytes(content, policy=default))
    plain = message.get_body(("plain",))
    text = plain.get_content().replace("\r\n", "\n") if plain is not None else ""
    return {
        "path": "/mail",
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "body": {"from": sender, "to": recipients, "text": text},
    }
