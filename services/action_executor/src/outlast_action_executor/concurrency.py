"""The two ways to run calls beside the loop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import Any

from outlast.messaging.ports import Received
from outlast_action_executor.ports import Calls, Poll

POLL_SECONDS = 1.0


class Tasks:
    """Every call is a task of its own; the poll is one that outlives turns, so that nothing it read is lost."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[Sequence[Received]] | None = None

    async def begin(self, calls: Calls) -> None:
        """Start them all."""
        loop = asyncio.get_running_loop()
        for call in calls:
            self._running.add(loop.create_task(self._run(call)))

    async def arrivals(self, poll: Poll, wait_seconds: float) -> Sequence[Received]:
        """What the poll brought, once it or a call has ended."""
        if self._polling is None:
            self._polling = asyncio.ensure_future(poll(POLL_SECONDS))
            self._polling.add_done_callback(self._polled)
        if not self._wake.is_set() and wait_seconds > 0:
            alarm = asyncio.get_running_loop().call_later(wait_seconds, self._wake.set)
            await self._wake.wait()
            alarm.cancel()
        else:
            await asyncio.sleep(0)
        self._wake.clear()
        if not self._polling.done():
            return ()
        polling, self._polling = self._polling, None
        return polling.result()

    async def pause(self, seconds: float) -> None:
        """Sleep; the loop goes on beside it."""
        await asyncio.sleep(seconds)

    def wake(self) -> None:
        """Let `arrivals` return now."""
        self._wake.set()

    async def close(self) -> None:
        """Cancel what still runs."""
        left: list[asyncio.Task[Any]] = [*self._running]
        if self._polling is not None:
            left.append(self._polling)
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, call: Awaitable[None]) -> None:
        task = asyncio.current_task()
        try:
            await call
        except Exception as fault:  # noqa: BLE001 nobody awaits the task
            said = {"message": "a call ended in an exception of ours", "exception": fault, "task": task}
            asyncio.get_running_loop().call_exception_handler(said)
        finally:
            self._running.discard(task)  # pyright: ignore[reportArgumentType] we run in it
            self._wake.set()

    def _polled(self, _: asyncio.Task[Sequence[Received]]) -> None:
        self._wake.set()


class OneByOne:
    """Every call runs to its end before the loop goes on. Needs no event loop where nothing really waits."""

    async def begin(self, calls: Calls) -> None:
        """Run them in order."""
        left = list(calls)
        try:
            while left:
                await left.pop(0)
        finally:
            for call in left:
                call.close()

    async def arrivals(self, poll: Poll, wait_seconds: float) -> Sequence[Received]:
        """What one poll brings."""
        return await poll(min(wait_seconds, POLL_SECONDS))

    async def pause(self, seconds: float) -> None:
        """Whoever drives the turns sees to the time between them."""

    def wake(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing runs."""
