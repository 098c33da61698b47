"""Slack's incoming webhooks as they are on the wire: what they answer, what they refuse, and how they fail."""

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field

from outlast.testing.wire_server import WireServer

PATH = "/services/T0OUTLAST/B0WEBHOOK/s3cr3tOfTheWebhook12345678"


@dataclass
class SlackServer(WireServer):
    """Takes messages at `webhook`, and answers each as the next of `answers` says, "ok" where there is none left.

    An answer is a status line and a body ("404 Not Found", "no_service"), or "hang", "reset", "drip" or "drop" after
    the message was posted.
    """

    posted: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    answers: deque[tuple[str, ...]] = field(default_factory=deque[tuple[str, ...]])

    @property
    def webhook(self) -> str:
        """The URL that is a secret."""
        return self.url + PATH

    async def _services(self, path: str, writer: asyncio.StreamWriter) -> bool:
        if path != PATH:
            self._write(writer, "404 Not Found", b"no_service")
            return True
        answer = self.answers.popleft() if self.answers else ("200 OK", "ok")
        try:
            message = json.loads(self.requests[-1].body)
        except ValueError:
            self._write(writer, "400 Bad Request", b"invalid_payload")
            return True
        if not message.get("text") and not message.get("blocks"):
            self._write(writer, "400 Bad Request", b"no_text")
            return True
        match answer:
            case ("hang" | "reset" | "drip" | "drop",):
                self.posted.append(message)
                return await self._fail(answer[0], path, writer)
            case (status, body, *headers):
                if status.startswith("200"):
                    self.posted.append(message)
                self._write(writer, status, body.encode(), *headers)
            case _:
                raise AssertionError(f"expected an answer, got {answer}")
        return True

    async def _fail(self, how: str, path: str, writer: asyncio.StreamWriter) -> bool:
        if how == "drop":
            return False
        return await {"hang": self._hang, "reset": self._reset, "drip": self._drip}[how](path, writer)
