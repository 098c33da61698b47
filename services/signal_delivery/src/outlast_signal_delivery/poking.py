"""Tells owners of recorded signals, through the broker. What the broker does not take the agenda finds later."""

import asyncio
import contextlib

from outlast.errors import OutlastError
from outlast.messaging.ports import Sink
from outlast.runtime.logging import get_logger
from outlast.runtime.service import Stop
from outlast_signal_delivery import metrics
from outlast_signal_delivery.outbound import poke
from outlast_signal_delivery.store import NewSignal

WAITING_MAX = 1_000

log = get_logger(__name__)


class Poker:
    """One task over one sink; requests never wait for it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: asyncio.Queue[NewSignal] = asyncio.Queue(WAITING_MAX)

    def poke(self, signal: NewSignal) -> None:
        """Say it soon. A full queue says nothing: its signals are found by the agenda."""
        try:
            self._queue.put_nowait(signal)
        except asyncio.QueueFull:
            metrics.pokes_lost.inc()

    async def run(self, stop: Stop) -> None:
        """Say what there is until the stop."""
        stopping = asyncio.create_task(stop.event.wait())
        while not stopping.done():
            getting = asyncio.create_task(self._queue.get())
            await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                getting.cancel()
                break
            batch = [getting.result()]
            with contextlib.suppress(asyncio.QueueEmpty):
                while True:
                    batch.append(self._queue.get_nowait())
            await self._say(batch)

    async def _say(self, batch: list[NewSignal]) -> None:
        try:
            self._sink.send([poke(each) for each in batch])
            await self._sink.flush()
        except OutlastError as fault:
            metrics.pokes_lost.inc(len(batch))
            log.warning("pokes_lost", signals=len(batch), error=str(fault))
