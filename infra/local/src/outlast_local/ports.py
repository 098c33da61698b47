"""Ports: one block of neighbours a copy of the system, remembered in its run folder.

OUTLAST_PORT_BASE fixes the block. Otherwise the block is searched below the range that the kernel hands out
to outgoing connections, so that no client can take a server's port while that server restarts; the search
starts at a place that depends on the run folder, so that two clones rarely meet.
"""

import hashlib
import json
import os
import socket
from dataclasses import dataclass

from outlast_local.layout import RunFolder

BLOCK_SIZE = 32
LOWEST_PORT = 20_000
HIGHEST_PORT = 32_000


@dataclass(frozen=True)
class Ports:
    """One block: the servers first, then the API ports, then the health ports."""

    base: int

    @property
    def kafka(self) -> int:
        """The broker's client port."""
        return self.base

    @property
    def kafka_controller(self) -> int:
        """The broker's own quorum port."""
        return self.base + 1

    @property
    def postgres(self) -> int:
        """Postgres."""
        return self.base + 2

    def api(self, number: int) -> int:
        """The API port of the service with this number."""
        return self.base + 4 + number

    def health(self, number: int) -> int:
        """The health and metrics port of the service with this number."""
        return self.base + 18 + number


def choose_ports(folder: RunFolder) -> Ports:
    """The block of this run folder: fixed by the environment, remembered and still free, or newly found."""
    if fixed := os.environ.get("OUTLAST_PORT_BASE"):
        if not fixed.isdigit() or not 1024 <= int(fixed) <= 65_535 - BLOCK_SIZE:
            raise ValueError(
                f"expected OUTLAST_PORT_BASE between 1024 and {65_535 - BLOCK_SIZE}, got {fixed!r}"
            )
        return Ports(int(fixed))
    remembered = _remembered(folder)
    if remembered is not None and _block_is_free(remembered):
        return Ports(remembered)
    blocks = (HIGHEST_PORT - LOWEST_PORT) // BLOCK_SIZE
    start = int.from_bytes(hashlib.sha256(str(folder.root).encode()).digest()[:4]) % blocks
    for step in range(blocks):
        base = LOWEST_PORT + (start + step) % blocks * BLOCK_SIZE
        if _block_is_free(base):
            folder.ports.write_text(json.dumps({"base": base}))
            return Ports(base)
    raise OSError(
        f"expected {BLOCK_SIZE} free neighbouring ports from {LOWEST_PORT} to {HIGHEST_PORT}, found none"
    )


def _remembered(folder: RunFolder) -> int | None:
    try:
        base = json.loads(folder.ports.read_text())["base"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if isinstance(base, int) else None


def _block_is_free(base: int) -> bool:
    for port in range(base, base + BLOCK_SIZE):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
