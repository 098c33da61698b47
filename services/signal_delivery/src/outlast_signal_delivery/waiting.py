"""Requests that wait for verdicts: one question to the database for all of them, at once when a verdict is stored
here, a few times a second for what other processes store.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from outlast.errors import OutlastError
from outlast.runtime.logging import get_logger
from outlast_signal_delivery.limits import WAITS_AT_ONCE_MAX
from outlast_signal_delivery.store import SignalStore

LOOK_SECONDS = 0.25

log = get_logger(__name__)


class Waiting:
    """Who waits for which signal."""

    def __init__(self, store: SignalStore) -> None:
        self._store = store
        self._waits: dict[str, list[asyncio.Future[None]]] = {}
        self._count = 0
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def note(self, delivery_ids: Iterable[str]) -> None:
        """These have got verdicts."""
        if any(each in self._waits for each in delivery_ids):
            self._news.set()

    async def settled(self, delivery_id: str, seconds: float) -> None:
        """Return when every run that the signal went to has answered, or when the time is over."""
        if self._count >= WAITS_AT_ONCE_MAX:
            return
        waits = self._waits.setdefault(delivery_id, [])
        mine = asyncio.get_running_loop().create_future()
        waits.append(mine)
        self._count += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        self._news.set()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(mine, seconds)
        finally:
            self._count -= 1
            waits.remove(mine)
            if not waits:
                self._waits.pop(delivery_id, None)

    async def _look(self) -> None:
        while self._waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
            self._news.clear()
            try:
                found = await self._store.shown(list(self._waits))
            except OutlastError as fault:
                log.warning("waits_not_looked_up", error=str(fault))
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for name, shown in found.items():
                if shown.is_settled:
                    for each in self._waits.get(name, ()):
                        if not each.done():
                            each.set_result(None)
        self._looking = None
