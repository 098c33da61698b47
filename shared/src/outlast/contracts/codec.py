"""Bytes to messages and back: one decoder per channel, strict about shape, tolerant of unknown fields."""

from typing import Generic, TypeVar

import msgspec

from outlast.contracts import control, guarding, messages
from outlast.errors import ContractError

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """A message as compact JSON."""
    return _encoder.encode(message)


class Decoder(Generic[T]):
    """Decodes one channel's messages."""

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)  # pyright: ignore[reportArgumentType] a union is a type form

    def decode(self, value: bytes | None) -> T:
        """The message, or ContractError with the path of the fault."""
        if value is None:
            raise ContractError("expected a message, got an empty value")
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            text, _, path = str(fault).partition(" - at `")
            raise ContractError(text, path.rstrip("`")) from fault


inbox: Decoder[messages.InboxMessage] = Decoder(messages.InboxMessage)
activities: Decoder[messages.ActivityMessage] = Decoder(messages.ActivityMessage)
timer_commands: Decoder[messages.TimerCommand] = Decoder(messages.TimerCommand)
signals: Decoder[messages.SignalMessage] = Decoder(messages.SignalMessage)
lifecycle: Decoder[messages.LifecycleMessage] = Decoder(messages.LifecycleMessage)
recorded: Decoder[messages.Recorded] = Decoder(messages.Recorded)
compacted: Decoder[messages.CompactedMessage] = Decoder(messages.CompactedMessage)
inline: Decoder[messages.InlineMessage] = Decoder(messages.InlineMessage)
gate: Decoder[guarding.GateMessage] = Decoder(guarding.GateMessage)
commands: Decoder[control.ControlMessage] = Decoder(control.ControlMessage)
