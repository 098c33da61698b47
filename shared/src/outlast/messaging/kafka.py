"""The ports on a real broker, with confluent-kafka: 4 µs a message in, 7 µs out, a group that heals by
itself.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outlast.contracts.topics import DEAD_LETTER_ENVELOPE_BYTES, Claim, TopicPartition
from outlast.errors import LimitExceeded, PermanentError, TransientError
from outlast.limits import MESSAGE_BYTES_MAX
from outlast.messaging.member import CONNECTION, QUIET, Member
from outlast.messaging.membership import Alarm, Membership
from outlast.messaging.ports import InstanceTaken, Outgoing, Owner, Received
from outlast.messaging.topics import TopicAdmin, contract_of

__all__ = ["InstanceTaken", "KafkaSink", "KafkaSource"]

MESSAGE_TIMEOUT_MS = 30_000
"""After this a message that no broker took is reported as failed, so that `flush` always ends."""
FLUSH_SECONDS_MAX = MESSAGE_TIMEOUT_MS / 1000 + 5
SEND_SECONDS_MAX = 5.0
"""How long `send` waits for room in a full queue; the queue holds far more than a batch makes."""
SEND_SLICE_SECONDS = 0.05
QUEUE_MESSAGES_MAX = 200_000
QUEUE_KILOBYTES_MAX = 256 * 1024
METADATA_SECONDS_MAX = 5.0
LINGER_MS = 5.0
"""Nothing waits for it: what one `send` queued is drained at once, and draining does not linger. While the batch is
being queued it keeps the client from sending it in many small requests, which cost the broker most."""

T = TypeVar("T")
_log = structlog.get_logger()

_TOPIC_MISSING = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
_HOPELESS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


class KafkaSource:
    """`ports.Source` on a broker: a static member of a classic cooperative group.

    `instance_id` is unique in the group and the same after a restart: the restarted process then takes
    over at once instead of after the session. `alarm(kind, at)` is called for what an operator must see.
    Polls of one source do not overlap. After a lost connection nothing is delivered until the topics' ids
    are compared; a topic that is gone is created again from contracts/, and everything is acquired anew.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        instance_id: str,
        topics: Iterable[str],
        owner: Owner,
        *,
        client_id: str,
        alarm: Alarm = lambda _kind, _at: None,
    ) -> None:
        member = Member(bootstrap, group, instance_id, client_id)
        self._owner = owner
        self._membership = Membership(member, topics, self._acquire, self._release, alarm)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"source-{group}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._polling: asyncio.Future[list[Received]] | None = None
        self._is_closed = False

    @property
    def is_broker_away(self) -> bool:
        """Whether the last turn found no broker that answers; polls return nothing meanwhile."""
        return self._membership.is_broker_away

    async def poll(self, messages_max: int, timeout_seconds: float) -> Sequence[Received]:
        """As the port says. A poll that is cancelled loses nothing: the next one returns what it got.

        Raises what the owner raised, TransientError when it could not acquire for a minute, InstanceTaken
        when another process has joined under our instance id.
        """
        if self._polling is None:
            self._loop = asyncio.get_running_loop()
            self._polling = self._loop.run_in_executor(
                self._thread, self._membership.poll, messages_max, timeout_seconds
            )
        polling = self._polling
        try:
            return await asyncio.shield(polling)
        finally:
            if polling.done():
                self._polling = None

    def position(self, offsets: Mapping[TopicPartition, int]) -> None:
        """As the port says."""
        self._membership.position(offsets)

    async def pause(self, partitions: Collection[TopicPartition]) -> None:
        """As the port says. A partition that is lost and comes back is not paused any more."""
        await self._between_polls(lambda: self._membership.pause(partitions))

    async def resume(self, partitions: Collection[TopicPartition]) -> None:
        """As the port says."""
        await self._between_polls(lambda: self._membership.resume(partitions))

    async def change_topics(self, topics: Iterable[str]) -> None:
        """Consume these topics from now on; partitions of topics that stay are not interrupted."""
        await self._between_polls(lambda: self._membership.change_topics(topics))

    async def rejoin(self) -> None:
        """As the port says: the owner is told to release all, then asked again by the next polls."""
        await self._between_polls(self._membership.leave)

    async def close(self) -> None:
        """As the port says. The owner is told to release. Closing twice is closing once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._membership.stop()
        try:
            await self._between_polls(self._membership.leave)
        finally:
            self._thread.shutdown(wait=False)

    async def _between_polls(self, call: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._membership.interrupt(+1)
        try:
            await self._loop.run_in_executor(self._thread, call)
        finally:
            self._membership.interrupt(-1)

    # ---- called on the thread; the event loop is free, because it awaits the thread

    def _acquire(self, claims: Sequence[Claim], timeout_seconds: float) -> Mapping[TopicPartition, int]:
        return self._on_loop(self._owner.acquire(claims), timeout_seconds)

    def _release(self, partitions: Collection[TopicPartition]) -> None:
        self._on_loop(self._owner.release(partitions), None)

    def _on_loop(self, call: Coroutine[Any, Any, T], timeout_seconds: float | None) -> T:
        assert self._loop is not None
        future: Future[T] = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(timeout_seconds)
        except FutureTimeoutError as late:
            if future.cancel():
                raise TransientError(f"expected the owner within {timeout_seconds} s") from late
            raise


class KafkaSink:
    """`ports.Sink` on a broker: idempotent, acknowledged by all in-sync replicas, nothing waits for company.

    What one `send` queues leaves together, beside the event loop, whether or not `flush` is called. One sink belongs
    to one task: a failed delivery is reported by the next `flush`, whoever calls it. A topic that is gone is created
    again from contracts/ before `flush` raises.
    """

    def __init__(
        self, bootstrap: str, client_id: str, *, compression: str = "none", linger_ms: float = LINGER_MS
    ) -> None:
        self._bootstrap = bootstrap
        self._settings: dict[str, object] = {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "compression.type": compression,
            "partitioner": "murmur2_random",
            "message.timeout.ms": MESSAGE_TIMEOUT_MS,
            "message.max.bytes": MESSAGE_BYTES_MAX + DEAD_LETTER_ENVELOPE_BYTES,
            "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
            "queue.buffering.max.kbytes": QUEUE_KILOBYTES_MAX,
            "topic.metadata.propagation.max.ms": 3_000,
            **QUIET,
            "retry.backoff.ms": 50,
            "delivery.report.only.error": True,
            "on_delivery": self._failed_delivery,
            "error_cb": self._note,
        }
        self._failures: list[tuple[str, KafkaError]] = []
        self._failures_count = 0
        self._is_fatal = False
        self._partition_counts: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{client_id}")
        self._producer = Producer(self._settings)
        self._draining: Future[None] | None = None

    def send(self, messages: Sequence[Outgoing]) -> None:
        """As the port says. LimitExceeded, with nothing queued, if one of them is too large for our topics.

        If the queue is full (the broker is away or slow) it waits a little, then raises TransientError;
        what was queued of the batch stays queued.
        """
        for message in messages:
            size = len(message.value) if message.value is not None else 0
            if size > MESSAGE_BYTES_MAX:
                raise LimitExceeded("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX, size)
        for message in messages:
            self._produce(message)
        self._producer.poll(0)
        if messages and (self._draining is None or self._draining.done()):
            self._draining = self._thread.submit(self._drain)

    async def flush(self) -> None:
        """As the port says; ends after `MESSAGE_TIMEOUT_MS` at the latest."""
        producer = self._producer
        producer.poll(0)
        if self._draining is not None and not self._draining.done():
            await asyncio.shield(asyncio.wrap_future(self._draining))
        if len(producer):  # what was sent while an earlier draining ended
            await asyncio.get_running_loop().run_in_executor(self._thread, self._drain)
        if not (self._failures or self._is_fatal):
            return
        failures, self._failures = self._failures, []
        count, self._failures_count = self._failures_count, 0
        if self._is_fatal:
            self._is_fatal = False
            self._producer = Producer(self._settings)
        missing = {topic for topic, error in failures if error.code() in _TOPIC_MISSING}
        if missing:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._create_again, missing)
        reasons = ", ".join(sorted({f"{topic}: {error.name()}" for topic, error in failures}))
        is_hopeless = any(error.code() in _HOPELESS for _, error in failures)
        kind = PermanentError if is_hopeless else TransientError
        raise kind(f"expected all messages to be delivered, {count} were not ({reasons})")

    async def partition_count(self, topic: str) -> int:
        """As the port says. A topic that is missing is created first. TransientError if no broker answers."""
        known = self._partition_counts.get(topic)
        if known is None:
            known = await asyncio.get_running_loop().run_in_executor(self._thread, self._count, topic)
            self._partition_counts[topic] = known
        return known

    async def close(self) -> None:
        """As the port says."""
        try:
            await self.flush()
        finally:
            self._thread.shutdown(wait=False)

    def _produce(self, message: Outgoing) -> None:
        partition = -1 if message.partition is None else message.partition
        headers: list[tuple[str, str | bytes | None]] | None = [*message.headers] or None
        waited = 0.0
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, partition, headers=headers)
                return
            except BufferError as full:
                if waited >= SEND_SECONDS_MAX:
                    raise TransientError(f"expected room for a message to {message.topic}") from full
                self._producer.poll(SEND_SLICE_SECONDS)
                waited += SEND_SLICE_SECONDS
            except KafkaException as failure:
                self._failed(message.topic, failure.args[0])
                return

    def _failed_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed(message.topic() or "", error)

    def _failed(self, topic: str, error: KafkaError) -> None:
        self._failures_count += 1
        if len(self._failures) < 100:
            self._failures.append((topic, error))
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._is_fatal = True

    def _note(self, error: KafkaError) -> None:
        if error.fatal():
            self._is_fatal = True
        if error.code() not in CONNECTION:
            _log.info("kafka_error", code=error.name(), message=error.str())

    def _drain(self) -> None:
        if self._producer.flush(FLUSH_SECONDS_MAX):
            self._producer.purge()
            self._producer.flush(1.0)

    def _create_again(self, topics: set[str]) -> None:
        try:
            TopicAdmin(self._bootstrap).ensure(
                [contract_of(topic) for topic in sorted(topics)], at_least=self._partition_counts
            )
        except TransientError as away:
            _log.warning("topics_not_created", topics=sorted(topics), error=str(away))

    def _count(self, topic: str) -> int:
        found = TopicAdmin(self._bootstrap).describe([topic], METADATA_SECONDS_MAX)
        if topic not in found:
            found = TopicAdmin(self._bootstrap).ensure([contract_of(topic)])
        return found[topic].partitions
