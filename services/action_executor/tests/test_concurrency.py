"""Calls beside the loop: nothing that was polled is lost, and whoever waits hears of every end."""

import asyncio
from collections.abc import Sequence

from outlast.messaging.ports import Received
from outlast_action_executor.concurrency import Tasks

MESSAGE = Received("t", 0, 0, 0, None, b"x")


class Source:
    """A poll that waits until there is a message."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.polls = 0

    async def poll(self, timeout_seconds: float) -> Sequence[Received]:
        self.polls += 1
        await self.arrived.wait()
        self.arrived.clear()
        return [MESSAGE]


async def test_a_call_that_ends_wakes_the_loop_and_the_poll_goes_on() -> None:
    tasks, source = Tasks(), Source()
    done = asyncio.Event()

    async def call() -> None:
        await done.wait()

    await tasks.begin([call()])
    waiting = asyncio.create_task(tasks.arrivals(source.poll, 60.0))
    await asyncio.sleep(0)
    done.set()
    assert await waiting == ()
    source.arrived.set()
    assert await tasks.arrivals(source.poll, 60.0) == [MESSAGE]
    assert source.polls == 1, "the poll outlived the turn that began it"
    await tasks.close()


async def test_a_poll_that_ends_between_two_turns_is_not_lost() -> None:
    tasks, source = Tasks(), Source()
    assert await tasks.arrivals(source.poll, 0.0) == ()
    source.arrived.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await tasks.arrivals(source.poll, 60.0) == [MESSAGE]
    await tasks.close()


async def test_a_wait_ends_at_its_time_and_at_a_wake() -> None:
    tasks, source = Tasks(), Source()
    assert await tasks.arrivals(source.poll, 0.001) == ()
    tasks.wake()
    assert await tasks.arrivals(source.poll, 60.0) == ()
    await tasks.close()


async def test_closing_ends_what_still_runs() -> None:
    tasks, source = Tasks(), Source()
    ended = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await tasks.begin([call()])
    await tasks.arrivals(source.poll, 0.0)
    await tasks.close()
    assert ended.is_set()
