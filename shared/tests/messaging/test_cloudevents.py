"""The door for domain events: both modes of the Kafka binding, and everything that must not come through."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast import limits
from outlast.errors import ContractError
from outlast.messaging import cloudevents
from outlast.messaging.ports import Received

STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
RUN = "019aa000-0000-8001-8000-00000000000a"


def received(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = STRUCTURED) -> Received:
    return Received("platform.core.events", 0, 0, 0, None, value, headers)


def document(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/scanner/one",
        "type": "finding_created",
        "companyid": "acme",
        "time": "2026-11-21T12:00:00+02:00",
        "subject": "f-1",
        "data": {"finding_id": "f-1", "title": "ünïcode"},
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def structured(**changes: object) -> Received:
    return received(json.dumps(document(**changes)).encode())


def binary(value: bytes = b'{"a": 1}', **changes: bytes) -> Received:
    attributes = {"specversion": b"1.0", "id": b"e-1", "source": b"/s", "type": b"t", "companyid": b"acme"}
    attributes.update(changes)
    headers = tuple(("ce_" + name, content) for name, content in attributes.items() if content != b"...")
    return received(value, (("content-type", b"application/json"), *headers))


def test_a_structured_event_is_read() -> None:
    event = cloudevents.parse(
        structured(traceparent="00-1-2-01", outlastchain=f"{RUN}, {RUN}", partitionkey="k", unknown=[1])
    )
    assert (event.id, event.source, event.type) == ("e-1", "/scanner/one", "finding_created")
    assert (event.company_id, event.subject) == ("acme", "f-1")
    assert event.time == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert event.time.tzinfo is UTC
    assert msgspec.json.decode(event.data) == {"finding_id": "f-1", "title": "ünïcode"}
    assert event.traceparent == "00-1-2-01"
    assert event.chain == (RUN, RUN)


def test_a_structured_event_needs_no_content_type() -> None:
    assert cloudevents.parse(received(json.dumps(document()).encode(), ())).id == "e-1"


def test_a_binary_event_is_read() -> None:
    event = cloudevents.parse(
        binary(b' {"a": 1}\n', subject="ü".encode(), time=b"2026-11-21T12:00:00Z", outlastchain=RUN.encode())
    )
    assert (event.id, event.company_id, event.subject, event.chain) == ("e-1", "acme", "ü", (RUN,))
    assert msgspec.json.decode(event.data) == {"a": 1}


def test_optional_attributes_may_be_missing_or_null() -> None:
    for nothing in (..., None):
        event = cloudevents.parse(structured(time=nothing, subject=nothing))
        assert (event.time, event.subject, event.traceparent, event.chain) == (None, "", "", ())


def test_the_trace_may_come_as_kafkas_header() -> None:
    message = received(json.dumps(document()).encode(), (*STRUCTURED, ("traceparent", b"00-a-b-01")))
    assert cloudevents.parse(message).traceparent == "00-a-b-01"


def test_our_own_events_come_back_as_they_were() -> None:
    event = cloudevents.parse(structured(traceparent="00-1-2-01", outlastchain=RUN))
    headers, value = cloudevents.to_structured(event)
    assert cloudevents.parse(received(value, headers)) == event


WHOLE = json.dumps(document(data={"finding_id": "f-1"})).encode()
DEEP = b"{" + b'"a":{' * 100 + b"}" * 101

REFUSED: list[tuple[str, Received, str]] = [
    ("no value", received(None), ""),
    ("empty value", received(b""), ""),
    ("not JSON", received(b"hello"), ""),
    ("not an object", received(b"[1]"), ""),
    ("too large", structured(data={"a": "x" * limits.EVENT_BYTES_MAX}), ""),
    ("a batch", received(b"[]", (("content-type", b"application/cloudevents-batch+json"),)), "content-type"),
    ("specversion missing", structured(specversion=...), "specversion"),
    ("specversion wrong", structured(specversion="0.3"), "specversion"),
    ("id missing", structured(id=...), "id"),
    ("id empty", structured(id=""), "id"),
    ("id not text", structured(id=7), "id"),
    ("id too long", structured(id="x" * (limits.EVENT_ID_CHARACTERS_MAX + 1)), "id"),
    ("source missing", structured(source=...), "source"),
    ("source too long", structured(source="x" * (limits.EVENT_SOURCE_CHARACTERS_MAX + 1)), "source"),
    ("type empty", structured(type=""), "type"),
    ("company missing", structured(companyid=...), "companyid"),
    ("company null", structured(companyid=None), "companyid"),
    ("company too long", structured(companyid="x" * (limits.COMPANY_ID_CHARACTERS_MAX + 1)), "companyid"),
    ("subject too long", structured(subject="x" * (limits.EVENT_SUBJECT_CHARACTERS_MAX + 1)), "subject"),
    ("control character", structured(subject="a\x07"), "subject"),
    ("time without zone", structured(time="2026-11-21T12:00:00"), "time"),
    ("time that is none", structured(time="yesterday"), "time"),
    ("time before the year 1", structured(time="0001-01-01T00:00:00+05:00"), "time"),
    ("chain of something else", structured(outlastchain=f"{RUN},x"), "outlastchain[1]"),
    ("chain too long", structured(outlastchain=",".join([RUN] * 65)), "outlastchain"),
    ("data missing", structured(data=...), "data"),
    ("data a list", structured(data=[1]), "data"),
    ("data text", structured(data="{}"), "data"),
    ("data null", structured(data=None), "data"),
    ("data in base64", structured(data=..., data_base64="e30="), "data"),
    ("data not JSON by its type", structured(datacontenttype="text/xml"), "datacontenttype"),
    ("NUL in the id", structured(id="a\x00"), "id"),
    ("NUL in data", structured(data={"a": [{"b": "x\x00y"}]}), "data.a[0].b"),
    ("NUL in a key", structured(data={"a": {"k\x00": 1}}), "data.a"),
    ("lone surrogate", structured(data={"a": "\ud800"}), "data.a"),
    ("low surrogate alone", structured(subject="\udc00x"), "subject"),
    ("surrogates in the wrong order", structured(data={"a": "\udc00\ud800"}), "data.a"),
    ("not UTF-8", received(json.dumps(document()).encode().replace(b"acme", b"ac\xff")), ""),
    ("surrogate as bytes", received(json.dumps(document()).encode().replace(b"acme", b"\xed\xa0\x80")), ""),
    ("number that no float holds", received(WHOLE.replace(b'"f-1"}', b"1e999}")), "data[...]"),
    ("nested too deeply", received(WHOLE.replace(b'{"finding_id": "f-1"}', DEEP)), "data"),
    ("nested to break a stack", received(b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), ""),
    ("binary: id missing", binary(id=b"..."), "ce_id"),
    ("binary: specversion missing", binary(specversion=b"..."), "ce_specversion"),
    ("binary: not UTF-8", binary(source=b"\xff"), "ce_source"),
    ("binary: NUL", binary(subject=b"\x00"), "subject"),
    ("binary: data not JSON", binary(b"<a/>"), "data"),
    ("binary: data a list", binary(b"[]"), "data"),
    ("binary: NUL in data", binary(rb'{"a": "\u0000"}'), "data.a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "path"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused_with_its_path(message: Received, path: str) -> None:
    with pytest.raises(ContractError) as refused:
        cloudevents.parse(message)
    assert refused.value.path == path


@pytest.mark.parametrize("text", ["back\\slash u0000", "\\u0000", "\\\\ud800", "𝄞 clef", 'é\n\t"', "\\\\"])
def test_text_that_only_looks_wrong_comes_through(text: str) -> None:
    for escaped in (True, False):
        value = json.dumps(document(data={"a": text}), ensure_ascii=escaped).encode()
        assert msgspec.json.decode(cloudevents.parse(received(value)).data) == {"a": text}


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e300, 1e300) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def texts(value: object) -> str:
    match value:
        case dict():
            return "|".join(f"{key}|{texts(member)}" for key, member in value.items())
        case list():
            return "|".join(map(texts, value))
        case str():
            return value
        case _:
            return ""


@given(st.dictionaries(ANY_TEXT, JSON, max_size=4), st.booleans())
def test_data_comes_through_exactly_when_it_holds_no_nul_and_no_lone_surrogate(
    data: dict[str, object], is_escaped: bool
) -> None:
    value = json.dumps(document(data=data), ensure_ascii=is_escaped).encode("utf-8", "surrogatepass")
    # a high and a low surrogate side by side, written as escapes, are one character
    said = json.dumps(texts(data)).encode() if is_escaped else b""
    text = json.loads(said) if is_escaped else texts(data)
    is_sound = "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    if is_sound and json.loads(json.dumps(data)) == data:
        assert json.loads(bytes(cloudevents.parse(received(value)).data)) == data
    elif not is_sound:
        with pytest.raises(ContractError):
            cloudevents.parse(received(value))


@given(st.binary(max_size=8), st.integers(0, 400), st.integers(0, 6))
def test_whatever_the_bytes_it_is_an_event_or_a_contract_error(noise: bytes, at: int, removed: int) -> None:
    value = json.dumps(document()).encode()
    value = value[:at] + noise + value[at + removed :]
    try:
        event = cloudevents.parse(received(value))
    except ContractError:
        return
    json.loads(bytes(event.data).decode())
    assert not any(c in event.id + event.source + event.company_id for c in "\x00\ud800")
