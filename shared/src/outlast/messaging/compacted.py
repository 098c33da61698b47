"""Reading compacted topics whole: definitions, producers, identities, the catalogue.

No group and no offsets: every instance reads every partition from the beginning and keeps up. It is confluent-kafka
on a thread of its own, like the source: one client library to know, and two that share nothing would cost a loop
service twenty MB more than they save here (a few messages a minute).
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError
from confluent_kafka import TopicPartition as WirePartition

from outlast.contracts.topics import TopicPartition
from outlast.errors import TransientError
from outlast.messaging.heads import Heads
from outlast.messaging.member import CONNECTION, QUIET, SUSPICIOUS, to_received
from outlast.messaging.membership import ANSWER_SECONDS_MAX, VERIFY_EVERY_SECONDS
from outlast.messaging.ports import Received
from outlast.messaging.topics import TopicAdmin, TopicState, contract_of

SLICE_SECONDS = 0.25
"""How soon `close` is heard."""
HOP_SECONDS = 5.0
"""How long the thread waits for messages before it says that there are none."""
PAGE_MAX = 500
"""Records applied between two chances for other tasks."""

_log = structlog.get_logger()


class CompactedReader:
    """Applies every record of some compacted topics, from the beginning and then as they come.

    Per key in order, at least once: a record may be applied again, and `apply` keeps the newer revision. Absence
    never deletes: when a topic is lost and published again, it is read again under its new id, and what was applied
    stays. Head records are not applied. `headed` topics are not ready before they hold one. What `apply` raises ends
    `run`.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Iterable[str],
        apply: Callable[[Received], None],
        *,
        client_id: str,
        headed: Collection[str] = (),
    ) -> None:
        self._apply = apply
        self._heads = Heads(headed)
        self._reading = _Reading(bootstrap, client_id, sorted(set(topics)))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"compacted-{client_id}")
        self._ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether all that was there at the start, and every head's revision, has been applied. Stays true."""
        return self._ready.is_set()

    @property
    def is_broker_away(self) -> bool:
        """Whether the last look found no broker that answers."""
        return self._reading.is_broker_away

    async def ready(self) -> None:
        """Wait until `is_ready`. `run` must be running."""
        await self._ready.wait()

    async def run(self) -> None:
        """Read until `close`; run it as a task. The broker being away is waited for."""
        loop = asyncio.get_running_loop()
        while not self._reading.is_stopped:
            for received in await loop.run_in_executor(self._thread, self._reading.take):
                if not self._heads.note(received):
                    self._apply(received)
            if self._reading.is_caught_up and self._heads.are_reached:
                self._ready.set()

    async def close(self) -> None:
        """Stop reading; `run` returns."""
        self._reading.stop()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reading.close)
        self._thread.shutdown(wait=False)


class _Reading:
    """The thread's part: one consumer over all partitions, opened again when a topic is another one."""

    def __init__(self, bootstrap: str, client_id: str, topics: list[str]) -> None:
        self.is_broker_away = False
        self._topics = topics
        self._admin = TopicAdmin(bootstrap, client_id)
        self._settings: dict[str, object] = {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "group.id": client_id,  # the library wants one; without subscribing no group is joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 500,
            "queued.max.messages.kbytes": 16 * 1024,
            **QUIET,
            "error_cb": self._note,
        }
        self._consumer: Consumer | None = None
        self._states: dict[str, TopicState] = {}
        self._behind: set[TopicPartition] = set()
        self._has_opened = False
        self._is_suspect = False
        self._verify_at = 0.0
        self._stopping = threading.Event()

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_set()

    @property
    def is_caught_up(self) -> bool:
        """Whether the end of every partition has been seen."""
        return self._has_opened and not self._behind

    def stop(self) -> None:
        self._stopping.set()

    def take(self) -> list[Received]:
        """What has come; nothing after a while, or as soon as an end is reached."""
        deadline = time.monotonic() + HOP_SECONDS
        while not self._stopping.is_set() and time.monotonic() < deadline:
            consumer = self._sure_consumer()
            if consumer is None:
                self._stopping.wait(SLICE_SECONDS)
                continue
            first = consumer.poll(SLICE_SECONDS)
            if first is None:
                continue
            received: list[Received] = []
            for message in [first, *consumer.consume(PAGE_MAX - 1, 0)]:
                error = message.error()
                if error is None:
                    received.append(to_received(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._behind.discard(TopicPartition(message.topic() or "", message.partition() or 0))
                else:
                    self._note(error)
            return received
        return []

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _sure_consumer(self) -> Consumer | None:
        """The consumer, if its topics are known to be the ones there are now; None while the broker is away."""
        if self._consumer is not None and not self._is_suspect and time.monotonic() < self._verify_at:
            return self._consumer
        try:
            found = self._admin.describe(self._topics, ANSWER_SECONDS_MAX)
            missing = [contract_of(name) for name in self._topics if name not in found]
            found |= self._admin.ensure(missing) if missing else {}
        except TransientError as away:
            if not self.is_broker_away:
                _log.warning("broker_away", topics=self._topics, error=str(away))
            self.is_broker_away = True
            return None
        self.is_broker_away = False
        self._is_suspect = False
        self._verify_at = time.monotonic() + VERIFY_EVERY_SECONDS
        if self._consumer is None or _ids(found) != _ids(self._states):
            self._open(found)
        return self._consumer

    def _open(self, found: dict[str, TopicState]) -> None:
        if self._states:
            _log.error("topics_lost", was=_ids(self._states), now=_ids(found))
        self.close()
        self._states = found
        self._behind = {
            TopicPartition(name, p) for name, state in found.items() for p in range(state.partitions)
        }
        self._has_opened = True
        self._consumer = Consumer(self._settings)
        self._consumer.assign([WirePartition(*at, OFFSET_BEGINNING) for at in sorted(self._behind)])

    def _note(self, error: KafkaError) -> None:
        if error.code() in SUSPICIOUS:
            self._is_suspect = True
        if error.code() not in CONNECTION:
            _log.info("kafka_error", topics=self._topics, code=error.name(), message=error.str())


def _ids(states: dict[str, TopicState]) -> dict[str, tuple[str, int]]:
    return {name: (state.topic_id, state.partitions) for name, state in states.items()}
