"""What the routes work with; `app` makes it, tests make their own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from outlast.clock import Clock
from outlast_signal_delivery.access import Keyring
from outlast_signal_delivery.store import NewSignal, SignalStore
from outlast_signal_delivery.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use."""

    store: SignalStore
    keyring: Keyring
    waiting: Waiting
    clock: Clock
    poke: Callable[[NewSignal], None]
    """Tells the owner of a recorded signal; may fail silently, the agenda finds the signal."""
    new_id: Callable[[], str]


def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    return request.app.state.services


ServicesAre = Annotated[Services, Depends(services_of)]
