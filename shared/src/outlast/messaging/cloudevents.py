"""CloudEvents 1.0 as Kafka carries them: structured (one JSON document) or binary (headers `ce_*`, data as
value).

The door for text that others wrote. What comes out holds no NUL and no lone surrogate anywhere, its
attributes are bounded, its data is a JSON object that every later reader can decode. Whether the type is
known and the producer may speak for the company is the matcher's to say.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from outlast import limits
from outlast.errors import ContractError
from outlast.messaging.ports import Received

STRUCTURED = b"application/cloudevents+json"
HEADER_PREFIX = "ce_"
TRACEPARENT = "traceparent"

Id = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_ID_CHARACTERS_MAX)]
SourceName = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_SOURCE_CHARACTERS_MAX)]
TypeName = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_TYPE_CHARACTERS_MAX)]
CompanyId = Annotated[str, Meta(min_length=1, max_length=limits.COMPANY_ID_CHARACTERS_MAX)]
Subject = Annotated[str, Meta(max_length=limits.EVENT_SUBJECT_CHARACTERS_MAX)]
Instant = Annotated[datetime, Meta(tz=True)]

T = TypeVar("T")

# C0, DEL, C1 and the two noncharacters that CloudEvents forbids in attributes
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
# JSON text up to its first escape that means NUL or half a surrogate pair; `\\` is an escape like any other
_SOUND = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})*+",
    re.DOTALL,
)
# what such an escape looks like; also found after an escaped backslash, so it only calls for the exact look
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_EXECUTION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event, checked. `time` is UTC, None if the producer gave none; `data` is a JSON object."""

    id: str
    source: str
    type: str
    company_id: str
    data: Raw
    time: datetime | None = None
    subject: str = ""
    traceparent: str = ""
    """As it came, "" if it did not; not checked: a wrong one must not cost the event."""
    chain: tuple[str, ...] = ()
    """Executions whose actions caused the event, oldest first."""


