"""A member of a group as a process of its own, so that a test can kill it. Says what it acquires, one line each."""

import asyncio
import sys
import time
from collections.abc import Collection, Mapping, Sequence

from outlast.contracts.topics import Claim, TopicPartition
from outlast.messaging.kafka import KafkaSource


class Talking:
    """Starts everything at 0 and says so, with the wall clock's time."""

    async def acquire(self, claims: Sequence[Claim]) -> Mapping[TopicPartition, int]:
        """Say what is acquired."""
        _say("acquired", *sorted(f"{claim.at.topic}:{claim.at.partition}" for claim in claims))
        return {claim.at: 0 for claim in claims}

    async def release(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing to forget."""


def _say(*words: object) -> None:
    print(time.time(), *words, flush=True)


async def main(bootstrap: str, group: str, instance_id: str, topics: str) -> None:
    """Join and poll until killed."""
    source = KafkaSource(bootstrap, group, instance_id, topics.split(","), Talking(), client_id=instance_id)
    _say("started")
    while True:
        await source.poll(100, 1.0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
