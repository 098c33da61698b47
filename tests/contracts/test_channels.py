"""The channel files say what the code does: topics, messages, and who talks to whom."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from outlast.contracts import topics
from outlast.contracts.topics import SERVICES, TOPICS, Topic
from outlast.testing.contracts.channels import Channel, asyncapi, read_channels
from outlast.testing.contracts.schemas import ENVELOPE, MESSAGES, contracts

ROOT = Path(__file__).parents[2]
CHANNELS = read_channels(ROOT / "contracts")
BY_ADDRESS = {channel.address: channel for channel in CHANNELS}
PATTERN = "platform.{producer}.events"
each_channel = pytest.mark.parametrize("channel", CHANNELS, ids=[each.id for each in CHANNELS])
DEAD_LETTERS = {topics.dead_letters(service) for service in SERVICES}


def topic_of(channel: Channel) -> Topic:
    """As it is made on the broker."""
    if channel.address == PATTERN:
        return topics.producer("nightly")
    return {topic.name: topic for topic in TOPICS}[channel.address]


def test_every_topic_has_a_channel_file_and_every_file_a_topic() -> None:
    assert BY_ADDRESS.keys() == {topic.name for topic in TOPICS} | {PATTERN}
    assert topics.producer_topic("{producer}") == PATTERN


@each_channel
def test_a_topic_is_made_as_its_channel_says(channel: Channel) -> None:
    topic = topic_of(channel)
    assert channel.partitions == topic.partitions
    assert channel.document["bindings"]["kafka"].get("partitions") == topic.partitions
    said = {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in channel.topic_configuration.items()
    }
    assert said == topic.config()


@each_channel
def test_a_topic_has_the_owner_that_its_channel_names(channel: Channel) -> None:
    if channel.address == PATTERN:
        assert channel.owner == "the producer"
    else:
        assert channel.owner == topic_of(channel).owner
        assert channel.owner in SERVICES


@each_channel
def test_a_channel_says_what_people_ask_of_it(channel: Channel) -> None:
    for member in ("title", "description", "x-key", "x-partition-choice"):
        assert channel.document[member], f"expected {member}"
    assert set(channel.producers) <= {*SERVICES, "producers"}
    assert set(channel.consumers) <= set(SERVICES)


@each_channel
def test_a_refused_message_goes_to_the_dead_letters_of_the_service_that_refused_it(channel: Channel) -> None:
    dead = channel.document["x-dead-letters"]
    is_kept = not topic_of(channel).is_compacted and channel.address not in DEAD_LETTERS
    expected = {service: topics.dead_letters(service) for service in channel.consumers} if is_kept else {}
    assert dead == expected
    for service in expected:
        assert BY_ADDRESS[topics.dead_letters(service)].producers == [service]


def test_lanes_are_co_partitioned() -> None:
    lanes = [channel for channel in CHANNELS if channel.document.get("x-lanes")]
    assert {channel.address for channel in lanes} == {
        topics.LIFECYCLE, topics.RECORDED, topics.GATE_REQUESTS, topics.GATE_DECISIONS, topics.CONTROL_COMMANDS,
    }  # fmt: skip
    assert len({channel.partitions for channel in lanes}) == 1


def test_every_message_travels_somewhere_and_every_channel_names_messages_that_exist() -> None:
    named = Counter(message for channel in CHANNELS for message in channel.messages)
    known = {contract.name for contract in contracts() if contract.family == MESSAGES}
    assert named.keys() == known | {ENVELOPE, "dead_letter"}
    assert all(channel.messages for channel in CHANNELS)


def test_every_reference_of_the_index_leads_somewhere() -> None:
    index = yaml.safe_load((ROOT / "contracts/asyncapi.yaml").read_text(encoding="utf-8"))
    assert index == asyncapi(CHANNELS)
    found = 0
    for base, document in [
        ("asyncapi.yaml", index),
        *((f"channels/{c.id}.yaml", c.document) for c in CHANNELS),
    ]:
        for reference in references(document):
            path, _, pointer = reference.partition("#")
            target = (ROOT / "contracts" / base).parent / path if path else ROOT / "contracts" / base
            assert target.is_file(), reference
            if pointer:
                node = yaml.safe_load(target.read_text(encoding="utf-8"))
                for part in pointer.strip("/").split("/"):
                    node = node[part]
            found += 1
    assert found > len(CHANNELS)


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_the_flow_table_of_the_services_says_the_same() -> None:
    rows = flow_table()
    assert rows.keys() == set(SERVICES)
    for service, (consumes, produces) in rows.items():
        assert consumes == {c.id for c in CHANNELS if service in c.consumers}, f"{service} consumes"
        said = {c.id for c in CHANNELS if service in c.producers and c.address not in DEAD_LETTERS}
        assert produces == said, f"{service} produces"


def flow_table() -> dict[str, tuple[set[str], set[str]]]:
    """Service to the channels that it consumes and produces, as services/README.md has them."""
    text = (ROOT / "services/README.md").read_text(encoding="utf-8")
    rows: dict[str, tuple[set[str], set[str]]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.match(r"\[(\w+)\]\(\1/\)$", cells[0])
        if name and len(cells) == 5:
            rows[name[1]] = (channels_in(cells[1]), channels_in(cells[3]))
    return rows


def channels_in(cell: str) -> set[str]:
    named = set(re.findall(r"`([^`]+)`", cell))
    if "activities.*" in named:
        named = (named - {"activities.*"}) | {topics.activities(name) for name in topics.ACTION_CLASSES}
    return named
