"""What the loop needs besides the broker: the ledger, something that runs actions, and a way to run them beside it."""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from msgspec import UNSET, Raw, UnsetType

from outlast.clock import Clock
from outlast.contracts.messages import ActionError, RunActivity
from outlast.contracts.topics import Claim as PartitionClaim
from outlast.db.fence import Move, Owned
from outlast.messaging.ports import Received, Sink
from outlast_action_executor.core.claim import Instance, Resolution, Row


class Operation(NamedTuple):
    """One operation of one activity: what an idempotency key names."""

    execution_id: str
    activity_id: str
    operation: str = "main"


class NewClaim(NamedTuple):
    """Claim an attempt for this instance, with a deadline that many seconds from the database's now.

    `over` is a claim to be replaced, if it still is as it was seen: a dead one, or our own that was never begun.
    """

    of: Operation
    attempt: int
    seconds: float
    resolution: Resolution | None = None
    over: Row | None = None


class Settlement(NamedTuple):
    """The result of an attempt that this instance claimed."""

    of: Operation
    attempt: int
    result: bytes
    is_success: bool


class RunEnd(NamedTuple):
    """How an inline run ended, for whoever sends its start again."""

    execution_id: str
    finished: bytes
    """The `finished` message, without the payload."""
    outcome: bytes | None = None
    """Of a shadowed run: what the engine compares its double with."""


class KnownRun(NamedTuple):
    """What the ledger has of an inline run that was begun before."""

    end: RunEnd | None
    tried: Collection[tuple[str, int]]
    """Activities and attempts that were claimed."""


@dataclass(slots=True)
class Group:
    """What one commit holds: offsets under their fences, results, claims, ends of inline runs."""

    moves: list[Move] = field(default_factory=list[Move])
    settlements: list[Settlement] = field(default_factory=list[Settlement])
    claims: list[NewClaim] = field(default_factory=list[NewClaim])
    ends: list[RunEnd] = field(default_factory=list[RunEnd])

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.moves or self.settlements or self.claims or self.ends)


class Committed(NamedTuple):
    """What the commit did, in the group's order: which results and which claims were ours."""

    settled: Sequence[bool]
    claimed: Sequence[bool | None]
    """None for a claim that the database will never take."""
    ended: Sequence[RunEnd] = ()
    """As they are recorded: the first end of a run stands."""


class Ledger(Protocol):
    """Claims and results, and the fenced partition rows that commit with them."""

    async def incarnate(self, ordinal: str) -> Instance:
        """Begin a life of this ordinal. Claims of its earlier lives are dead from now on."""
        ...

    async def acquire(self, claims: Sequence[PartitionClaim]) -> Sequence[Owned]:
        """Own these partitions (epoch + 1)."""
        ...

    async def look_up(self, operations: Sequence[Operation]) -> Sequence[Sequence[Row]]:
        """The attempts recorded of each operation, in the order asked."""
        ...

    async def look_up_runs(self, execution_ids: Sequence[str]) -> Mapping[str, KnownRun]:
        """What is recorded of these inline runs; those that were never begun are absent."""
        ...

    async def commit(self, group: Group) -> Committed:
        """One synchronous commit.

        Fenced: no offset moved and nothing was claimed. TransientError: nobody knows. DataRejected: nothing happened.
        """
        ...


class Plan(NamedTuple):
    """What must be known of an activity before it is claimed."""

    destination: str | None
    """Whom it loads; None has no cap."""
    is_idempotent: bool
    has_look_up: bool
    config: object
    """The config, decoded; the runner's own."""
    refusal: ActionError | None = None
    """Why it cannot be run at all: no such action, a config of the wrong shape."""


class Ran(NamedTuple):
    """What a call came to."""

    output: Raw | UnsetType = UNSET
    fold: Raw | UnsetType = UNSET
    error: ActionError | None = None
    resolved: str = ""


class Runner(Protocol):
    """Runs actions. Every failure of an action is a value; an exception is a fault of ours."""

    def plan(self, activity: RunActivity) -> Plan:
        """Look at it without doing anything."""
        ...

    async def run(
        self, activity: RunActivity, plan: Plan, resolution: Resolution | None, traceparent: str
    ) -> Ran:
        """Do it, within its time. With LOOK_UP first ask outside what an earlier attempt came to."""
        ...


Calls: TypeAlias = Sequence[Coroutine[object, object, None]]
Poll: TypeAlias = Callable[[float], Awaitable[Sequence[Received]]]


class Concurrency(Protocol):
    """How calls run beside the loop: as tasks, or one after the other."""

    async def begin(self, calls: Calls) -> None:
        """Run them: all have begun, or are done, on return."""
        ...

    async def arrivals(self, poll: Poll, wait_seconds: float) -> Sequence[Received]:
        """Messages; empty when a call has ended first, somebody woke us, or nothing came for that long."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let time pass before something is tried again."""
        ...

    def wake(self) -> None:
        """Let `arrivals` return now."""
        ...

    async def close(self) -> None:
        """End what still runs, without waiting for its result."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside of the loop."""

    ledger: Ledger
    sink: Sink
    runner: Runner
    concurrency: Concurrency
    clock: Clock
