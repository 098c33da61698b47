"""A firing as it is said: one CloudEvent, the same whenever it is said again."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import Raw

from outlast.contracts import topics
from outlast.contracts.domain_events import SCHEDULE, TIMER_SCHEDULER, ScheduleFired, schedule_subject
from outlast.messaging.cloudevents import CloudEvent, to_structured
from outlast.messaging.ports import Outgoing
from outlast.runbooks.instants import format_instant


class Fired(NamedTuple):
    """One time of one rule's schedule that fired."""

    company_id: str
    runbook_id: str
    rule: int
    scheduled_at: datetime
    cron: str
    timezone: str
    is_catch_up: bool
    fired_at: datetime

    @property
    def position(self) -> tuple[str, str, int, datetime]:
        """Its place in the order."""
        return self[:4]

    @property
    def name(self) -> str:
        """All of it as a text, for the walk over what is said again."""
        return _encoder.encode(self).decode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Fired)


def read_name(name: str) -> Fired:
    """The firing that has this name."""
    return _decoder.decode(name)


def message(fired: Fired) -> Outgoing:
    """The event. Its id is made of what fired, so that a double firing is one event."""
    data = ScheduleFired(
        scheduled_at=fired.scheduled_at,
        cron=fired.cron,
        timezone=fired.timezone,
        runbook_id=fired.runbook_id,
        rule=fired.rule,
        is_catch_up=fired.is_catch_up,
    )
    event = CloudEvent(
        id=f"cron:{fired.runbook_id}:{fired.rule}:{format_instant(fired.scheduled_at.astimezone(UTC))}",
        source=TIMER_SCHEDULER,
        type=SCHEDULE,
        company_id=fired.company_id,
        data=Raw(_encoder.encode(data)),
        time=fired.scheduled_at,
        subject=schedule_subject(fired.runbook_id, fired.rule),
    )
    headers, value = to_structured(event)
    return Outgoing(
        topics.SCHEDULE_FIRED, value, f"{fired.company_id}/{fired.runbook_id}".encode(), None, headers
    )
