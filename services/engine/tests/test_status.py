"""What the engine says of its durable backend: once at each change, again to a new topic, never at its own end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime

import pytest

from outlast.contracts import codec
from outlast.contracts.messages import EngineStatus
from outlast.contracts.topics import ENGINE_STATUS
from outlast.errors import TransientError
from outlast.messaging.local import LocalBroker, LocalSink
from outlast.runtime.health import Health
from outlast.runtime.service import Stop
from outlast_engine import backend, metrics, status
from outlast_engine.backend import construct
from outlast_engine.status import StatusSpeaker

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "CHECK_SECONDS", 0.001)
    monkeypatch.setattr(backend, "PAUSE_SECONDS_MIN", 0.001)
    monkeypatch.setattr(backend, "PAUSE_SECONDS_MAX", 0.001)


class Topic:
    """The status topic on a broker in memory."""

    def __init__(self) -> None:
        self.broker = LocalBroker(lambda: 0)
        self.broker.ensure_topic(ENGINE_STATUS)
        self.is_away = False

    async def id(self) -> str:
        if self.is_away:
            raise TransientError("no broker")
        return self.broker.ensure_topic(ENGINE_STATUS).topic_id

    def said(self) -> list[str]:
        decoded = [codec.compacted.decode(each.value) for each in self.broker.messages(ENGINE_STATUS)]
        return [each.state for each in decoded if isinstance(each, EngineStatus)]

    def speaker(self) -> StatusSpeaker:
        return StatusSpeaker("engine-0", LocalSink(self.broker), self.id, lambda: NOW)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 what is waited for is on the broker, which has no event
            await asyncio.sleep(0.001)


async def speaking(topic: Topic, scenario: Callable[[StatusSpeaker], Coroutine[None, None, None]]) -> None:
    """The scenario beside a speaker; then the orderly end."""
    stop, speaker = Stop(), topic.speaker()
    task = asyncio.create_task(speaker.speak(stop))
    await scenario(speaker)
    stop.event.set()
    await task


async def test_a_change_is_said_once_and_an_end_is_not_a_change() -> None:
    topic = Topic()

    async def scenario(speaker: StatusSpeaker) -> None:
        speaker.change("down")
        await until(lambda: topic.said() == ["down"])
        speaker.change("down")
        speaker.change("up")
        await until(lambda: topic.said()[-1] == "up")

    await speaking(topic, scenario)
    assert topic.said() == ["down", "up"]
    assert {each.key for each in topic.broker.messages(ENGINE_STATUS)} == {b"engine-0"}


async def test_a_new_topic_is_told_the_last_word() -> None:
    topic = Topic()

    async def scenario(speaker: StatusSpeaker) -> None:
        speaker.change("up")
        await until(lambda: topic.said() == ["up"])
        topic.broker.lose_everything()
        await until(lambda: topic.said() == ["up"])

    await speaking(topic, scenario)


async def test_what_could_not_be_said_is_said_when_the_broker_is_there() -> None:
    topic = Topic()
    topic.is_away = True

    async def scenario(speaker: StatusSpeaker) -> None:
        speaker.change("down")
        await asyncio.sleep(0)
        topic.is_away = False
        await until(lambda: topic.said() == ["down"])

    await speaking(topic, scenario)


def failing(times: int) -> Callable[[], Awaitable[str]]:
    left = [times]

    async def attempt() -> str:
        if left[0]:
            left[0] -= 1
            raise OSError("refused")
        return "a pool"

    return attempt


async def test_a_backend_that_is_away_ends_nothing_and_is_said_until_it_is_there() -> None:
    topic, health = Topic(), Health()
    seen: list[tuple[bool, dict[str, object]]] = []

    async def scenario(speaker: StatusSpeaker) -> None:
        attempt = failing(3)

        async def watched() -> str:
            seen.append(health.readiness())
            return await attempt()

        assert await construct(watched, speaker, health) == "a pool"
        await until(lambda: topic.said() == ["down"])

    failed = metrics.BACKEND_FAILED._value.get()
    await speaking(topic, scenario)
    assert metrics.BACKEND_FAILED._value.get() == failed + 3
    is_ready, facts = seen[-1]
    assert (is_ready, facts["durable_backend"]) == (False, "away: OSError: refused")
    assert health.liveness()[0]
    assert health.readiness() == (True, {"parts": {"database": True}, "durable_backend": "there"})


async def test_a_backend_that_is_there_at_once_is_never_said_to_be_down() -> None:
    topic = Topic()

    async def scenario(speaker: StatusSpeaker) -> None:
        assert await construct(failing(0), speaker, Health()) == "a pool"
        speaker.change("up")
        await until(lambda: topic.said() == ["up"])

    await speaking(topic, scenario)
