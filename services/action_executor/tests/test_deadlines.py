"""A call ends when its time is up, and only then."""

import asyncio

import pytest

from outlast_action_executor.deadlines import Deadlines

LONG_SECONDS = 30.0


def test_what_takes_too_long_is_a_time_out_and_its_neighbour_is_left_alone() -> None:
    async def main() -> None:
        deadlines, go_on = Deadlines(), asyncio.Event()

        async def call(seconds: float) -> str:
            with deadlines.within(seconds):
                await go_on.wait()
            return "done"

        neighbour = asyncio.create_task(call(LONG_SECONDS))
        with pytest.raises(TimeoutError):
            await asyncio.create_task(call(0.01))
        go_on.set()
        assert await neighbour == "done"
        assert deadlines.ends == {}

    asyncio.run(main())


def test_a_task_may_go_on_after_its_time_out() -> None:
    async def main() -> int:
        deadlines = Deadlines()
        with pytest.raises(TimeoutError):
            with deadlines.within(0.01):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def main() -> None:
        deadlines = Deadlines()

        async def call() -> None:
            with deadlines.within(LONG_SECONDS):
                await asyncio.Event().wait()

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_an_exception_passes_as_it_is() -> None:
    async def main() -> None:
        with Deadlines().within(LONG_SECONDS):
            raise KeyError("of the action")

    with pytest.raises(KeyError):
        asyncio.run(main())
