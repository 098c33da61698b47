"""Reading a contract's bytes as our own readers do."""

from typing import Any

import msgspec

from outlast.contracts import codec
from outlast.contracts.domain_events import SCHEDULE, decode_data, decode_schedule
from outlast.history import codec as history_codec
from outlast.testing.contracts.schemas import EVENTS, HISTORY, Contract

DECODERS: tuple[codec.Decoder[Any], ...] = (
    codec.inbox,
    codec.activities,
    codec.timer_commands,
    codec.signals,
    codec.lifecycle,
    codec.recorded,
    codec.compacted,
    codec.inline,
    codec.gate,
    codec.commands,
)


def decode(contract: Contract, data: bytes) -> object:
    """The value; a message is read with the decoder of every channel that it travels on, and all must agree."""
    if contract.family == HISTORY:
        return history_codec.decode(data)
    if contract.family == EVENTS:
        return decode_schedule(data) if contract.name == SCHEDULE else decode_data(contract.name, data)
    found = [decoder.decode(data) for decoder, kinds in _KINDS if contract.kind in kinds]
    assert found, f"expected a channel whose decoder knows {contract.name}"
    assert all(each == found[0] for each in found), (
        f"expected every decoder to read the same from {contract.name}"
    )
    return found[0]


def _kinds(decoder: codec.Decoder[Any]) -> set[type]:
    info = msgspec.inspect.type_info(decoder._decoder.type)  # pyright: ignore[reportPrivateUsage] asked, not changed
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return {member.cls for member in members if isinstance(member, msgspec.inspect.StructType)}


_KINDS = tuple((decoder, _kinds(decoder)) for decoder in DECODERS)
