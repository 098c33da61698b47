"""Sources, sinks and compacted readers on the real broker: the shared suite, and what only a real one can do."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as WirePartition

from outlast.contracts.topics import Topic, TopicPartition
from outlast.messaging.kafka import KafkaSink, KafkaSource
from outlast.messaging.ports import Outgoing, Owner
from outlast.messaging.topics import TopicAdmin
from outlast.testing.broker_suite import BEHAVIOURS, Behaviour, Ledger, LedgerOwner


class KafkaHarness:
    def __init__(self, bootstrap: str) -> None:
        self.alarms: list[tuple[str, TopicPartition]] = []
        self.admin = TopicAdmin(bootstrap)
        self._bootstrap = bootstrap
        self._topics: dict[str, int] = {}
        self._open: list[KafkaSource | KafkaSink] = []

    async def new_topic(self, partitions: int) -> str:
        name = self.new_name()
        self._topics[name] = partitions
        await asyncio.to_thread(self.admin.ensure, [Topic(name, "test", partitions)])
        return name

    def new_name(self) -> str:
        name = f"suite-{uuid.uuid4().hex[:12]}"
        self._topics[name] = 1
        return name

    def source(self, group: str, instance_id: str, topics: Iterable[str], owner: Owner) -> KafkaSource:
        made = KafkaSource(
            self._bootstrap,
            group,
            instance_id,
            topics,
            owner,
            client_id="suite",
            alarm=lambda kind, at: self.alarms.append((kind, at)),
        )
        self._open.append(made)
        return made

    def sink(self) -> KafkaSink:
        made = KafkaSink(self._bootstrap, "suite")
        self._open.append(made)
        return made

    async def recreate(self, topic: str) -> None:
        await asyncio.to_thread(self.admin.delete, [topic])
        await asyncio.to_thread(self.admin.ensure, [Topic(topic, "test", self._topics[topic])])

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def close(self) -> None:
        for each in self._open:
            await each.close()
        await asyncio.to_thread(self.admin.delete, self._topics)


@pytest.fixture
async def broker(kafka: str) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka)
    yield harness
    await harness.close()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.__name__)
async def test_behaviour(behaviour: Behaviour, broker: KafkaHarness) -> None:
    await behaviour(broker)
