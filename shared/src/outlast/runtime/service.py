"""A service process: settings, logs, health, its loops, and an orderly end.

`run` starts what `build` makes, ends on SIGTERM or SIGINT within the grace time, and exits non-zero when a part
dies: the supervisor starts it again, and the fence makes that harmless. What it needs being away at the start has a
status of its own: whoever started it is to try again and need not give up.
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from outlast.errors import TransientError
from outlast.runtime.health import Health, serve_health
from outlast.runtime.logging import configure_logging, get_logger

GRACE_SECONDS = 20.0

log = get_logger(__name__)


@dataclass(slots=True)
class Stop:
    """Says when to stop, and waits no longer than that."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    def is_set(self) -> bool:
        """Whether the service is stopping."""
        return self.event.is_set()

    async def wait(self, seconds: float) -> bool:
        """Wait that long, or until the stop; True when stopping."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.event.wait(), seconds)
        return self.event.is_set()

    async def wait_for(self, other: asyncio.Event) -> None:
        """Wait until the other event is set, or until the stop."""
        waits = {asyncio.ensure_future(self.event.wait()), asyncio.ensure_future(other.wait())}
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()


@dataclass(slots=True)
class App:
    """What `build` returns: tasks that run until the stop, and what to close after them, in order."""

    tasks: dict[str, Coroutine[Any, Any, None]]
    closers: list[Callable[[], Awaitable[object]]] = field(
        default_factory=list[Callable[[], Awaitable[object]]]
    )


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The settings that every process has."""

    service: str
    instance: str
    log_level: str
    health_host: str
    health_port: int


Build = Callable[[Health, Stop], Awaitable[App]]


def run(
    settings: ProcessSettings,
    build: Build,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run one service until it is told to stop. Returns after an orderly end; else exits with status 1, or with
    EX_TEMPFAIL where it could not start because what it needs is away."""
    faulthandler.enable()
    configure_logging(settings.service, settings.instance, settings.log_level)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # batches make many objects that counting frees; cycles are few
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            is_orderly = runner.run(_run(settings, build))
    except TransientError as away:
        log.error("not_started", error=str(away))
        sys.exit(os.EX_TEMPFAIL)
    if not is_orderly:
        sys.exit(1)


async def _run(settings: ProcessSettings, build: Build) -> bool:
    health, stop = Health(), Stop()
    health.ready("started", False)
    server = serve_health(health, settings.health_host, settings.health_port)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.event.set)
    building = asyncio.ensure_future(build(health, stop))
    stopping = asyncio.ensure_future(stop.event.wait())
    await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not building.done():
        building.cancel()
        return True
    app = building.result()
    health.ready("started", True)
    log.info("started", tasks=sorted(app.tasks))
    tasks = {name: asyncio.create_task(work, name=name) for name, work in app.tasks.items()}
    await asyncio.wait({*tasks.values(), stopping}, return_when=asyncio.FIRST_COMPLETED)
    is_orderly = stop.is_set()
    stop.event.set()
    health.ready("started", False)
    _, late = await asyncio.wait(tasks.values(), timeout=GRACE_SECONDS)
    for task in late:
        task.cancel()
    for name, task in tasks.items():
        if task.done() and not task.cancelled() and task.exception() is not None:
            log.error("died", task=name, exc_info=task.exception())
            is_orderly = False
    for close in app.closers:
        try:
            await asyncio.wait_for(close(), 5.0)
        except Exception as fault:  # noqa: BLE001 the process ends; say what did not close
            log.warning("close_failed", error=f"{type(fault).__name__}: {fault}")
    server.shutdown()
    log.info("stopped", is_orderly=is_orderly)
    return is_orderly
