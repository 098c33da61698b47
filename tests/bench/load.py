"""The outside driver: it knows contracts/ and the API, produces events, and counts what is recorded.

The load is fixed: 20,000 distinct findings, events of 2 KB, 100 active runbooks of which one matches, which reads
one looked-up field in its condition and one in a placeholder, two placeholders an action, three actions.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from confluent_kafka import Consumer, Producer, TopicPartition

COMPANY = "bench"
PRODUCER = "bench"
FINDINGS = 20_000
RUNBOOKS = 100
PADDING = "p" * 1_650


@dataclass
class System:
    """Where the system under test is."""

    kafka: str
    control_plane: str
    platform: str
    admin_key: str


@dataclass
class Figures:
    """One measured run."""

    executions: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Executions a second, from the first event produced to the last run recorded."""
        return self.executions / self.seconds

    @property
    def cpu_per_thousand(self) -> float:
        """CPU-seconds of the whole machine for a thousand executions."""
        return self.cpu_seconds / self.executions * 1000


def busy_cpu_seconds() -> float:
    """CPU-seconds that the whole machine has spent on anything since boot (Linux)."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def client(system: System, url: str, company: str = COMPANY) -> httpx.Client:
    """A client of one of the APIs, as the administrator acting for a company: the bench's."""
    headers = {"authorization": f"Bearer {system.admin_key}"}
    params = {"company": company}
    return httpx.Client(
        base_url=f"{url}/api/v1", headers=headers, params=params, timeout=300, trust_env=False
    )


def action(number: int, url: str | None, is_calm: bool = False) -> dict[str, object]:
    """One of the three actions, with two placeholders; in the calm load one of them says which finding it is."""
    if url is None:
        config: dict[str, object] = {"title": "{{ finding.title }}", "severity": "{{ event.data.note }}"}
        return {"id": f"step{number}", "type": "bench_noop", "config": config}
    body = {"title": "{{ finding.title }}", "note": "{{ event.data.note }}"}
    if is_calm:
        body = {"title": "{{ finding.title }}", "finding": "{{ event.data.finding_id }}"}
    return {
        "id": f"step{number}",
        "type": "http_request",
        "config": {"method": "POST", "url": url, "body": body},
    }


def runbook(name: str, wanted: str, url: str | None, is_calm: bool = False) -> dict[str, object]:
    """A runbook that fires for findings of that severity and rule prefix."""
    condition = {
        "all": [
            {"field": "finding.rule_id", "op": "starts_with", "value": wanted},
            {"field": "event.data.note", "op": "eq", "value": "storm"},
        ]
    }
    return {
        "name": name,
        "rules": [{"event": "finding_updated", "condition": condition}],
        "actions": [action(number, url, is_calm) for number in (1, 2, 3)],
    }


def event(finding_id: str, company: str = COMPANY, note: str = "storm") -> tuple[bytes, bytes]:
    """(key, value): a structured CloudEvent of about 2 KB."""
    data = {"finding_id": finding_id, "changed": ["severity"], "note": note, "padding": PADDING}
    envelope = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "bench/driver",
        "type": "finding_updated",
        "companyid": company,
        "subject": finding_id,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "datacontenttype": "application/json",
        "data": data,
    }
    return finding_id.encode(), json.dumps(envelope).encode()


class Driver:
    """Produces events, and waits for nothing but the broker."""

    def __init__(self, system: System, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": system.kafka, "linger.ms": 0, "enable.idempotence": True,
             "queue.buffering.max.messages": 1_000_000, "log_level": 2}
        )  # fmt: skip

    def send(self, company: str, finding_ids: Iterable[str], note: str) -> None:
        """One event a finding; returns when the broker has them all."""
        for number, finding_id in enumerate(finding_ids):
            key, value = event(finding_id, company, note)
            self._producer.produce(
                self._topic, value, key=key, headers={"content-type": "application/cloudevents+json"}
            )
            if number % 500 == 0:
                self._producer.poll(0)
        self._producer.flush()


class Storm:
    """Produces events and waits until as many runs are recorded."""

    def __init__(self, system: System, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": system.kafka, "linger.ms": 0, "enable.idempotence": True,
             "queue.buffering.max.messages": 1_000_000, "log_level": 2}
        )  # fmt: skip
        self._consumer = Consumer(
            {"bootstrap.servers": system.kafka, "group.id": f"bench-{uuid.uuid4()}", "enable.auto.commit": False,
             "fetch.min.bytes": 1, "fetch.wait.max.ms": 100, "log_level": 2}
        )  # fmt: skip
        metadata = self._consumer.list_topics("executions.recorded", timeout=10)
        parts = [
            TopicPartition("executions.recorded", p)
            for p in metadata.topics["executions.recorded"].partitions
        ]
        for part in parts:
            part.offset = self._consumer.get_watermark_offsets(part, timeout=10)[1]
        self._consumer.assign(parts)

    def run(self, finding_ids: list[str], timeout_seconds: float = 300) -> Figures:
        """As fast as the broker takes them; the events are made before the clock starts."""
        events = [event(finding_id) for finding_id in finding_ids]
        recorded: set[str] = set()
        began, cpu = time.monotonic(), busy_cpu_seconds()
        for number, (key, value) in enumerate(events):
            self._producer.produce(
                self._topic, value, key=key, headers={"content-type": "application/cloudevents+json"}
            )
            if number % 500 == 0:
                self._producer.poll(0)
        self._producer.flush()
        while len(recorded) < len(events):
            if time.monotonic() - began > timeout_seconds:
                raise SystemExit(
                    f"bench: {len(recorded)} of {len(events)} recorded after {timeout_seconds:g} s"
                )
            for message in self._consumer.consume(500, 0.1):
                if message.error() is None:
                    recorded.update(json.loads(message.value() or b"{}").get("executions", ()))
        return Figures(len(events), time.monotonic() - began, busy_cpu_seconds() - cpu)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
