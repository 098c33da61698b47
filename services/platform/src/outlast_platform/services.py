"""What the routes work with; put together in app."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from outlast.clock import Clock
from outlast.runtime.tracing import HEADER, valid_traceparent
from outlast_platform.access import Keyring
from outlast_platform.store import Write
from outlast_platform.tenancy import Pools


@dataclass(frozen=True)
class Services:
    """Everything that a request needs."""

    pools: Pools
    keyring: Keyring
    clock: Clock
    new_id: Callable[[], str]
    wake_publisher: Callable[[], None]
    reading_reports: asyncio.Semaphore

    def write(self, traceparent: str = "") -> Write:
        """What the rows of one transaction share."""
        return Write(self.clock.now(), self.new_id, valid_traceparent(traceparent))


def services_of(request: Request) -> Services:
    """The services of the application that the request came to."""
    return request.app.state.services


def write_of(request: Request) -> Write:
    """What the rows that this request writes share."""
    return services_of(request).write(request.headers.get(HEADER, ""))
