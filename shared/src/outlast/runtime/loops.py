"""Running a loop as a task of a service: ready once it has turned, alive while it turns."""

from collections.abc import Callable
from typing import Protocol

from outlast.runtime.health import Health
from outlast.runtime.loop import POLL_SECONDS
from outlast.runtime.service import Stop

STUCK_SECONDS = 120.0
"""A loop that has not turned for so long is taken for dead: longer than any database or flush timeout."""
FOLLOWER_LINGER_SECONDS = 0.025
"""Of loops that follow what others do: hardly anybody waits for them, and a turn costs as much as ten messages."""


class Turning(Protocol):
    """A loop (outlast.runtime.loop.FencedLoop) as far as it is run."""

    turned_at: float
    polled_at: float

    async def turn(self, timeout_seconds: float = 0.0) -> float:
        """One turn; how long to pause before the next."""
        ...

    async def finish(self) -> None:
        """The end."""
        ...


async def run_loop(
    loop: Turning,
    name: str,
    health: Health,
    stop: Stop,
    monotonic: Callable[[], float],
    linger_seconds: float = 0.0,
) -> None:
    """Turn until the stop. The part `name` is ready after the first turn that found nothing away.

    Messages that come within `linger_seconds` of those before wait for each other, and share a turn with its commit.
    One that comes after a silence waits for nothing.
    """
    health.ready(name, False)
    others_are_alive = health.is_alive
    health.is_alive = lambda: others_are_alive() and monotonic() - loop.turned_at < STUCK_SECONDS
    while not stop.is_set():
        lingering = loop.polled_at + linger_seconds - monotonic()
        if lingering > 0 and await stop.wait(lingering):
            break
        pause_seconds = await loop.turn(POLL_SECONDS)
        health.ready(name, pause_seconds == 0)
        if pause_seconds:
            await stop.wait(pause_seconds)
    await loop.finish()
