"""The topics, their owners and how they are kept. contracts/channels says the same for people; a test compares.

`lanes` topics are co-partitioned: their partition counts are equal and never change.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from outlast.limits import MESSAGE_BYTES_MAX

DAY_MS = 24 * 60 * 60 * 1000
ACTION_CLASSES = ("notify", "finding", "itsm", "platform")

PLATFORM_EVENTS = "platform.core.events"
API_EVENTS = "platform.api.events"
ENGINE_INBOX = "engine.inbox"
LIFECYCLE = "executions.lifecycle"
RECORDED = "executions.recorded"
TIMER_COMMANDS = "timers.commands"
SIGNALS = "signals.inbound"
SUBSCRIPTIONS = "signals.subscriptions"
VERDICTS = "signals.verdicts"
DEFINITIONS = "runbooks.definitions"
PRODUCERS = "producers"
IDENTITIES = "identities"
CATALOGUE = "actions.catalogue"
ENGINE_STATUS = "engine.status"
BREAKERS = "breakers"
INLINE = "executions.inline"
GATE_REQUESTS = "gate.requests"
GATE_DECISIONS = "gate.decisions"
CONTROL_COMMANDS = "control.commands"
SCHEDULE_FIRED = "schedule.fired"


def activities(action_class: str) -> str:
    """The topic of one class of activities."""
    return f"activities.{action_class}"


def producer_topic(producer: str) -> str:
    """The topic that one producer of domain events writes to."""
    return f"platform.{producer}.events"


def dead_letters(service: str) -> str:
    """The one dead-letter topic of a service."""
    return f"{service}.dead_letters"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as contracts/ has it. `partitions` None = as the broker's default (8; 4 on the embedded one)."""

    name: str
    owner: str
    partitions: int | None = None
    is_compacted: bool = False
    retention_ms: int = 7 * DAY_MS
    extra: dict[str, str] = field(default_factory=dict[str, str])

    def config(self) -> dict[str, str]:
        """Topic-level settings. Broker time, because deciders take their `now` from it."""
        cleanup = (
            {"cleanup.policy": "compact"}
            if self.is_compacted
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        )
        return {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
            **cleanup,
            **self.extra,
        }


SERVICES = (
    "platform", "trigger_matcher", "gate", "engine", "action_executor", "timer_scheduler", "signal_delivery",
    "finalizer", "control_plane",
)  # fmt: skip

DEAD_LETTER_ENVELOPE_BYTES = 64 * 1024
"""What a dead letter's headers add: the largest message must still fit, else it could stop its partition."""


def _dead_letters(service: str) -> Topic:
    largest = {"max.message.bytes": str(MESSAGE_BYTES_MAX + DEAD_LETTER_ENVELOPE_BYTES)}
    return Topic(dead_letters(service), service, retention_ms=30 * DAY_MS, extra=largest)


TOPICS: tuple[Topic, ...] = (
    Topic(PLATFORM_EVENTS, "platform"),
    Topic(API_EVENTS, "control_plane"),
    Topic(SCHEDULE_FIRED, "timer_scheduler"),
    Topic(CONTROL_COMMANDS, "control_plane"),
    Topic(GATE_REQUESTS, "trigger_matcher"),
    Topic(GATE_DECISIONS, "gate"),
    Topic(INLINE, "trigger_matcher"),
    Topic(ENGINE_INBOX, "engine"),
    *(Topic(activities(name), "engine") for name in ACTION_CLASSES),
    Topic(TIMER_COMMANDS, "engine"),
    Topic(SIGNALS, "signal_delivery"),
    Topic(SUBSCRIPTIONS, "engine"),
    Topic(VERDICTS, "engine"),
    Topic(LIFECYCLE, "engine"),
    Topic(RECORDED, "finalizer"),
    Topic(DEFINITIONS, "control_plane", partitions=1, is_compacted=True),
    Topic(PRODUCERS, "control_plane", partitions=1, is_compacted=True),
    Topic(IDENTITIES, "control_plane", partitions=1, is_compacted=True),
    Topic(CATALOGUE, "action_executor", partitions=1, is_compacted=True),
    Topic(ENGINE_STATUS, "engine", partitions=1, is_compacted=True),
    Topic(BREAKERS, "finalizer", partitions=1, is_compacted=True),
    *(_dead_letters(name) for name in SERVICES),
)


def producer(name: str) -> Topic:
    """The topic of a producer that is not ours, as it is created when the producer is registered."""
    return Topic(producer_topic(name), name)


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Claim(NamedTuple):
    """A partition that the group has given us, and which incarnation of the topic it belongs to."""

    at: TopicPartition
    topic_id: str
