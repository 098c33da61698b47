"""A real HTTP server on a real socket, with the ways in which servers misbehave as modes of the path."""

import asyncio
import ssl
from dataclasses import dataclass, field


@dataclass
class Request:
    """What arrived, as bytes arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WireServer:
    """Answers by the path's first part; remembers every request and counts connections."""

    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    tls: ssl.SSLContext | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        scheme = "https" if self.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            self.closed.set()
            self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Request(method, path, headers, body))
        mode = path.split("?")[0].strip("/").split("/")[0] or "ok"
        return await getattr(self, f"_{mode}")(path, writer)

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + body)

    async def _ok(self, path: str, writer: asyncio.StreamWriter) -> bool:
        self._write(writer, "200 OK", b'{"ok":true}', "Content-Type: application/json")
        return True

    async def _text(self, path: str, writer: asyncio.StreamWriter) -> bool:
        self._write(writer, "201 Created", "grüß".encode(), "Content-Type: text/plain")
        return True

    async def _empty(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return True

    async def _status(self, path: str, writer: asyncio.StreamWriter) -> bool:
        _, _, status, *rest = path.split("/")
        headers = [f"Retry-After: {rest[0].replace('_', ' ')}"] if rest else []
        self._write(writer, f"{status} Because", b"the server says no: token-0123456789", *headers)
        return True

    async def _echo(self, path: str, writer: asyncio.StreamWriter) -> bool:
        request = self.requests[-1]
        said = f"{request.headers.get('authorization')} {path}".encode()
        self._write(writer, "400 Bad Request", said)
        return True

    async def _hang(self, path: str, writer: asyncio.StreamWriter) -> bool:
        await asyncio.Event().wait()
        return False

    async def _reset(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await writer.drain()
        return False

    async def _early(self, path: str, writer: asyncio.StreamWriter) -> bool:
        return False

    async def _drip(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def _huge(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
        for _ in range(1024):
            writer.write(b"x" * 65536)
            await writer.drain()
        return False

    async def _headers(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            writer.write(f"x-{number}: {'y' * 100}\r\n".encode())
        await writer.drain()
        return False

    async def _chunked(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        return True

    async def _unbounded(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        await writer.drain()
        writer.close()
        return False

    async def _interim(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        return await self._ok(path, writer)

    async def _garbage(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        return False

    async def _upgrade(self, path: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nnonsense"
        )
        return False

    async def _goodbye(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answers, promises to stay, and goes away."""
        self._write(writer, "200 OK", b"bye")
        await writer.drain()
        return False

    async def _stale(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """The second request on a connection finds it closed before any answer."""
        if len([r for r in self.requests if r.path == path]) == 2:
            return False
        return await self._ok(path, writer)

    async def _twice(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Two answers to one request, in one piece: the second is somebody's who got into the first."""
        first = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst"
        writer.write(first + b"HTTP/1.1 403 Forged\r\nx-forged: yes\r\ncontent-length: 6\r\n\r\nforged")
        return True

    async def _redirect(self, path: str, writer: asyncio.StreamWriter) -> bool:
        _, _, status, *rest = path.split("/", 3)
        self._write(writer, f"{status} Found", b"", f"Location: {rest[0]}")
        return True

    async def _loop(self, path: str, writer: asyncio.StreamWriter) -> bool:
        self._write(writer, "302 Found", b"", "Location: /loop")
        return True