class _Attributes(msgspec.Struct, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: Id
    source: SourceName
    type: TypeName
    companyid: CompanyId
    time: Instant | None = None
    subject: Subject | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    partitionkey: str | None = None
    outlastchain: str | None = None


class _Envelope(_Attributes, frozen=True, kw_only=True):
    data: Raw | UnsetType = UNSET
    data_base64: Raw | UnsetType = UNSET


class _Outgoing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    specversion: str
    id: str
    source: str
    type: str
    companyid: str
    data: Raw
    time: datetime | None = None
    subject: str = ""
    datacontenttype: str = ""
    traceparent: str = ""
    outlastchain: str = ""


_envelope = msgspec.json.Decoder(_Envelope)
_anything = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def parse(received: Received) -> CloudEvent:
    """The event in this message, or ContractError with the path of the first fault: an attribute,
    `data.a.b[0]`.
    """
    value = received.value
    if not value:
        raise ContractError("expected a CloudEvent, got an empty value")
    headers = dict(received.headers)
    size = len(value) + sum(len(name) + len(content) for name, content in headers.items())
    if size > limits.EVENT_BYTES_MAX:
        raise ContractError(f"expected an event of at most {limits.EVENT_BYTES_MAX} bytes, got {size}")
    content_type = headers.get("content-type", b"").partition(b";")[0].strip().lower()
    if content_type.startswith(b"application/cloudevents"):
        if content_type != STRUCTURED:
            raise ContractError(f"expected {STRUCTURED.decode()}, got {content_type!r}", "content-type")
        return _structured(value, headers)
    if any(name.startswith(HEADER_PREFIX) for name in headers):
        return _binary(value, headers, content_type.decode("utf-8", "replace"))
    return _structured(value, headers)


def to_structured(event: CloudEvent) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    """Headers and value of the message that carries this event, in structured mode."""
    document = _Outgoing(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=event.type,
        companyid=event.company_id,
        data=event.data,
        time=event.time,
        subject=event.subject,
        datacontenttype="application/json",
        traceparent=event.traceparent,
        outlastchain=",".join(event.chain),
    )
    content_type = ("content-type", STRUCTURED + b"; charset=UTF-8")
    if event.traceparent:
        return (content_type, (TRACEPARENT, event.traceparent.encode())), _encoder.encode(document)
    return (content_type,), _encoder.encode(document)


def _structured(value: bytes, headers: Mapping[str, bytes]) -> CloudEvent:
    _check_text(value, "")
    envelope = _checked(lambda: _envelope.decode(value))
    if isinstance(envelope.data, UnsetType):
        binary = " (binary data is not supported)" if envelope.data_base64 is not UNSET else ""
        raise ContractError(f"expected a JSON object{binary}", "data")
    return _event(envelope, envelope.data, envelope.datacontenttype or "", headers)


def _binary(value: bytes, headers: Mapping[str, bytes], content_type: str) -> CloudEvent:
    texts: dict[str, str] = {}
    for name, content in headers.items():
        if name.startswith(HEADER_PREFIX):
            try:
                texts[name[len(HEADER_PREFIX) :]] = content.decode()
            except UnicodeDecodeError as fault:
                raise ContractError("expected UTF-8", name) from fault
    attributes = _checked(lambda: msgspec.convert(texts, _Attributes), HEADER_PREFIX)
    _check_text(value, "data")
    return _event(attributes, Raw(value.strip()), content_type, headers)


def _event(attributes: _Attributes, data: Raw, content_type: str, headers: Mapping[str, bytes]) -> CloudEvent:
    media = content_type.partition(";")[0].strip().lower()
    if media and media != "application/json" and not media.endswith("+json"):
        raise ContractError(f"expected JSON, got {media!r}", "datacontenttype")
    _check_data(data)
    texts = (
        attributes.id,
        attributes.source,
        attributes.type,
        attributes.companyid,
        attributes.subject or "",
    )
    if not "".join(texts).isprintable():
        for name, text in zip(("id", "source", "type", "companyid", "subject"), texts, strict=True):
            if _FORBIDDEN.search(text):
                raise ContractError("expected text without control characters", name)
    traceparent = attributes.traceparent or headers.get(TRACEPARENT, b"").decode("ascii", "replace")
    return CloudEvent(
        id=attributes.id,
        source=attributes.source,
        type=attributes.type,
        company_id=attributes.companyid,
        data=data,
        time=None if attributes.time is None else _utc(attributes.time),
        subject=attributes.subject or "",
        traceparent=traceparent,
        chain=_chain(attributes.outlastchain) if attributes.outlastchain else (),
    )


def _check_data(data: Raw) -> None:
    """A JSON object that every later reader can decode, nested no deeper than any reader's stack minds."""
    if not isinstance(_checked(lambda: _anything.decode(data), "data"), dict):
        raise ContractError("expected a JSON object", "data")
    text = memoryview(data).tobytes()
    if text.count(b"{") + text.count(b"[") > limits.EVENT_NESTING_MAX:
        brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
        for _ in range(limits.EVENT_NESTING_MAX):
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if brackets:
            raise ContractError(f"expected nesting of at most {limits.EVENT_NESTING_MAX}", "data")


def _chain(text: str) -> tuple[str, ...]:
    ids = tuple(part.strip() for part in text.split(",", limits.EVENT_CHAIN_MAX))
    if len(ids) > limits.EVENT_CHAIN_MAX:
        raise ContractError(f"expected at most {limits.EVENT_CHAIN_MAX} execution ids", "outlastchain")
    for number, each in enumerate(ids):
        if not _EXECUTION.fullmatch(each):
            raise ContractError("expected an execution id", f"outlastchain[{number}]")
    return ids


def _utc(instant: datetime) -> datetime:
    try:
        return instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    except OverflowError as fault:
        raise ContractError("expected an instant within the years 1 to 9999", "time") from fault


def _checked(decode: Callable[[], T], root: str = "") -> T:
    """What msgspec decodes, its complaints as ContractError."""
    try:
        return decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        text, _, path = str(fault).partition(" - at `")
        path = path.rstrip("`").removeprefix("$").lstrip(".")
        if not path and (missing := re.search(r"missing required field `(\w+)`", text)):
            text, path = "expected this attribute, found none", missing[1]
        separator = "." if root == "data" and path and not path.startswith("[") else ""
        raise ContractError(text, f"{root}{separator}{path}") from fault


def _check_text(value: bytes, root: str) -> None:
    """Not UTF-8, NUL, half a surrogate pair: none of them may be in the JSON text, written out or escaped."""
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as fault:
            raise ContractError(f"expected UTF-8, not so at byte {fault.start}", root) from fault
    # the common event has no escape at all
    if b"\\" not in value or not _SUSPICIOUS.search(value):
        return
    sound = _SOUND.match(value)
    if sound is not None and sound.end() == len(value):
        return
    try:
        path = _path_of_fault(json.loads(value), root)
    except (ValueError, RecursionError):
        path = root  # not JSON either; the escape is fault enough
    raise ContractError("expected text without NUL and lone surrogates", path)


def _path_of_fault(value: object, path: str) -> str:
    """Where in the document such text stands; "" if nowhere."""
    pending: list[tuple[object, str]] = [(value, path)]
    while pending:
        each, at = pending.pop()
        match each:
            case str() if _is_unsound(each):
                return at
            case dict():
                for key, member in each.items():
                    pending.append((member, f"{at}.{key}" if at else str(key)))
                    if _is_unsound(str(key)):
                        return at
            case list():
                pending += [(member, f"{at}[{number}]") for number, member in enumerate(each)]
            case _:
                pass
    return path


def _is_unsound(text: str) -> bool:
    return "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
