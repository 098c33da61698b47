"""The outside that actions act on: it counts every call by idempotency key, before anything is deduplicated."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw

from outlast.contracts.messages import ActionError, RunActivity
from outlast.messaging.ports import Received
from outlast.testing.faults import Faults
from outlast.testing.world import SimulatedClock
from outlast_action_executor.concurrency import OneByOne
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.local import LocalTables
from outlast_action_executor.ports import Calls, Operation, Plan, Poll, Ran
from tests.simulation import workload

LOOKED_UP = frozenset({"open_ticket"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the outside."""

    by: str
    life: int
    """The caller's deaths so far: two calls of one life have the same."""
    at_seconds: float
    was_recorded: bool
    """Whether the ledger had this attempt's result, or a success, already."""
    attempt: int = 1
    is_after_end: bool = False
    """Whether the ledger had the end of its inline run already."""


class Caller(NamedTuple):
    """A process, in one of its lives."""

    name: str
    life: int


class Receiver:
    """Everything outside, shared by all executors."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.calls: dict[Operation, list[Call]] = {}

    def take(self, activity: RunActivity, caller: "Caller", was_recorded: bool, is_after_end: bool) -> Ran:
        """Do what is asked. Each call has a receipt of its own, so that the results of two can be told apart."""
        operation = Operation(activity.execution_id, activity.activity_id)
        calls = self.calls.setdefault(operation, [])
        now = self._clock.seconds
        calls.append(Call(caller.name, caller.life, now, was_recorded, activity.attempt, is_after_end))
        return self.outcome(activity, len(calls))

    def outcome(self, activity: RunActivity, receipt: int) -> Ran:
        """What the outside answers to this call of the operation, the first having receipt 1."""
        config = msgspec.json.decode(activity.input)
        if config.get("outcome") == "fail":
            return Ran(error=ActionError(code="refused", message="the outside says no"))
        if activity.attempt <= config.get("fails", 0):
            return Ran(error=ActionError(code="away", message="the outside is away", retryable=True))
        text = str(config.get("text", ""))
        return Ran(output=Raw(msgspec.json.encode({"text": text, "number": len(text), "receipt": receipt})))


class SimulatedRunner:
    """The executor's port `Runner`, with the rules of the real one about unknown outcomes."""

    def __init__(self, receiver: Receiver, faults: Faults, caller: "Caller", ledger_has: "LedgerHas") -> None:
        self._receiver = receiver
        self._faults = faults
        self._caller = caller
        self._ledger_has = ledger_has

    def plan(self, activity: RunActivity) -> Plan:
        """Look at it without doing anything."""
        kind = workload.CATALOGUE.get(activity.action)
        if kind is None:
            refusal = ActionError(code="unknown_action", message=activity.action)
            return Plan(None, True, False, None, refusal)
        return Plan("outside:443", kind.is_idempotent, activity.action in LOOKED_UP, None)

    async def run(
        self, activity: RunActivity, plan: Plan, resolution: Resolution | None, traceparent: str
    ) -> Ran:
        """Do it; the process may die right before and right after."""
        if plan.refusal is not None:
            return Ran(error=plan.refusal)
        unknown = ActionError(code="outcome_unknown", message="nobody knows")
        if resolution is Resolution.FAIL:
            return Ran(error=unknown, resolved=str(resolution))
        operation = Operation(activity.execution_id, activity.activity_id)
        if resolution is Resolution.LOOK_UP:
            if operation in self._receiver.calls:
                ran = self._receiver.outcome(activity, 1)
                return Ran(ran.output, UNSET, ran.error, str(Resolution.LOOK_UP))
            if not (plan.is_idempotent or activity.on_unknown == "retry"):
                return Ran(error=unknown, resolved=str(Resolution.FAIL))
        self._faults.at_call("the call, before")
        has = self._ledger_has
        ran = self._receiver.take(
            activity, self._caller, has(operation, activity.attempt), has.ended(operation.execution_id)
        )
        self._faults.at_call("the call, after the outside answered")
        return ran if resolution is None else Ran(ran.output, ran.fold, ran.error, str(Resolution.RETRY))


class Beside(OneByOne):
    """The executor's port `Concurrency`: what has begun ends in some later turn, in any order, or with its process.

    Calls reach the outside late too: only for worlds in which no claim's deadline passes.
    """

    def __init__(self, faults: Faults, random: Random) -> None:
        self._faults = faults
        self._random = random
        self._running: list[Coroutine[object, object, None]] = []

    async def begin(self, calls: Calls) -> None:
        """They run from now on."""
        self._running += calls

    async def arrivals(self, poll: Poll, wait_seconds: float) -> Sequence[Received]:
        """Some calls end; then what one poll brings."""
        count = len(self._running)
        if self._faults.is_on and count:
            count = self._random.randint(0, count)
        for _ in range(count):
            await self._running.pop(self._random.randrange(len(self._running)))
        return await super().arrivals(poll, wait_seconds)

    def __del__(self) -> None:
        for call in self._running:
            call.close()


class LedgerHas:
    """Whether the ledger has an answer to an attempt: its result, or the success of another."""

    def __init__(self, tables: LocalTables) -> None:
        self._claims = tables.claims
        self._ends = tables.ends

    def ended(self, execution_id: str) -> bool:
        """Whether the inline run has ended."""
        return execution_id in self._ends

    def __call__(self, operation: Operation, attempt: int) -> bool:
        """Whether it needs no call."""
        rows = self._claims.get(operation, {})
        return any(
            row.is_success or (row.result is not None and number == attempt) for number, row in rows.items()
        )
