"""The receiver of the POSTs: a plain HTTP/1.1 server that answers 200 and counts, in a process of its own.

Counts are taken before anything is deduplicated: requests, and distinct idempotency keys. `GET /arrivals` tells when
the first POST about each finding came since it was last asked (seconds of the monotonic clock).
"""

import asyncio
import json
import multiprocessing
import socket
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from typing import Any

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status": 200}'


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        requests: "Synchronized[int]",
        distinct: "Synchronized[int]",
        keys: set[bytes],
        arrivals: dict[str, float],
    ) -> None:
        self._requests, self._distinct, self._keys = requests, distinct, keys
        self._arrivals = arrivals
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length, key = 0, b""
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                lowered = name.lower()
                if lowered == b"content-length":
                    length = int(value)
                elif lowered == b"idempotency-key":
                    key = value.strip()
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            if head.startswith(b"GET "):
                self._tell()
                continue
            self._note(rest[:length])
            self._requests.value += 1
            if key not in self._keys:
                self._keys.add(key)
                self._distinct.value += 1
            self._transport.write(ANSWER)

    def _note(self, body: bytes) -> None:
        if (
            b'"finding"' in body
        ):  # only the calm load says which finding it is about: the storm is not slowed down
            self._arrivals.setdefault(str(json.loads(body)["finding"]), time.monotonic())

    def _tell(self) -> None:
        text = json.dumps(self._arrivals).encode()
        self._arrivals.clear()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        self._transport.write(head.encode() + text)


def _serve(listening: socket.socket, requests: "Synchronized[int]", distinct: "Synchronized[int]") -> None:
    async def main() -> None:
        keys: set[bytes] = set()
        arrivals: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(requests, distinct, keys, arrivals), sock=listening
        )
        await server.serve_forever()

    asyncio.run(main())


@dataclass
class Receiver:
    """A running receiver."""

    url: str
    process: multiprocessing.Process
    requests: Any
    distinct: Any

    @classmethod
    def start(cls) -> "Receiver":
        """Listen on a free port of the loopback."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        requests, distinct = (
            multiprocessing.Value("q", 0, lock=False),
            multiprocessing.Value("q", 0, lock=False),
        )
        process = multiprocessing.Process(target=_serve, args=(listening, requests, distinct), daemon=True)
        process.start()
        return cls(f"http://127.0.0.1:{listening.getsockname()[1]}/hook", process, requests, distinct)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.join(5)
