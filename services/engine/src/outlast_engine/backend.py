"""The durable backend at the start of the process: the engine waits for it, says that it is away, and never dies of it.

What is lost later pauses the loop (outlast.runtime.loop) and is not said: what was begun as durable waits.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from outlast.runtime.health import Health
from outlast.runtime.logging import get_logger
from outlast_engine import metrics
from outlast_engine.status import StatusSpeaker

PAUSE_SECONDS_MIN = 0.25
PAUSE_SECONDS_MAX = 5.0

T = TypeVar("T")
log = get_logger(__name__)


async def construct(attempt: Callable[[], Awaitable[T]], status: StatusSpeaker, health: Health) -> T:
    """What the attempt makes, tried until it does. Whatever it fails of is said on the first failure: a refused
    connection, a missing database and a migration that does not apply are one thing to those who dispatch."""
    health.ready("database", False)
    pause_seconds, failures = PAUSE_SECONDS_MIN, 0
    while True:
        try:
            made = await attempt()
        except Exception as fault:  # noqa: BLE001 whatever keeps the backend away, the service stays and says so
            error = f"{type(fault).__name__}: {fault}"
            failures += 1
            if failures == 1:
                log.warning("durable_backend_away", error=error)
            metrics.BACKEND_FAILED.inc()
            metrics.DURABLE.set(0)
            health.fact("durable_backend", f"away: {error}")
            status.change("down")
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
            continue
        if failures:
            log.info("durable_backend_there", failures=failures)
        health.ready("database", True)
        health.fact("durable_backend", "there")
        return made
