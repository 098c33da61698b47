"""The broker's administration and the platform, as the routes need them."""

import asyncio
from collections.abc import Collection, Mapping

import httpx

from outlast.contracts.topics import TOPICS, Topic
from outlast.contracts.topics import producer as topic_of
from outlast.errors import TransientError
from outlast.http.problems import Problem, unavailable
from outlast.messaging.topics import BrokerTopicIds, TopicAdmin
from outlast_control_plane.limits import FORWARD_TIMEOUT_SECONDS

OURS: dict[str, Topic] = {topic.name: topic for topic in TOPICS if topic.owner == "control_plane"}


class BrokerTopics:
    """Topic ids and producers' topics over one administrative connection; its calls block, so they go to threads."""

    def __init__(self, admin: TopicAdmin) -> None:
        self._admin = admin
        self._ids = BrokerTopicIds(admin, OURS)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The id of each of these topics. One of ours that is gone is made again from contracts/."""
        return await self._ids.topic_ids(topics)

    async def partition_count(self, topic: str) -> int:
        """How many partitions one of our topics has; one that is gone is made again."""
        try:
            found = await asyncio.to_thread(self._admin.describe, [topic])
            if topic not in found:
                found = await asyncio.to_thread(self._admin.ensure, [OURS[topic]])
        except TransientError as fault:
            raise unavailable(
                "The broker does not answer, and how many lanes there are is not known."
            ) from fault
        return found[topic].partitions

    async def create_producer_topic(self, producer: str) -> None:
        """The producer's topic exists afterwards."""
        try:
            await asyncio.to_thread(self._admin.ensure, [topic_of(producer)])
        except TransientError as fault:
            raise unavailable(
                "The broker does not answer, so the producer's topic cannot be made."
            ) from fault


class PlatformClient:
    """Tells the platform service, in our own name."""

    def __init__(self, client: httpx.AsyncClient, url: str, token: str) -> None:
        self._client = client
        self._url = url
        self._token = token

    async def put_company(self, company_id: str, name: str) -> None:
        """The company exists afterwards."""
        try:
            answer = await self._client.put(
                f"{self._url}/api/v1/companies/{company_id}",
                json={"name": name},
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=FORWARD_TIMEOUT_SECONDS,
            )
        except httpx.HTTPError as fault:
            raise unavailable("The platform service does not answer.") from fault
        if answer.status_code >= 500:
            raise unavailable(f"The platform service answered {answer.status_code}.")
        if answer.status_code >= 300:
            raise Problem(502, "platform_refused", f"The platform service refused with {answer.status_code}.")
