"""Composition root: the only module that constructs clients."""

import asyncio

from outlast.messaging.topics import ensure_topics
from outlast.runtime.health import Health
from outlast.runtime.service import App, Stop
from outlast_gate.settings import GateSettings


async def build(settings: GateSettings, health: Health, stop: Stop) -> App:
    """The gate."""
    await asyncio.to_thread(ensure_topics, settings.kafka)

    health.ready("topics", True)

    async def idle() -> None:
        await stop.event.wait()

    return App(tasks={"idle": idle()})
