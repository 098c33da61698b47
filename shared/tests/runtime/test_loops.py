"""Running a loop: how often it turns."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from outlast.runtime.health import Health
from outlast.runtime.loops import run_loop
from outlast.runtime.service import Stop


@dataclass
class Passing(Stop):
    """Time that passes only while somebody waits, until it is over."""

    now: float = 0.0
    ends: float = 1.0

    async def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.is_set()

    def is_set(self) -> bool:
        return self.now >= self.ends


@dataclass
class Arriving:
    """As much of a FencedLoop as is run: takes what has come by now, a millisecond a turn."""

    clock: Passing
    due: list[float]
    turned_at: float = 0.0
    polled_at: float = float("-inf")
    batches: list[tuple[float, int]] = field(default_factory=list)
    """When each began, and of how many messages it is."""
    is_finished: bool = False

    async def turn(self, timeout_seconds: float) -> float:
        if not self.due:
            self.clock.now = self.clock.ends
            return 0.0
        self.clock.now = self.polled_at = max(self.clock.now, self.due[0])
        taken = [at for at in self.due if at <= self.clock.now]
        self.due = self.due[len(taken) :]
        self.batches.append((self.clock.now, len(taken)))
        self.clock.now += 0.001
        return 0.0

    async def finish(self) -> None:
        self.is_finished = True


async def batches(due: Iterable[float], linger_seconds: float) -> list[tuple[float, int]]:
    clock = Passing()
    loop = Arriving(clock, list(due))
    await run_loop(loop, "loop", Health(), clock, lambda: clock.now, linger_seconds=linger_seconds)
    assert loop.is_finished
    return loop.batches


EVERY_TWO_MS = [number / 500 for number in range(200)]


async def test_messages_that_come_one_after_the_other_share_a_turn_where_nobody_waits_for_it() -> None:
    taken = await batches(EVERY_TWO_MS, linger_seconds=0.025)
    assert sum(count for _, count in taken) == 200
    assert len(taken) <= 0.4 / 0.025 + 1
    assert len(await batches(EVERY_TWO_MS, linger_seconds=0.0)) == 200


async def test_a_message_after_a_silence_waits_for_nothing() -> None:
    assert await batches([0.1, 0.2, 0.3], linger_seconds=0.025) == [(0.1, 1), (0.2, 1), (0.3, 1)]


async def test_no_message_waits_longer_than_the_linger() -> None:
    assert await batches([0.1, 0.101], linger_seconds=0.025) == [(0.1, 1), (0.125, 1)]
