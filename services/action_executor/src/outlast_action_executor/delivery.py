"""What the executor says, until the broker has acknowledged it: only then is a message done and its offset passed."""

from collections.abc import Sequence

from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing, Sink
from outlast.runtime.logging import get_logger
from outlast_action_executor.inbound import Item
from outlast_action_executor.ports import Concurrency

log = get_logger(__name__)


class Delivery:
    """Sends at once, and flushes beside the loop: one flush at a time, for all that was sent before it began."""

    def __init__(self, sink: Sink, concurrency: Concurrency) -> None:
        self._sink = sink
        self._concurrency = concurrency
        self._unacknowledged: list[tuple[Sequence[Item], Outgoing]] = []
        self._is_flushing = False
        self._must_repeat = False

    @property
    def is_empty(self) -> bool:
        """Whether everything said is acknowledged."""
        return not self._unacknowledged and not self._is_flushing

    @property
    def is_waiting(self) -> bool:
        """Whether something said waits for a flush to begin."""
        return bool(self._unacknowledged) and not self._is_flushing

    def send(self, said: Sequence[tuple[Sequence[Item], Outgoing]]) -> None:
        """Say each for its items, which are done when it is acknowledged. Never raises for the broker."""
        if not said:
            return
        self._unacknowledged += said
        try:
            self._sink.send([outgoing for _, outgoing in said])
        except TransientError as fault:
            self._must_repeat = True
            log.warning("not_sent", error=str(fault))

    async def flush(self) -> None:
        """Begin a flush, unless one is under way or nothing needs it."""
        if self.is_waiting:
            self._is_flushing = True
            await self._concurrency.begin([self._flush()])

    async def _flush(self) -> None:
        try:
            if self._must_repeat:
                self._must_repeat = False
                await self._concurrency.pause(0.1)
                self._sink.send([outgoing for _, outgoing in self._unacknowledged])
            said = len(self._unacknowledged)
            await self._sink.flush()
        except TransientError as fault:
            # a failure of what was sent during the flush may have been reported with it: everything goes again
            self._must_repeat = True
            log.warning("not_delivered", error=str(fault))
        else:
            for items, _ in self._unacknowledged[:said]:
                for item in items:
                    item.is_done = True
            del self._unacknowledged[:said]
        finally:
            self._is_flushing = False
