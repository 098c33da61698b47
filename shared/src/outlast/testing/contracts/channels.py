"""The channel files of contracts/ read, and the AsyncAPI index built from them.

One file a topic, written by hand: each is an AsyncAPI 3 channel with what AsyncAPI has no word for in `x-` members.
The index only lists: channels, who sends and receives on them, and the messages with their schemas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from outlast.contracts.domain_events import DOMAIN_EVENTS
from outlast.testing.contracts.schemas import ENVELOPE, EVENTS, MESSAGES, contracts, schema_of

API_VERSION = "1.0.0"
"""Of the index: raised in its major part only by a change that is not compatible."""
SCHEMA_FORMAT = "application/schema+json;version=2020-12"
CLOUDEVENT = "application/cloudevents+json"

_ABOUT = (
    "What services, producers and tools say to each other over Kafka, one channel a topic. Begin with README.md. "
    "Written by `python -m outlast.testing.contracts` from channels/ and the schemas: edit those."
)


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic as its file has it."""

    id: str
    """The file's name without its ending."""
    document: Mapping[str, object]

    @property
    def address(self) -> str:
        """The topic's name, with parameters in braces."""
        return cast("str", self.document["address"])

    @property
    def owner(self) -> str:
        """Who decides what may be said here."""
        return cast("str", self.document["x-owner"])

    @property
    def producers(self) -> list[str]:
        """Services that write here; `producers` for those that are not ours."""
        return cast("list[str]", self.document["x-producers"])

    @property
    def consumers(self) -> list[str]:
        """Services that read here."""
        return cast("list[str]", self.document["x-consumers"])

    @property
    def messages(self) -> list[str]:
        """Wire names of what travels here."""
        return list(cast("dict[str, object]", self.document["messages"]))

    @property
    def partitions(self) -> int | None:
        """None = the broker's default."""
        return cast("int | None", self.document["x-partitions"])

    @property
    def topic_configuration(self) -> Mapping[str, object]:
        """The topic's settings on the broker."""
        kafka = cast("dict[str, dict[str, object]]", self.document["bindings"])["kafka"]
        return cast("dict[str, object]", kafka["topicConfiguration"])


def read_channels(root: Path) -> list[Channel]:
    """Every file of channels/, in the order of their names."""
    return [
        Channel(path.stem, cast("dict[str, object]", yaml.safe_load(path.read_text(encoding="utf-8"))))
        for path in sorted((root / "channels").glob("*.yaml"))
    ]


def asyncapi_text(root: Path) -> str:
    """The index as the text of asyncapi.yaml."""
    return yaml.safe_dump(asyncapi(read_channels(root)), sort_keys=False, allow_unicode=True, width=110)


def asyncapi(channels: list[Channel]) -> dict[str, object]:
    """The index: channels by reference, operations from who sends and receives, messages by their schemas."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:outlast:contracts",
        "info": {"title": "Outlast", "version": API_VERSION, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Any broker of the cluster, as KAFKA_BOOTSTRAP_SERVERS names it.",
                "variables": {"bootstrap": {"default": "localhost:9092"}},
            }
        },
        "channels": {each.id: {"$ref": f"./channels/{each.id}.yaml"} for each in channels},
        "operations": _operations(channels),
        "components": {"messages": _messages()},
    }


def _operations(channels: list[Channel]) -> dict[str, object]:
    found: dict[str, object] = {}
    for channel in channels:
        for action, parties in (("send", channel.producers), ("receive", channel.consumers)):
            for party in parties:
                found[f"{party}.{action}.{channel.id}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel.id}"},
                    "tags": [{"name": party}],
                }
    return dict(sorted(found.items()))


def _messages() -> dict[str, object]:
    trace = {
        "type": "object",
        "properties": {"traceparent": {"type": "string", "description": "W3C trace context of the run."}},
    }
    found: dict[str, object] = {
        ENVELOPE: {
            "name": ENVELOPE,
            "title": "Domain event",
            "summary": f"A CloudEvent whose type is one of {len(DOMAIN_EVENTS)}; its data has a schema of its own.",
            "contentType": CLOUDEVENT,
            "payload": _payload(f"{EVENTS}/{ENVELOPE}.schema.json"),
        },
        "dead_letter": {
            "name": "dead_letter",
            "title": "Dead letter",
            "summary": "A message that was refused, key and value as they came; why and from where in headers.",
            "headers": _dead_letter_headers(),
            "payload": {"description": "Any bytes."},
        },
    }
    for contract in contracts():
        if contract.family == MESSAGES:
            schema = schema_of(contract)
            found[contract.name] = {
                "name": contract.name,
                "title": schema["title"],
                "summary": schema["description"],
                "headers": trace,
                "payload": _payload(contract.path),
            }
    return found


def _payload(path: str) -> dict[str, object]:
    return {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./{path}"}}


def _dead_letter_headers() -> dict[str, object]:
    """As outlast.messaging.dead_letter writes them."""
    notes = {
        "dlq-id": "topic-partition-offset of the original; the same original refused twice has one id",
        "dlq-service": "who refused it",
        "dlq-topic": "where it came from",
        "dlq-partition": "where it came from, a number",
        "dlq-offset": "where it came from, a number",
        "dlq-timestamp-ms": "when the broker took the original",
        "dlq-error-class": "the error's class",
        "dlq-error": "the error's text, cut at 2 KiB",
        "dlq-cause-code": "stable and bounded, for counting; may be empty",
    }
    return {
        "type": "object",
        "description": "The original's own headers are kept under dlq-original-<name>.",
        "properties": {name: {"type": "string", "description": note} for name, note in notes.items()},
        "required": list(notes),
    }
