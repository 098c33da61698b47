"""What goes wrong in the simulated world, and where: crash points around every commit, produce and call.

The ports are wrapped where the world composes a process; the product has no hooks. A strike is a `Crash` (the process
is gone at that very point), or a TransientError that says nothing about whether the work was done. How often is
drawn from the world's one random source; a countdown makes the points that are passed by cheap.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from outlast.contracts.topics import TopicPartition
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing

T = TypeVar("T")

POLL_SIZES = (0, 1, 1, 2, 3, 5, 8, 20, 100)
"""How many messages of a partition one poll may bring: small ones often, so that crashes fall between them."""


class Crash(BaseException):
    """The process is gone. Not an Exception: no code of the product may handle it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things go wrong, as the mean number of occasions between two strikes; 0 is never."""

    commit: int = 60
    """Fault points around commits, reads and acquisitions."""
    message: int = 120
    """Messages sent: lost (the flush says so), doubled, or the sender's last."""
    call: int = 25
    """Calls of actions: the executor dies before or after."""
    disturbance: int = 60
    """Steps of the world: rebalance, zombie, freeze, outage, duplicate, clock jump, kill."""
    weights: Mapping[str, int] = field(default_factory=dict[str, int])
    """How much of which disturbance; what is not named is left to the seed."""
    services: frozenset[str] = frozenset()
    """The services whose processes are disturbed; all if empty."""


CALM = Rates(commit=0, message=0, call=0, disturbance=0)
"""Nothing goes wrong."""


class Faults:
    """Decides at each point. Also the in-memory broker's `Faults` (outlast.messaging.local)."""

    def __init__(self, random: Random, rates: Rates) -> None:
        self._random = random
        self._rates = rates
        self._countdowns = {"commit": 0, "message": 0, "call": 0}
        self.is_on = False
        self.is_database_away = False
        self.is_platform_away = False
        self.is_crash_allowed: Callable[[], bool] = lambda: True
        """Asked before every crash: whoever counts deaths per message sets it."""
        self.strikes: list[str] = []
        """What struck since the beginning, in order, for the trace."""
        self._emphases = {kind: random.choice((0.5, 1, 1, 4)) for kind in self._countdowns}
        for kind in self._countdowns:
            self._wind(kind)

    def _wind(self, kind: str) -> None:
        mean = int(getattr(self._rates, kind) * self._emphases[kind])
        self._countdowns[kind] = self._random.randint(1, 2 * mean) if mean else 1 << 60

    def is_struck(self, kind: str) -> bool:
        """Whether this occasion is the one."""
        if not self.is_on:
            return False
        left = self._countdowns[kind] = self._countdowns[kind] - 1
        if left > 0:
            return False
        self._wind(kind)
        return True

    def crash(self, place: str) -> None:
        """Die here, if dying is allowed now."""
        if self.is_crash_allowed():
            self.strikes.append(f"crash at {place}")
            raise Crash(place)

    def before(self, place: str) -> None:
        """Ahead of work in the database: away, dead before it, or refused without a reason."""
        if self.is_database_away:
            raise TransientError(f"{place}: the database is away")
        if self.is_struck("commit"):
            if self._random.random() < 0.5:
                self.crash(f"{place}, before")
            self.strikes.append(f"unknown outcome at {place}: not applied")
            raise TransientError(f"{place}: unknown outcome")

    def after(self, place: str) -> None:
        """After work in the database: dead before anybody heard of it, or applied and reported as unknown."""
        if self.is_struck("commit"):
            if self._random.random() < 0.5:
                self.crash(f"{place}, after")
            self.strikes.append(f"unknown outcome at {place}: applied")
            raise TransientError(f"{place}: unknown outcome")

    def at_call(self, place: str) -> None:
        """Around a call to the outside."""
        if self.is_struck("call"):
            self.crash(place)

    # ---- the broker asks (outlast.messaging.local.Faults) ----------------------------------------------------

    def is_early(self, message: Outgoing) -> bool:
        """Half of what is sent is there before the flush."""
        return self.is_on and self._random.random() < 0.5

    def copies(self, message: Outgoing) -> int:
        """One; at a strike none, two, or the sender's death with what came before already there."""
        if not self.is_struck("message"):
            return 1
        chance = self._random.random()
        if chance < 0.3:
            self.crash("produce, in the middle of a flush")
        self.strikes.append(f"a message to {message.topic} {'lost' if chance < 0.6 else 'doubled'}")
        return 0 if chance < 0.6 else 2

    def order(self, count: int) -> Sequence[int]:
        """Any; the broker keeps the order of one key."""
        if not self.is_on or count < 2:
            return range(count)
        return self._random.sample(range(count), count)

    def take(self, at: TopicPartition, available: int) -> int:
        """Often fewer than there are."""
        return min(self._random.choice(POLL_SIZES), available) if self.is_on else available


class Guarded:
    """A port with fault points around some of its methods; everything else is the port's own."""

    def __init__(self, port: object) -> None:
        self._port = port

    def __getattr__(self, name: str) -> object:
        return getattr(self._port, name)


def guarded(
    port: T, faults: Faults, place: str, *, commits: Sequence[str] = (), reads: Sequence[str] = ()
) -> T:
    """The port, with strikes before and after the methods that write, and before those that read."""
    wrapper = Guarded(port)
    for name in commits:
        setattr(wrapper, name, _committing(getattr(port, name), faults, f"{place}.{name}"))
    for name in reads:
        setattr(wrapper, name, _reading(getattr(port, name), faults, f"{place}.{name}"))
    return wrapper  # pyright: ignore[reportReturnType] it answers to all that the port answers to


def _committing(
    method: Callable[..., Awaitable[object]], faults: Faults, place: str
) -> Callable[..., Awaitable[object]]:
    async def call(*arguments: object) -> object:
        if not faults.is_on:
            return await method(*arguments)
        faults.before(place)
        result = await method(*arguments)
        faults.after(place)
        return result

    return call


def _reading(
    method: Callable[..., Awaitable[object]], faults: Faults, place: str
) -> Callable[..., Awaitable[object]]:
    async def call(*arguments: object) -> object:
        if faults.is_on:
            faults.before(place)
        return await method(*arguments)

    return call
