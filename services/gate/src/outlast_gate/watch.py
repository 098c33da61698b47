"""Whether the gate does what it is here for, seen from outside of the stream processor.

It is known to stand still without a word: an agent that died, a table that is never restored, a topic made anew under
its name. So the watch asks the broker every few seconds, and ends the process where that helps: it is back in two
seconds, and the dispatch asks again whatever has no answer.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from outlast.contracts.topics import GATE_REQUESTS, TOPICS
from outlast.errors import OutlastError, TransientError
from outlast.messaging.ports import Sink
from outlast.messaging.topics import TopicAdmin
from outlast.runtime.logging import get_logger
from outlast.runtime.service import Stop
from outlast_gate import metrics
from outlast_gate.core.progress import Progress
from outlast_gate.stream import CHANGELOG, GROUP, Stream, changelog

LOOK_SECONDS = 2.0
STALLED_SECONDS = 10.0
"""Requests and no answer for so long: not alive."""
ENDED_SECONDS = 20.0
"""… and for so long: the process ends itself."""
UNREADY_SECONDS_MAX = 60.0
"""No lanes dealt for so long."""
BLIND_SECONDS_MAX = 120.0
"""A watch that has not looked for so long hangs, and so does the process."""

log = get_logger(__name__)


class Seen(NamedTuple):
    """What the broker says."""

    topic_ids: dict[str, str]
    ends: dict[int, int]
    committed: dict[int, int]


class Stalled(RuntimeError):
    """The process is of no use as it is, and ends to be started again."""


class Watch:
    """Looks every few seconds until the stop."""

    def __init__(
        self, admin: TopicAdmin, stream: Stream, sink: Sink, lanes: int, monotonic: Callable[[], float]
    ) -> None:
        self._admin, self._stream, self._sink, self._lanes = admin, stream, sink, lanes
        self._monotonic = monotonic
        self.progress = Progress()
        self._topic_ids: dict[str, str] = {}
        self._looked_at = self._unready_since = monotonic()

    def is_alive(self) -> bool:
        """Liveness: requests are answered, and the watch itself looks. Called from the health server's threads."""
        now = self._monotonic()
        return self.progress.idle_seconds(now) < STALLED_SECONDS and now - self._looked_at < BLIND_SECONDS_MAX

    async def run(self, stop: Stop) -> None:
        """Until the stop; Stalled when the process had better begin anew."""
        while not await stop.wait(LOOK_SECONDS):
            try:
                await self._sink.flush()
            except OutlastError as fault:
                metrics.UNDELIVERED.inc()
                log.warning("decisions_undelivered", error=str(fault))
            await self.look()

    async def look(self) -> None:
        """Once."""
        lanes = self._stream.lanes if self._stream.is_ready else set[int]()
        try:
            seen = await asyncio.to_thread(self._ask, self.progress.unknown(lanes))
        except TransientError as fault:
            log.warning("broker_away", error=str(fault))
            self._look_away()
            return
        now = self._looked_at = self._monotonic()
        self._compare_ids(seen.topic_ids)
        if not self._stream.is_ready:
            self.progress.forget()
            if now - self._unready_since > UNREADY_SECONDS_MAX:
                raise Stalled(f"expected lanes within {UNREADY_SECONDS_MAX:.0f} s of a start or a rebalance")
            return
        self._unready_since = now
        self.progress.begin(seen.committed)
        self.progress.look({lane: seen.ends[lane] for lane in lanes if lane in seen.ends}, now)
        idle_seconds = self.progress.idle_seconds(now)
        metrics.IDLE_SECONDS.set(idle_seconds)
        if idle_seconds >= ENDED_SECONDS:
            raise Stalled(f"expected answers, but a lane with requests stood still for {idle_seconds:.0f} s")

    def _look_away(self) -> None:
        self._looked_at = self._unready_since = self._monotonic()
        self.progress.pause()

    def _ask(self, unknown: set[int]) -> Seen:
        found = self._admin.describe([GATE_REQUESTS, CHANGELOG])
        if len(found) < 2:
            self._admin.ensure([topic for topic in TOPICS if topic.name == GATE_REQUESTS])
            found = self._admin.ensure([changelog(self._lanes)]) | self._admin.describe([GATE_REQUESTS])
        ends = self._admin.ends(GATE_REQUESTS, range(found[GATE_REQUESTS].partitions))
        committed = self._admin.committed(GROUP, GATE_REQUESTS, unknown) if unknown else {}
        return Seen({name: state.topic_id for name, state in found.items()}, ends, committed)

    def _compare_ids(self, topic_ids: dict[str, str]) -> None:
        """The stream processor skips what lies below the offsets that it has seen under the same name."""
        if not self._topic_ids:
            self._topic_ids = topic_ids
        if changed := sorted(name for name in topic_ids if self._topic_ids.get(name) != topic_ids[name]):
            raise Stalled(f"expected the topics that this process began with, but {changed} were made anew")
