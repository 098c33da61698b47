"""The door for events over HTTP."""

import json

import pytest

from outlast.messaging.cloudevents import CloudEvent
from outlast_control_plane.intake import (
    BATCH,
    SINGLE,
    Refusal,
    Speaker,
    check_speaker,
    read_events,
    to_message,
)


def event(**changes: object) -> dict[str, object]:
    return {
        "specversion": "1.0", "id": "e1", "source": "tests", "type": "finding_created", "companyid": "acme",
        "subject": "findings/F", "data": {"finding_id": "F"},
    } | changes  # fmt: skip


def read(body: object, kind: str = SINGLE) -> list[CloudEvent] | list[Refusal]:
    return read_events(json.dumps(body).encode(), kind, 3)


def test_one_event_and_a_batch_are_read_and_keyed_by_their_subject() -> None:
    (single,) = read(event())
    assert isinstance(single, CloudEvent)
    message = to_message(single)
    assert (message.topic, message.key) == ("platform.api.events", b"acme/findings/F")
    assert json.loads(message.value or b"")["data"] == {"finding_id": "F"}
    assert len(read([event(), event(id="e2")], BATCH)) == 2
    assert len(read([event()], "application/json; charset=utf-8")) == 1


@pytest.mark.parametrize(
    ("body", "kind", "path"),
    [
        (event(type="schedule"), SINGLE, "type"),
        (event(data={}), SINGLE, "data"),
        ([event(), event(companyid="")], BATCH, "[1].companyid"),
        ([], BATCH, ""),
        ([event()] * 4, BATCH, ""),
        (event(), "text/plain", "content-type"),
        (event(), BATCH, ""),
    ],
)
def test_what_cannot_be_taken_is_named_by_its_place(body: object, kind: str, path: str) -> None:
    (refusal,) = read(body, kind)
    assert isinstance(refusal, Refusal)
    assert refusal.path == path


@pytest.mark.parametrize(
    ("speaker", "source", "paths"),
    [
        (Speaker("acme", ()), "tests", []),
        (Speaker("", ()), "tests", []),
        (Speaker("globex", ()), "tests", ["companyid"]),
        (Speaker("acme", ("scanner/",)), "scanner/1", []),
        (Speaker("acme", ("scanner/",)), "tests", ["source"]),
        (Speaker("acme", ()), "Outlast/platform", ["source"]),
        (Speaker("globex", ()), "cron:r:1:t", ["companyid", "source"]),
    ],
)
def test_a_caller_speaks_for_its_company_and_as_its_sources(
    speaker: Speaker, source: str, paths: list[str]
) -> None:
    (single,) = read(event(source=source))
    assert isinstance(single, CloudEvent)
    assert [refusal.path for refusal in check_speaker([single], speaker)] == paths
