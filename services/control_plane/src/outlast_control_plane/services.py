"""What the routes work with; `app` makes it, tests make their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Protocol

import asyncpg
from fastapi import Depends, Request

from outlast.contracts.messages import Breaker, CatalogueAction, EngineStatus
from outlast_control_plane.access import Keyring
from outlast_control_plane.records import Records


class Catalogue(Protocol):
    """The action types that executors can run, as their topic has them."""

    def actions(self) -> Mapping[str, CatalogueAction] | None:
        """By name; None while the topic has not been read to its head."""
        ...


class EngineReports(Protocol):
    """What engine instances say of themselves."""

    def engines(self) -> Sequence[EngineStatus]:
        """The last word of every instance."""
        ...


class Breakers(Protocol):
    """What the finalizer says of circuit breakers."""

    def breaker(self, company_id: str, runbook_id: str) -> Breaker | None:
        """The runbook's; None while nothing was ever said of it, which means closed."""
        ...


class Topics(Protocol):
    """Makes the topic of a producer, and counts partitions."""

    async def create_producer_topic(self, producer: str) -> None:
        """The topic exists afterwards. TransientError: the broker is away."""
        ...

    async def partition_count(self, topic: str) -> int:
        """How many partitions one of our topics has. `unavailable` while the broker is away."""
        ...


class Platform(Protocol):
    """The platform service, as far as it is told something from here."""

    async def put_company(self, company_id: str, name: str) -> None:
        """The company exists afterwards. TransientError: the platform is away; Problem: it refuses."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use."""

    pool: asyncpg.Pool
    records: Records
    keyring: Keyring
    catalogue: Catalogue
    engines: EngineReports
    breakers: Breakers
    topics: Topics
    platform: Platform
    wake_publisher: Callable[[], None]
    new_key: Callable[[], str]
    new_id: Callable[[], str]
    """The id of a command."""
    now: Callable[[], datetime]
    engine_mode: str
    degrade_after: timedelta


def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    return request.app.state.services


ServicesAre = Annotated[Services, Depends(services_of)]
