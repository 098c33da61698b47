"""The door for events over HTTP: the same text, the same checks as on Kafka, and whose word the caller may give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec import Raw

from outlast.contracts.domain_events import decode_data
from outlast.contracts.topics import API_EVENTS
from outlast.errors import ContractError
from outlast.messaging.cloudevents import STRUCTURED, CloudEvent, parse, to_structured
from outlast.messaging.ports import Outgoing, Received

BATCH = "application/cloudevents-batch+json"
SINGLE = "application/cloudevents+json"
PLAIN = "application/json"
RESERVED_SOURCES = ("outlast/", "outlast:", "/outlast/", "urn:outlast:", "cron:")
"""Sources that only services of the product speak as; an event of theirs could hide a real one."""

_batch = msgspec.json.Decoder(list[Raw])


class Refusal(NamedTuple):
    """Why events are not taken: where in the body, and what."""

    path: str
    message: str
    is_forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Speaker:
    """For whom, and as which sources, a caller may publish."""

    company_id: str
    """"" for every company."""
    sources: tuple[str, ...]
    """Prefixes of allowed sources; () for all that are not reserved."""


def read_events(body: bytes, content_type: str, events_max: int) -> list[CloudEvent] | list[Refusal]:
    """The events of a request, or everything that is wrong with them."""
    media = content_type.partition(";")[0].strip().lower()
    is_batch = media == BATCH or (media == PLAIN and body.lstrip()[:1] == b"[")
    if media not in {BATCH, SINGLE, PLAIN}:
        return [Refusal("content-type", f"expected {SINGLE} or {BATCH}, got {media or 'none'}")]
    if not is_batch:
        return _each([body], [""])
    try:
        parts = _batch.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        return [Refusal("", f"expected a JSON array of CloudEvents: {fault}")]
    if not 1 <= len(parts) <= events_max:
        return [Refusal("", f"expected 1 to {events_max} events, got {len(parts)}")]
    return _each([bytes(part) for part in parts], [f"[{index}]" for index in range(len(parts))])


def _each(values: Sequence[bytes], places: Sequence[str]) -> list[CloudEvent] | list[Refusal]:
    events: list[CloudEvent] = []
    faults: list[Refusal] = []
    for value, place in zip(values, places, strict=True):
        try:
            event = parse(Received(API_EVENTS, 0, 0, 0, None, value, (("content-type", STRUCTURED),)))
            decode_data(event.type, event.data)
            events.append(event)
        except ContractError as fault:
            faults.append(Refusal(_join(place, fault.path), fault.message))
    return faults or events


def check_speaker(events: Sequence[CloudEvent], speaker: Speaker) -> list[Refusal]:
    """What the caller may not say; empty if all may be said."""
    single = len(events) == 1
    refusals: list[Refusal] = []
    for index, event in enumerate(events):
        place = "" if single else f"[{index}]"
        if speaker.company_id and event.company_id != speaker.company_id:
            message = f"expected {speaker.company_id}, the company of the API key"
            refusals.append(Refusal(_join(place, "companyid"), message, True))
        if event.source.lower().startswith(RESERVED_SOURCES):
            message = f"expected a source of your own; {', '.join(RESERVED_SOURCES)} are the product's"
            refusals.append(Refusal(_join(place, "source"), message, True))
        elif speaker.sources and not event.source.startswith(speaker.sources):
            message = f"expected a source that begins with {' or '.join(speaker.sources)}"
            refusals.append(Refusal(_join(place, "source"), message, True))
    return refusals


def to_message(event: CloudEvent) -> Outgoing:
    """The event on `platform.api.events`. One subject's events keep their order."""
    headers, value = to_structured(event)
    key = f"{event.company_id}/{event.subject or event.id}"
    return Outgoing(API_EVENTS, value, key.encode(), None, headers)


def _join(place: str, path: str) -> str:
    return f"{place}.{path}" if place and path else place or path
