"""Topics on the broker: which exist, under which id, and creating from contracts/ what is missing.

A topic's id is new whenever the topic is: after an operator deleted it, or after the broker lost
everything. Offsets mean something only together with it.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

import structlog
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (
    AdminClient,
    NewPartitions,  # pyright: ignore[reportPrivateImportUsage] exported by the package's documentation
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
)

from outlast.contracts.topics import TOPICS, Topic, TopicPartition
from outlast.errors import PermanentError, TransientError
from outlast.messaging.member import QUIET

ADMIN_TIMEOUT_SECONDS = 10.0
VISIBLE_TIMEOUT_SECONDS = 30.0
VISIBLE_PAUSE_SECONDS = 0.02
BROKER_DEFAULT = -1

T = TypeVar("T")
_log = structlog.get_logger()
_by_name: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


class TopicState(NamedTuple):
    """One topic as the broker has it now."""

    topic_id: str
    partitions: int
    is_served: bool
    """Every partition has a leader."""


def contract_of(name: str) -> Topic:
    """The topic as contracts/ has it; one that contracts/ does not name (a producer's) gets the same
    settings.
    """
    return _by_name.get(name) or Topic(name, owner="")


class TopicAdmin:
    """Asks and changes topics. Blocking: call it from a thread that may wait. One broker connection, kept."""

    def __init__(self, bootstrap: str, client_id: str = "outlast") -> None:
        self._settings = {"bootstrap.servers": bootstrap, "client.id": client_id, **QUIET}
        self._client = AdminClient(self._settings)

    def describe(
        self, names: Iterable[str], timeout_seconds: float = ADMIN_TIMEOUT_SECONDS
    ) -> dict[str, TopicState]:
        """What of these exists. Raises TransientError when the broker does not answer in time."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        states: dict[str, TopicState] = {}
        futures = self._client.describe_topics(TopicCollection(wanted), request_timeout=timeout_seconds)
        for name, future in futures.items():
            found = _result(
                future, timeout_seconds, absent=KafkaError.UNKNOWN_TOPIC_OR_PART, what=f"to describe {name}"
            )
            if found is not None:
                leaders = [partition.leader for partition in found.partitions]
                states[name] = TopicState(str(found.topic_id), len(leaders), all(leaders))
        return states

    def ensure(
        self,
        topics: Sequence[Topic],
        partitions_default: int | None = None,
        at_least: Mapping[str, int] | None = None,
    ) -> dict[str, TopicState]:
        """Create what is missing, add partitions where contracts/ has more, and wait until the broker
        serves all.

        Never removes, never lessens: a topic that has more partitions than contracts/ keeps them.
        `at_least` is how many partitions a topic is known to have had: what was addressed to them must
        still find them.
        """
        floor = at_least or {}
        wanted: dict[str, int] = {}
        for topic in topics:
            asked = topic.partitions or partitions_default or BROKER_DEFAULT
            wanted[topic.name] = max(asked, floor.get(topic.name, BROKER_DEFAULT))
        found = self.describe(wanted)
        missing = [topic for topic in topics if topic.name not in found]
        if missing:
            self._create([NewTopic(t.name, wanted[t.name], -1, config=t.config()) for t in missing])
        short = {name: wanted[name] for name, state in found.items() if state.partitions < wanted[name]}
        if short:
            self._grow(short)
        return self._await_served(wanted)

    def ends(
        self, name: str, partitions: Iterable[int], timeout_seconds: float = ADMIN_TIMEOUT_SECONDS
    ) -> dict[int, int]:
        """The next offset of each of these partitions. TransientError when the broker does not answer in time."""
        latest = OffsetSpec.latest()
        assert latest is not None
        asked: dict[KafkaPartition, OffsetSpec] = {KafkaPartition(name, each): latest for each in partitions}
        futures = self._client.list_offsets(asked, request_timeout=timeout_seconds)
        ends: dict[int, int] = {}
        for at, future in futures.items():
            what = f"to say the end of {name}-{at.partition}"
            found = _result(future, timeout_seconds, KafkaError.UNKNOWN_TOPIC_OR_PART, what)
            ends[at.partition] = 0 if found is None else found.offset
        return ends

    def committed(
        self,
        group: str,
        name: str,
        partitions: Iterable[int],
        timeout_seconds: float = ADMIN_TIMEOUT_SECONDS,
    ) -> dict[int, int]:
        """Where the group stands in each of these partitions: 0 where it has committed nothing."""
        asked = [KafkaPartition(name, number) for number in partitions]
        futures = self._client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, asked)], request_timeout=timeout_seconds
        )
        what = f"to say where group {group} stands"
        found = _result(futures[group], timeout_seconds, KafkaError.GROUP_ID_NOT_FOUND, what)
        if found is None:
            return dict.fromkeys(partitions, 0)
        return {at.partition: max(0, at.offset) for at in found.topic_partitions}

    def unassigned(
        self, group: str, partitions: Mapping[str, int], timeout_seconds: float = ADMIN_TIMEOUT_SECONDS
    ) -> list[TopicPartition]:
        """Which of these topics' partitions no member of the group has; none while the group is dealing."""
        futures = self._client.describe_consumer_groups([group], request_timeout=timeout_seconds)
        what = f"to describe group {group}"
        try:
            found = _result(futures[group], timeout_seconds, KafkaError.GROUP_ID_NOT_FOUND, what)
        except TransientError:
            # a client that asked before its broker restarted never finds the coordinator again (librdkafka 2.16)
            self._client = AdminClient(self._settings)
            raise
        if found is None or found.state != ConsumerGroupState.STABLE:
            return []
        assigned = {
            TopicPartition(each.topic, each.partition)
            for member in found.members
            for each in member.assignment.topic_partitions
        }
        every = {
            TopicPartition(name, number) for name, count in partitions.items() for number in range(count)
        }
        return sorted(every - assigned)

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics and what is in them. For tests and for operators; absent ones are no error."""
        futures = self._client.delete_topics(list(names), request_timeout=ADMIN_TIMEOUT_SECONDS)
        for name, future in futures.items():
            _result(future, ADMIN_TIMEOUT_SECONDS, KafkaError.UNKNOWN_TOPIC_OR_PART, f"to delete {name}")

    def _create(self, topics: list[NewTopic]) -> None:
        futures = self._client.create_topics(topics, request_timeout=ADMIN_TIMEOUT_SECONDS)
        for name, future in futures.items():
            # somebody else may have been faster
            _result(future, ADMIN_TIMEOUT_SECONDS, KafkaError.TOPIC_ALREADY_EXISTS, f"to create topic {name}")
        _log.info("topics_created", topics=sorted(futures))

    def _grow(self, partitions: Mapping[str, int]) -> None:
        asked = [NewPartitions(name, count) for name, count in partitions.items()]
        futures = self._client.create_partitions(asked, request_timeout=ADMIN_TIMEOUT_SECONDS)
        for name, future in futures.items():
            _result(
                future, ADMIN_TIMEOUT_SECONDS, KafkaError.INVALID_PARTITIONS, f"to add partitions to {name}"
            )
        _log.info("partitions_added", topics=dict(partitions))

    def _await_served(self, wanted: Mapping[str, int]) -> dict[str, TopicState]:
        def all_served(states: Mapping[str, TopicState]) -> bool:
            return len(states) == len(wanted) and all(
                state.is_served and state.partitions >= wanted[name] for name, state in states.items()
            )

        return _eventually(lambda: self.describe(wanted), all_served, f"the broker to serve {sorted(wanted)}")


class BrokerTopicIds:
    """Which incarnation of a topic there is, over one administrative connection; its calls go to threads."""

    def __init__(self, admin: TopicAdmin, ours: Collection[str]) -> None:
        self._admin = admin
        self._ours = frozenset(ours)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The id of each of these topics. One of ours that is gone is made again from contracts/."""
        found = await asyncio.to_thread(self._admin.describe, topics)
        missing = [contract_of(name) for name in topics if name not in found and name in self._ours]
        if missing:
            found |= await asyncio.to_thread(self._admin.ensure, missing)
        return {name: state.topic_id for name, state in found.items()}


