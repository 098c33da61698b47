"""History events to bytes and back."""

import msgspec

from outlast.errors import ContractError
from outlast.history.events import Event, HistoryEvent

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: HistoryEvent) -> bytes:
    """An event as compact JSON, its type inside."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """The event, or ContractError: a stored event that cannot be read parks its run."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as fault:
        raise ContractError(str(fault)) from fault


def type_of(event: HistoryEvent) -> str:
    """The event's type with its version, as it is stored beside the bytes."""
    tag = type(event).__struct_config__.tag
    assert isinstance(tag, str)
    return tag
