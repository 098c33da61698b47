"""One member of a consumer group, on the one thread that talks to the broker and may block.

Here is what makes ownership safe: the owner is asked before a partition's first message, messages that
came before its start are dropped, and after a lost connection nothing is delivered until the topics are
known to be the same ones. `kafka.KafkaSource` puts it behind a coroutine.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as WirePartition

from outlast.contracts.topics import Claim, TopicPartition
from outlast.errors import TransientError
from outlast.messaging.member import CONNECTION, SUSPICIOUS, Member, to_received
from outlast.messaging.ports import InstanceTaken, Received, lost_topic_id
from outlast.messaging.topics import TopicAdmin, contract_of

SLICE_SECONDS = 0.1
"""The longest single wait inside librdkafka: how soon pause, close and the like get their turn."""
RETRY_SECONDS_FIRST = 0.05
RETRY_SECONDS_MAX = 2.0
ACQUIRE_SECONDS_MAX = 60.0
"""How long an assignment waits for an owner that cannot acquire (its database is away) before poll says so.
"""
ANSWER_SECONDS_MAX = 2.0
POSITION_EVERY_SECONDS = 5.0
VERIFY_EVERY_SECONDS = 15.0
"""Topic ids are compared after every lost connection, and this often for a topic recreated without one."""
LOOK_FIRST_SECONDS = 1.0
LOOK_EVERY_SECONDS = 60.0
"""After joining, and then this often, it is looked whether the group forgot a partition."""

AcquireCall = Callable[[Sequence[Claim], float], Mapping[TopicPartition, int]]
ReleaseCall = Callable[[Collection[TopicPartition]], None]
Alarm = Callable[[str, TopicPartition], None]

_log = structlog.get_logger()


class Membership:
    """Joins, polls, rejoins. Blocking and not thread-safe: everything but `interrupt`, `stop` and
    `position` is called from one thread.

    A broker that is away is waited for in silence (`is_broker_away` says so). The owner's errors and all
    unexpected ones are raised by `poll`; everything is released by then, and the next `poll` joins anew.
    """

    def __init__(
        self, member: Member, topics: Iterable[str], acquire: AcquireCall, release: ReleaseCall, alarm: Alarm
    ) -> None:
        self.is_broker_away = False
        self._member = member
        self._topics = sorted(set(topics))
        self._acquire = acquire
        self._release = release
        self._alarm = alarm
        self._admin = TopicAdmin(member.bootstrap, member.client_id)
        self._consumer: Consumer | None = None
        self._next: dict[TopicPartition, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._partition_counts: dict[str, int] = {}
        self._paused: set[TopicPartition] = set()
        self._out_of_range: set[TopicPartition] = set()
        self._held: list[Received] = []
        self._failure: BaseException | None = None
        self._is_suspect = False
        self._verify_at = 0.0
        self._look_at = 0.0
        self._positions: dict[TopicPartition, int] = {}
        self._position_at = 0.0
        self._waiting = 0
        self._nudges = 0
        self._stopping = threading.Event()

    # ---- from other threads

    def interrupt(self, change: int) -> None:
        """+1 before a call is queued behind a poll, -1 when it has run: a waiting poll returns for it."""
        self._waiting += change

    def stop(self) -> None:
        """Give up waiting, also inside an assignment."""
        self._stopping.set()

    def position(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember for the next report to the broker."""
        self._positions.update(offsets)

    # ---- on the thread

    def poll(self, messages_max: int, timeout_seconds: float) -> list[Received]:
        """The first message and what is there with it, or nothing after the timeout or when interrupted."""
        deadline = time.monotonic() + timeout_seconds
        while not self._stopping.is_set():
            wait_seconds = max(0.0, min(SLICE_SECONDS, deadline - time.monotonic()))
            try:
                messages = self._attempt(messages_max, wait_seconds)
            except BaseException:
                self._abandon()
                raise
            if messages or self._waiting > 0 or time.monotonic() >= deadline:
                return messages
        return []

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Deliver nothing of these, as long as they are ours."""
        ours = [at for at in partitions if at in self._next]
        self._paused.update(ours)
        if self._consumer is not None and ours:
            self._consumer.pause(_wire(ours))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Deliver again."""
        ours = [at for at in partitions if at in self._paused]
        self._paused.difference_update(ours)
        if self._consumer is not None and ours:
            self._consumer.resume(_wire(ours))

    def change_topics(self, topics: Iterable[str]) -> None:
        """Subscribe to these from now on; what stays is not interrupted."""
        self._topics = sorted(set(topics))
        if self._consumer is not None:
            self._ensure_topics()
            self._subscribe(self._consumer)

    def leave(self) -> None:
        """Release everything and close. The broker keeps the partitions for our return."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                self._report_positions(consumer)
                consumer.close()
        finally:
            self._drop(list(self._next))
            self._held.clear()
            self._out_of_range.clear()
        self._raise_failure()

    # ---- one turn

    def _attempt(self, messages_max: int, wait_seconds: float) -> list[Received]:
        if not self._is_sure(wait_seconds):
            return []
        assert self._consumer is not None
        self._held += self._take(self._consumer, messages_max, wait_seconds)
        self._raise_failure()
        if self._is_suspect and not self._is_sure(wait_seconds):
            return []  # what was taken is held until the topics are known to be the same
        self._report_positions_when_due(self._consumer)
        if time.monotonic() > self._look_at:
            self._nudge_if_forgotten(self._consumer)
        messages, self._held = self._held, []
        return messages

    def _is_sure(self, wait_seconds: float) -> bool:
        """Whether we are joined, and to the topics that we acquired. False too while the broker is away."""
        if self._consumer is not None and not self._is_suspect and time.monotonic() < self._verify_at:
            return True
        try:
            if self._consumer is None:
                self._join()
            else:
                self._verify(self._consumer)
        except TransientError as away:
            if not self.is_broker_away:
                _log.warning("broker_away", group=self._member.group, error=str(away))
            self.is_broker_away = True
            self._stopping.wait(wait_seconds)
            return False
        if self.is_broker_away:
            _log.info("broker_back", group=self._member.group)
        self.is_broker_away = False
        return self._consumer is not None

    def _take(self, consumer: Consumer, messages_max: int, wait_seconds: float) -> list[Received]:
        first = consumer.poll(wait_seconds)
        if first is None:
            return []
        messages = [first, *consumer.consume(messages_max - 1, 0)] if messages_max > 1 else [first]
        expected = self._next
        received: list[Received] = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._note(error, message)
                continue
            one = to_received(message)
            at = one.at
            start = expected.get(at)
            # what was fetched for an earlier stay, or lies below the owner's start, is not ours to give
            if start is not None and one.offset >= start:
                expected[at] = one.offset + 1
                received.append(one)
        return received

    def _note(self, error: KafkaError, message: Message | None = None) -> None:
        """An error from the broker: most heal by themselves, some mean that the topic may be another one."""
        code = error.code()
        if error.fatal() or code == KafkaError._FATAL:
            # of a classic consumer's errors librdkafka declares one fatal: FENCED_INSTANCE_ID
            expected = f"expected {self._member.instance_id} to be us in group {self._member.group}"
            self._fail(InstanceTaken(f"{expected}, but another process joined as it: {error.str()}"))
            return
        if code in SUSPICIOUS:
            self._is_suspect = True
        if code == KafkaError._AUTO_OFFSET_RESET and message is not None:
            self._out_of_range.add(TopicPartition(message.topic() or "", message.partition() or 0))
        if code not in CONNECTION:
            _log.info("kafka_error", group=self._member.group, code=error.name(), message=error.str())

    # ---- joining, and being sure of where we are

    def _join(self) -> None:
        self._ensure_topics()
        self._is_suspect = False
        self._verify_at = time.monotonic() + VERIFY_EVERY_SECONDS
        self._look_at = time.monotonic() + LOOK_FIRST_SECONDS
        consumer = Consumer(self._member.settings(self._note))
        self._subscribe(consumer)
        self._consumer = consumer

    def _subscribe(self, consumer: Consumer, *extra: str) -> None:
        consumer.subscribe(
            [*self._topics, *extra], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def _ensure_topics(self) -> None:
        """A topic that is missing is made again, with no fewer partitions than we knew it to have."""
        found = self._admin.describe(self._topics, ANSWER_SECONDS_MAX)
        missing = [contract_of(name) for name in self._topics if name not in found]
        if missing:
            found |= self._admin.ensure(missing, at_least=self._partition_counts)
        self._partition_counts.update({name: state.partitions for name, state in found.items()})

    def _verify(self, consumer: Consumer) -> None:
        """If a topic is not the one that we acquired, release everything; the next turn joins."""
        found = self._admin.describe(self._topics, ANSWER_SECONDS_MAX)
        missing = sorted(set(self._topics) - set(found))
        recreated = sorted(
            name
            for name, state in found.items()
            if self._topic_ids.get(name, state.topic_id) != state.topic_id
        )
        if missing or recreated:
            _log.error("topics_lost", group=self._member.group, recreated=recreated, missing=missing)
            self.leave()
            return
        self._restart_out_of_range(consumer)
        self._is_suspect = False
        self._verify_at = time.monotonic() + VERIFY_EVERY_SECONDS

    def _nudge_if_forgotten(self, consumer: Consumer) -> None:
        """A partition that no member has means that the group must deal anew.

        A static member that comes back is given what its former self had, without a look at what it subscribes to
        now: a topic or a partition that is new since then would wait for ever. A pattern that no topic matches is
        a changed subscription, which makes the group deal again and takes nothing from anybody.
        """
        self._look_at = time.monotonic() + LOOK_EVERY_SECONDS
        try:
            found = self._admin.describe(self._topics, ANSWER_SECONDS_MAX)
            partitions = {name: state.partitions for name, state in found.items()}
            forgotten = self._admin.unassigned(self._member.group, partitions, ANSWER_SECONDS_MAX)
        except TransientError:
            self._look_at = time.monotonic() + LOOK_FIRST_SECONDS
            return
        if forgotten:
            _log.info("partitions_forgotten", group=self._member.group, partitions=forgotten)
            self._nudges += 1
            self._subscribe(consumer, f"^outlast-nudge-{self._nudges}$")

    def _restart_out_of_range(self, consumer: Consumer) -> None:
        """The topic is the same, the offset is gone: kept too short, or data was lost. Say so, go on at the earliest.

        Beyond the end, messages are lost that the owner had counted on: it is asked again as for a new topic, so
        that it starts over, and says again what it has outstanding. Doubles mean nothing.
        """
        for at in sorted(self._out_of_range & self._next.keys()):
            wire, expected = WirePartition(at.topic, at.partition), self._next[at]
            try:
                low, high = consumer.get_watermark_offsets(wire, ANSWER_SECONDS_MAX) or (0, 0)
            except KafkaException as failure:
                raise TransientError(f"expected the earliest offset of {at}, got {failure}") from failure
            _log.error("offset_out_of_range", at=at, expected=expected, earliest=low, end=high)
            self._alarm("offset_out_of_range", at)
            start = low
            if expected > high:
                self._drop([at])
                lost = Claim(at, lost_topic_id(self._topic_ids[at.topic], expected))
                try:
                    start = max(low, self._acquire([lost], ACQUIRE_SECONDS_MAX)[at])
                except TransientError:
                    self.leave()  # the next turn joins, and comes here again
                    raise
            self._next[at] = start
            self._held = [message for message in self._held if message.at != at]
            consumer.incremental_unassign([wire])
            consumer.incremental_assign([WirePartition(at.topic, at.partition, start)])
            if at in self._paused:
                consumer.pause([wire])
        self._out_of_range.clear()

    def _abandon(self) -> None:
        """Leave after a failure that is already on its way out."""
        try:
            self.leave()
        except Exception as second:  # noqa: BLE001 the first failure is the one to raise
            _log.warning("leave_failed", group=self._member.group, error=repr(second))

    # ---- rebalance callbacks: they run inside poll, consume and close, and must not raise into librdkafka

    def _assigned(self, consumer: Consumer, partitions: list[WirePartition]) -> None:
        try:
            if partitions and self._failure is None:
                starts = self._claim([TopicPartition(p.topic, p.partition) for p in partitions])
                consumer.incremental_assign([WirePartition(*at, offset) for at, offset in starts.items()])
                self._next.update(starts)
                return
        except BaseException as failure:  # noqa: BLE001 poll raises it
            self._fail(failure)
        consumer.incremental_assign([])

    def _revoked(self, _consumer: Consumer, partitions: list[WirePartition]) -> None:
        try:
            self._drop([TopicPartition(p.topic, p.partition) for p in partitions])
        except BaseException as failure:  # noqa: BLE001 poll raises it
            self._fail(failure)

    def _drop(self, partitions: list[TopicPartition]) -> None:
        ours = {at for at in partitions if self._next.pop(at, None) is not None}
        self._paused -= ours
        self._held = [message for message in self._held if message.at not in ours]
        if ours:
            self._release(sorted(ours))

    def _claim(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the owner, again and again while its database or the broker is away."""
        deadline = time.monotonic() + ACQUIRE_SECONDS_MAX
        pause = RETRY_SECONDS_FIRST
        while True:
            try:
                found = self._admin.describe({at.topic for at in partitions}, ANSWER_SECONDS_MAX)
                if any(at.topic not in found for at in partitions):
                    raise TransientError(f"expected topics of {partitions} to exist, found {sorted(found)}")
                claims = [Claim(at, found[at.topic].topic_id) for at in partitions]
                starts = self._acquire(claims, max(1.0, deadline - time.monotonic()))
                self._topic_ids.update({name: state.topic_id for name, state in found.items()})
                return {at: starts[at] for at in partitions}
            except TransientError as away:
                _log.warning(
                    "acquire_waits", group=self._member.group, partitions=partitions, error=str(away)
                )
                if time.monotonic() > deadline or self._stopping.wait(pause):
                    raise
                pause = min(pause * 2, RETRY_SECONDS_MAX)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # ---- positions, for lag tools only

    def _report_positions_when_due(self, consumer: Consumer) -> None:
        if self._positions and time.monotonic() >= self._position_at:
            self._position_at = time.monotonic() + POSITION_EVERY_SECONDS
            self._report_positions(consumer)

    def _report_positions(self, consumer: Consumer) -> None:
        positions, self._positions = self._positions, {}
        offsets = [WirePartition(*at, offset) for at, offset in positions.items() if at in self._next]
        if offsets:
            try:
                consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as failure:
                _log.info("position_not_reported", group=self._member.group, error=str(failure))


def _wire(partitions: Iterable[TopicPartition]) -> list[WirePartition]:
    return [WirePartition(at.topic, at.partition) for at in partitions]
