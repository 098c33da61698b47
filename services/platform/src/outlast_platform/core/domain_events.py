"""The platform's own events as messages: CloudEvents in structured mode, one subject's events in order."""

from datetime import datetime

import msgspec
from msgspec import Raw

from outlast.contracts.domain_events import EventData, event_type_of
from outlast.contracts.topics import PLATFORM_EVENTS
from outlast.messaging.cloudevents import CloudEvent, to_structured
from outlast.messaging.ports import Outgoing

SOURCE = "outlast/platform"
_encoder = msgspec.json.Encoder()


def event_message(
    event_id: str,
    company_id: str,
    at: datetime,
    data: EventData,
    *,
    traceparent: str = "",
    chain: tuple[str, ...] = (),
) -> Outgoing:
    """The message. Its subject is the finding, else the asset, else the scan; the subject is its key."""
    subject = str(
        getattr(data, "finding_id", "") or getattr(data, "asset_id", "") or getattr(data, "scan_id", "")
    )
    headers, value = to_structured(
        CloudEvent(
            id=event_id,
            source=SOURCE,
            type=event_type_of(data),
            company_id=company_id,
            data=Raw(_encoder.encode(data)),
            time=at,
            subject=subject,
            traceparent=traceparent,
            chain=chain,
        )
    )
    return Outgoing(PLATFORM_EVENTS, value, subject.encode(), headers=headers)
