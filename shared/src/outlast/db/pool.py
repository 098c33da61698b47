"""Connections to Postgres that come back by themselves.

Services start before their database does, and outlive its restarts: every wait is bounded and retried by the
caller, and what kind of failure it was is said by class.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from outlast.errors import DataRejected, TransientError

CONNECT_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 30.0


async def connect_pool(
    dsn: str,
    schema: str,
    size_max: int = 4,
    settings: Mapping[str, str] | None = None,
    *,
    is_reset: bool = True,
) -> asyncpg.Pool:
    """A pool whose connections look into `schema` first. Retries until the server answers.

    `search_path` is set per connection, so that statements name tables without the schema; `settings` are further
    parameters of every session, and survive the reset between two users of a connection. Without `is_reset` there
    is none, which saves a round trip: for pools whose users leave nothing behind in the session.
    """
    delay_seconds = 0.1
    while True:
        try:
            return await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=size_max,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=STATEMENT_TIMEOUT_SECONDS,
                max_inactive_connection_lifetime=0,
                reset=None if is_reset else _leave,
                server_settings={
                    "search_path": schema,
                    "application_name": f"outlast_{schema}",
                    "jit": "off",
                    **(settings or {}),
                },
            )
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, TimeoutError):
            await asyncio.sleep(delay_seconds * (0.5 + random.random() / 2))
            delay_seconds = min(delay_seconds * 2, 2.0)


async def _leave(_: asyncpg.Connection) -> None:
    """Take the session as the last user left it."""


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """One transaction. Raises DataRejected for a row the database will never take, TransientError for the rest.

    After a TransientError the outcome of a COMMIT is unknown: reload what was touched.
    """
    async with (
        classified(),
        pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection,
        connection.transaction(),
    ):
        yield connection  # pyright: ignore[reportReturnType] the pool hands out a proxy of Connection


@asynccontextmanager
async def classified() -> AsyncIterator[None]:
    """Translate the driver's exceptions into the reaction they need."""
    try:
        yield
    except (
        asyncpg.DataError,
        asyncpg.CheckViolationError,
        asyncpg.NotNullViolationError,
        asyncpg.ProgramLimitExceededError,  # a key that no index takes
        asyncpg.UntranslatableCharacterError,
    ) as fault:
        raise DataRejected(_without_row(fault)) from fault
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as fault:
        raise TransientError(f"{type(fault).__name__}: {fault}") from fault
    except asyncpg.InternalClientError as fault:  # the driver, when a session is ended in a bad moment
        raise TransientError(f"{type(fault).__name__}: {fault}") from fault


def _without_row(fault: asyncpg.PostgresError) -> str:
    """The complaint without its DETAIL, which shows the row: payloads are not for logs."""
    return str(fault).partition("\nDETAIL:")[0]
