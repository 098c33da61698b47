"""A server to talk to, and the outside as actions see it."""

from collections.abc import AsyncIterator

import pytest

from outlast.testing.wire_server import WireServer
from outlast_action_executor.guard import Guard
from outlast_action_executor.web import Web


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    """A real server on a real socket."""
    server = WireServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """Requests to it."""
    web = Web(Guard(["127.0.0.0/8"]))
    yield web
    await web.close()
