"""Bytes to activities in hand. What cannot be read, or could not be answered, is a ContractError: a dead letter."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import RunActivity
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runtime.tracing import traceparent_of
from outlast_action_executor.core.claim import Asked, Resolution, Row
from outlast_action_executor.core.offsets import Offsets
from outlast_action_executor.ports import Operation, Plan

_EXECUTION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_ACTIVITY_ID_CHARACTERS_MAX = 200


class Attempt(NamedTuple):
    """One attempt at one activity: what is claimed, run and settled."""

    of: Operation
    attempt: int


@dataclass(slots=True, eq=False)
class Partition:
    """A partition in our hands. `is_lost` once it is not: what was read of it is forgotten, or ends quietly."""

    epoch: int
    offsets: Offsets
    is_paused: bool = False
    is_lost: bool = False


@dataclass(slots=True, eq=False)
class Item:
    """A message in hand, until everything that it called for is acknowledged."""

    partition: Partition
    offset: int
    timestamp_ms: int
    is_done: bool = False


@dataclass(slots=True, eq=False)
class Activity:
    """A message that asks for an attempt at an activity."""

    item: Item
    asked: RunActivity
    plan: Plan
    traceparent: str
    key: Attempt
    over: Row | None = None
    """The claim that ours is to replace."""
    resolution: Resolution | None = None

    @property
    def company_id(self) -> str:
        """Whose it is."""
        return self.asked.company_id

    @property
    def destination(self) -> str | None:
        """Whom it loads."""
        return self.plan.destination

    def question(self) -> Asked:
        """What the claim decision needs of it."""
        plan, asked = self.plan, self.asked
        return Asked(asked.attempt, plan.is_idempotent, plan.has_look_up, asked.on_unknown)


def read(message: Received, inbox_partitions: int) -> tuple[RunActivity, str]:
    """The activity and its traceparent; ContractError with the path of the fault."""
    asked = codec.activities.decode(message.value)
    if _EXECUTION.fullmatch(asked.execution_id) is None:
        raise ContractError("expected an execution id (a UUID of version 8 in lower case)", "$.execution_id")
    if ids.engine_partition(asked.execution_id) >= inbox_partitions:
        raise ContractError(f"expected a partition of {inbox_partitions}", "$.execution_id")
    if not 0 < len(asked.activity_id) <= _ACTIVITY_ID_CHARACTERS_MAX or "\x00" in asked.activity_id:
        raise ContractError(
            f"expected 1 to {_ACTIVITY_ID_CHARACTERS_MAX} characters, no NUL", "$.activity_id"
        )
    if not 0 < asked.attempt < 2**31:
        raise ContractError(f"expected an attempt from 1 on, got {asked.attempt}", "$.attempt")
    if not asked.timeout_seconds > 0:
        raise ContractError(f"expected seconds above 0, got {asked.timeout_seconds}", "$.timeout_seconds")
    return asked, traceparent_of(message.headers)


def activity(item: Item, asked: RunActivity, plan: Plan, traceparent: str) -> Activity:
    """The activity in hand."""
    return Activity(
        item,
        asked,
        plan,
        traceparent,
        Attempt(Operation(asked.execution_id, asked.activity_id), asked.attempt),
    )
