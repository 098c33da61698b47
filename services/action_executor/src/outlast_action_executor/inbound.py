"""Bytes to activities and runs in hand. What cannot be read, or answered, is a ContractError: a dead letter."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import Cancel, InlineMessage, RunActivity, Start
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runtime.tracing import traceparent_of
from outlast_action_executor.core.claim import Asked, Resolution, Row
from outlast_action_executor.core.course import INLINE, SHADOW, Course
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
    is_inline: bool = False
    runs: int = 0
    """Inline runs in hand."""
    run_bytes: int = 0
    """Their start messages, together."""
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
    run: "Run | None" = None
    """The inline run that asked for it; None if the engine did."""
    was_tried: bool = False
    """The ledger has a row of it: it is looked up before it is claimed."""

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


@dataclass(slots=True, eq=False)
class Run:
    """An inline run in hand, from its start message to the delivery of its end."""

    item: Item
    start: Start
    bytes: int
    received: Received | None
    """The message that brought it, until it has begun."""
    joined: list[Item] = field(default_factory=list[Item])
    """Its start and its cancellation, received again meanwhile: done with it."""
    cancels: list[tuple[Cancel, datetime]] = field(default_factory=list[tuple[Cancel, datetime]])
    """What was ordered and is not carried out yet."""
    course: Course | None = None
    """None until it has begun."""
    tried: Collection[tuple[str, int]] = ()
    """Activities and attempts that the ledger has rows of."""
    has_said_started: Item | None = None
    """Done when the `started` message, which carries the payload, is delivered."""

    @property
    def is_lost(self) -> bool:
        """Whether its partition is no longer ours."""
        return self.item.partition.is_lost


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


def read_inline(message: Received, inbox_partitions: int, lanes: int) -> InlineMessage:
    """A run to be done here, or the end of one; ContractError with the path of the fault."""
    asked = codec.inline.decode(message.value)
    if _EXECUTION.fullmatch(asked.execution_id) is None:
        raise ContractError("expected an execution id (a UUID of version 8 in lower case)", "$.execution_id")
    if isinstance(asked, Cancel):
        return asked
    if asked.mode not in (INLINE, SHADOW):
        raise ContractError(f"expected the mode inline or shadow, got {asked.mode[:40]!r}", "$.mode")
    if not 0 <= asked.lane < lanes:
        raise ContractError(f"expected a lane of {lanes}, got {asked.lane}", "$.lane")
    if asked.mode == SHADOW and ids.engine_partition(asked.execution_id) >= inbox_partitions:
        raise ContractError(f"expected a partition of {inbox_partitions}", "$.execution_id")
    return asked


def activity(item: Item, asked: RunActivity, plan: Plan, traceparent: str) -> Activity:
    """The activity in hand."""
    return Activity(
        item,
        asked,
        plan,
        traceparent,
        Attempt(Operation(asked.execution_id, asked.activity_id), asked.attempt),
    )
