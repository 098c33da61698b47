"""What conditions read of an event is what is stored of it."""

import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from outlast.contracts.messages import EventReference
from outlast.messaging.ports import Received
from outlast_trigger_matcher.inbound import DomainEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # the door refuses halves of surrogate pairs
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)


def _raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode("utf-8", "surrogatepass"))


@given(OBJECTS, st.none() | OBJECTS, st.none() | OBJECTS, st.datetimes(timezones=st.just(UTC)))
def test_the_plain_payload_is_the_stored_one_decoded(
    data: object, finding: object, asset: object, time: datetime
) -> None:
    event = DomainEvent(
        company_id="acme",
        reference=EventReference(source="scanner", id="1", type="finding_updated", time=time, subject="f"),
        received=Received("platform.scanner.events", 0, 0, 0, None, None),
        received_at=time,
        data=_raw(data),
        finding_id="f",
        asset_id="",
        traceparent="",
        chain=(),
    )
    parts = tuple(None if part is None else _raw(part) for part in (finding, asset))
    assert event.plain(*parts) == msgspec.json.decode(event.payload(*parts))
