"""What the engine says of itself on `engine.status`: whether durable work is taken, and again to a new topic.

One message at each change. Who reads the compacted topic from its beginning knows the last word of every instance;
when the topic is another one than before, its id tells, and the word is said again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol

from outlast.contracts import codec
from outlast.contracts.messages import EngineStatus
from outlast.contracts.topics import ENGINE_STATUS
from outlast.errors import OutlastError
from outlast.messaging.ports import Outgoing
from outlast.runtime.logging import get_logger
from outlast.runtime.service import Stop

CHECK_SECONDS = 5.0
"""Between two looks at the topic's id, and between two attempts at saying what could not be said."""

State = Literal["up", "down"]
log = get_logger(__name__)


class Speaking(Protocol):
    """The part of a sink that is needed here; its own, because a failed flush belongs to whoever flushes."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Queue in order."""
        ...

    async def flush(self) -> None:
        """Wait for the acknowledgement; TransientError if there is none."""
        ...

    async def partition_count(self, topic: str) -> int:
        """How many partitions the topic has; creates it if it is missing."""
        ...

    async def close(self) -> None:
        """Flush and close."""
        ...


class StatusSpeaker:
    """Says the last state that it was given, until the broker has it."""

    def __init__(
        self,
        instance: str,
        sink: Speaking,
        topic_id: Callable[[], Awaitable[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._instance = instance
        self._sink = sink
        self._topic_id = topic_id
        self._now = now
        self._status: EngineStatus | None = None
        self._said: tuple[EngineStatus, str] | None = None
        self._is_new = asyncio.Event()

    def change(self, state: State) -> None:
        """This is the state from now on. The same state again is no change."""
        if self._status is None or self._status.state != state:
            self._status = EngineStatus(instance=self._instance, state=state, at=self._now())
            self._is_new.set()

    async def speak(self, stop: Stop) -> None:
        """Until the stop: say what is new, look whether the topic is. At the stop nothing is said: a process that is
        replaced is not a backend that is away."""
        try:
            while not stop.is_set():
                self._is_new.clear()
                try:
                    await self._say()
                except OutlastError as fault:
                    log.warning("status_not_said", error=str(fault))
                await self._pause(stop)
        finally:
            with contextlib.suppress(OutlastError):
                await self._sink.close()

    async def _say(self) -> None:
        status = self._status
        if status is None:
            return
        topic_id = await self._topic_id()
        if self._said == (status, topic_id):
            return
        await self._sink.partition_count(ENGINE_STATUS)
        self._sink.send([Outgoing(ENGINE_STATUS, codec.encode(status), self._instance.encode(), 0)])
        await self._sink.flush()
        self._said = (status, topic_id)
        log.info("status_said", state=status.state, topic_id=topic_id)

    async def _pause(self, stop: Stop) -> None:
        waits = {asyncio.ensure_future(self._is_new.wait()), asyncio.ensure_future(stop.wait(CHECK_SECONDS))}
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