def ensure_topics(
    bootstrap: str, topics: Sequence[Topic] = TOPICS, partitions_default: int | None = None
) -> dict[str, TopicState]:
    """Make the topics of contracts/ exist, once, at start. Blocking; safe to call from several processes
    at once.

    Raises TransientError when no broker answers in time. A consumer that subscribes before its topic
    exists finds it minutes later: call this first.
    """
    return TopicAdmin(bootstrap).ensure(topics, partitions_default)


def _result(future: "Future[T]", timeout_seconds: float, absent: int, what: str) -> T | None:
    """What the broker answered; None for the one error code that is an answer too."""
    try:
        return future.result(timeout_seconds + 1.0)
    except TimeoutError as late:
        raise TransientError(f"expected the broker {what} within {timeout_seconds} s") from late
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        if error.code() == absent:
            return None
        kind = PermanentError if error.code() in _HOPELESS else TransientError
        raise kind(f"expected the broker {what}, got {error.name()}: {error.str()}") from failure


_HOPELESS = frozenset(
    {
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
    }
)


def _eventually(ask: Callable[[], T], is_good: Callable[[T], bool], what: str) -> T:
    """Ask until the answer is good; TransientError after the time-out."""
    deadline = time.monotonic() + VISIBLE_TIMEOUT_SECONDS
    while True:
        answer = ask()
        if is_good(answer):
            return answer
        if time.monotonic() > deadline:
            raise TransientError(f"expected {what} within {VISIBLE_TIMEOUT_SECONDS} s, got {answer}")
        time.sleep(VISIBLE_PAUSE_SECONDS)
