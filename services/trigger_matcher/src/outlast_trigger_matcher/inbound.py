"""Bytes to domain events, checked at the door: envelope, type, data, and who may speak for which company."""

from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, UnsetType

from outlast import limits
from outlast.clock import from_milliseconds
from outlast.contracts import topics
from outlast.contracts.domain_events import (
    SCHEDULE,
    TIMER_SCHEDULER,
    EventData,
    ScheduleFired,
    decode_data,
    decode_schedule,
    schedule_subject,
)
from outlast.contracts.messages import EventReference
from outlast.errors import ContractError
from outlast.messaging import cloudevents
from outlast.messaging.cloudevents import CloudEvent
from outlast.messaging.ports import Received
from outlast.runtime.tracing import derived_traceparent, valid_traceparent
from outlast_trigger_matcher.definitions import Producers


class _EventPart(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    id: str
    source: str
    time: datetime
    subject: str
    data: Raw


class _Company(msgspec.Struct, frozen=True):
    id: str


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The enriched payload as it is stored and as conditions and templates read it."""

    event: _EventPart
    company: _Company
    finding: Raw | UnsetType = UNSET
    asset: Raw | UnsetType = UNSET


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event from the platform, checked."""

    company_id: str
    reference: EventReference
    received: Received
    received_at: datetime
    data: Raw
    finding_id: str
    asset_id: str
    traceparent: str
    chain: tuple[str, ...]
    scheduled: ScheduleFired | None = None
    """Of an event of the timer scheduler: it can match the one rule that this names."""

    @property
    def key(self) -> tuple[str, str, str]:
        """An event is known by (company, source, id)."""
        return (self.company_id, self.reference.source, self.reference.id)

    def plain(self, finding: Raw | None = None, asset: Raw | None = None) -> dict[str, object]:
        """What decoding `payload(finding, asset)` gives, for conditions to read, without encoding it first."""
        reference = self.reference
        event = {"type": reference.type, "id": reference.id, "source": reference.source,
                 "time": msgspec.to_builtins(reference.time), "subject": reference.subject,
                 "data": msgspec.json.decode(self.data)}  # fmt: skip
        plain: dict[str, object] = {"event": event, "company": {"id": self.company_id}}
        if finding is not None:
            plain["finding"] = msgspec.json.decode(finding)
        if asset is not None:
            plain["asset"] = msgspec.json.decode(asset)
        return plain

    def payload(self, finding: Raw | None = None, asset: Raw | None = None) -> bytes:
        """The payload, with what was looked up laid in; LimitExceeded's sibling ContractError when too large."""
        encoded = msgspec.json.encode(
            Payload(
                event=_EventPart(
                    type=self.reference.type,
                    id=self.reference.id,
                    source=self.reference.source,
                    time=self.reference.time,
                    subject=self.reference.subject,
                    data=self.data,
                ),
                company=_Company(self.company_id),
                finding=UNSET if finding is None else finding,
                asset=UNSET if asset is None else asset,
            )
        )
        if len(encoded) > limits.PAYLOAD_BYTES_MAX:
            raise ContractError(f"expected an enriched payload of at most {limits.PAYLOAD_BYTES_MAX} bytes, "
                                f"got {len(encoded)}")  # fmt: skip
        return encoded


def read(received: Received, producers: Producers) -> DomainEvent:
    """The checked event, or ContractError with the path of the first fault."""
    event = cloudevents.parse(received)
    data = _checked(event, received.topic, producers)
    at = from_milliseconds(received.timestamp_ms)
    return DomainEvent(
        company_id=event.company_id,
        reference=EventReference(
            source=event.source,
            id=event.id,
            type=event.type,
            time=event.time or at,
            subject=event.subject or "",
        ),
        received=received,
        received_at=at,
        data=event.data,
        finding_id=getattr(data, "finding_id", None) or "",
        asset_id=getattr(data, "asset_id", None) or "",
        traceparent=valid_traceparent(event.traceparent or "")
        or derived_traceparent(event.company_id, event.source, event.id),
        chain=event.chain,
        scheduled=data if isinstance(data, ScheduleFired) else None,
    )


def _checked(event: CloudEvent, topic: str, producers: Producers) -> EventData:
    """The data, if whoever wrote it may say so: of schedules the timer scheduler speaks, and of nothing else."""
    if topic != topics.SCHEDULE_FIRED:
        producers.check(topic, event.company_id)
        if event.source == TIMER_SCHEDULER:
            raise ContractError("expected a producer's own source, not the timer scheduler's", "source")
        return decode_data(event.type, event.data)
    if (event.source, event.type) != (TIMER_SCHEDULER, SCHEDULE):
        raise ContractError(f"expected {SCHEDULE} from {TIMER_SCHEDULER}, got {event.type[:60]!r}", "type")
    fired = decode_schedule(event.data)
    if event.subject != schedule_subject(fired.runbook_id, fired.rule):
        raise ContractError("expected the rule that data names", "subject")
    return fired
