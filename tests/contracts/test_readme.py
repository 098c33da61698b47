"""What contracts/README.md tells a stranger to send is what our door takes."""

import re
from pathlib import Path

import pytest

from outlast.contracts.domain_events import FindingCreated, decode_data
from outlast.contracts.topics import producer_topic
from outlast.messaging.cloudevents import parse
from outlast.messaging.ports import Received

TEXT = (Path(__file__).parents[2] / "contracts/README.md").read_text(encoding="utf-8")
LINES = re.findall(r"^```text\n(.+)\n```$", TEXT, re.MULTILINE)


def as_the_console_producer_reads(line: str) -> Received:
    """Headers, key and value by tabs; headers by commas, a header's name up to its first colon."""
    headers, key, value = line.split("→")
    pairs = (pair.split(":", 1) for pair in headers.split(","))
    return Received(
        producer_topic("nightly"),
        0,
        0,
        1_773_480_413_589,
        key.encode(),
        value.encode(),
        tuple((name, content.encode()) for name, content in pairs),
    )


@pytest.mark.parametrize("line", LINES, ids=["structured", "binary"])
def test_the_example_is_an_event_that_a_runbook_can_fire_on(line: str) -> None:
    event = parse(as_the_console_producer_reads(line))
    assert (event.company_id, event.source, event.id) == ("acme", "scanner/nightly", "scan-81/F-1042")
    assert event.time is not None
    data = decode_data(event.type, event.data)
    assert isinstance(data, FindingCreated)
    assert (data.finding_id, data.severity) == ("F-1042", "critical")


def test_both_modes_are_shown_and_mean_the_same() -> None:
    structured, binary = (parse(as_the_console_producer_reads(line)) for line in LINES)
    assert (structured.id, structured.time, structured.subject) == (binary.id, binary.time, binary.subject)
    assert decode_data(structured.type, structured.data) == decode_data(binary.type, binary.data)
