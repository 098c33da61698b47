"""B4: at a calm 50 events a second, how long from the event to its first POST, and to its run's record.

The driver's clock is the machine's monotonic one, the same in the receiver's process. Executions are told apart by
what `executions.lifecycle` says of them, recorded ones by `executions.recorded`: contracts, no product code.
"""

import json
import statistics
import time
import uuid
from dataclasses import dataclass

import httpx
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.bench.load import System, event

EVENTS_PER_SECOND = 50
SECONDS = 20
SETTLE_SECONDS = 30.0
LIFECYCLE, RECORDED = "executions.lifecycle", "executions.recorded"


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from the event's produce call, sorted."""

    first_post: list[float]
    recorded: list[float]


def percentile(sorted_values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def median(values: list[float]) -> float:
    """The middle."""
    return statistics.median(values)


class Pace:
    """Produces events at a pace and watches what becomes of each."""

    def __init__(self, system: System, topic: str, receiver_url: str) -> None:
        self._topic = topic
        self._receiver = httpx.Client(base_url=receiver_url.rsplit("/", 1)[0], trust_env=False)
        self._producer = Producer(
            {"bootstrap.servers": system.kafka, "linger.ms": 0, "enable.idempotence": True, "log_level": 2}
        )
        self._consumer = Consumer(
            {"bootstrap.servers": system.kafka, "group.id": f"pace-{uuid.uuid4()}", "enable.auto.commit": False,
             "fetch.min.bytes": 1, "fetch.wait.max.ms": 500, "log_level": 2}
        )  # fmt: skip
        parts: list[TopicPartition] = []
        for name in (LIFECYCLE, RECORDED):
            metadata = self._consumer.list_topics(name, timeout=10)
            parts += [TopicPartition(name, p) for p in metadata.topics[name].partitions]
        for part in parts:
            part.offset = self._consumer.get_watermark_offsets(part, timeout=10)[1]
        self._consumer.assign(parts)
        self._event_of: dict[str, str] = {}
        self._recorded_at: dict[str, float] = {}

    def run(self, finding_ids: list[str]) -> Latencies:
        """One event a finding, evenly; then wait for the last record."""
        self._receiver.get("/arrivals").raise_for_status()  # what came before is forgotten
        sent: dict[str, tuple[str, float]] = {}
        began = time.monotonic()
        for number, finding_id in enumerate(finding_ids):
            key, value = event(finding_id)
            self._watch_until(began + number / EVENTS_PER_SECOND)
            sent[json.loads(value)["id"]] = (finding_id, time.monotonic())
            self._producer.produce(
                self._topic, value, key=key, headers={"content-type": "application/cloudevents+json"}
            )
            self._producer.poll(0)
        ends = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < ends and len(self._done(sent)) < len(sent):
            self._watch_until(time.monotonic() + 0.2)
        done = self._done(sent)
        arrivals: dict[str, float] = self._receiver.get("/arrivals").json()
        missing = [name for name in sent if name not in done or sent[name][0] not in arrivals]
        if missing:
            raise SystemExit(
                f"bench: {len(missing)} of {len(sent)} events came to no end in {SETTLE_SECONDS:g} s"
            )
        return Latencies(
            sorted((arrivals[finding_id] - at) * 1000 for finding_id, at in sent.values()),
            sorted((done[name] - at) * 1000 for name, (_, at) in sent.items()),
        )

    def _done(self, sent: dict[str, tuple[str, float]]) -> dict[str, float]:
        recorded = {self._event_of[run]: at for run, at in self._recorded_at.items() if run in self._event_of}
        return {name: recorded[name] for name in sent if name in recorded}

    def _watch_until(self, instant: float) -> None:
        while (left := instant - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            if message is not None and message.error() is None:
                self._take(message, time.monotonic())

    def _take(self, message: Message, at: float) -> None:
        document = json.loads(message.value() or b"{}")
        if message.topic() == RECORDED:
            for run in document["executions"]:
                self._recorded_at.setdefault(run, at)
        elif "event" in document:
            self._event_of[document["execution_id"]] = document["event"]["id"]

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
        self._receiver.close()
