"""Running a loop as a task of a service: ready once it has turned, alive while it turns."""

from collections.abc import Callable

from outlast.runtime.health import Health
from outlast.runtime.loop import POLL_SECONDS, FencedLoop
from outlast.runtime.service import Stop

STUCK_SECONDS = 120.0
"""A loop that has not turned for so long is taken for dead: longer than any database or flush timeout."""


async def run_loop(
    loop: FencedLoop, name: str, health: Health, stop: Stop, monotonic: Callable[[], float]
) -> None:
    """Turn until the stop. The part `name` is ready after the first turn that found nothing away."""
    health.ready(name, False)
    others_are_alive = health.is_alive
    health.is_alive = lambda: others_are_alive() and monotonic() - loop.turned_at < STUCK_SECONDS
    while not stop.is_set():
        pause_seconds = await loop.turn(POLL_SECONDS)
        health.ready(name, pause_seconds == 0)
        if pause_seconds:
            await stop.wait(pause_seconds)
    await loop.finish()
