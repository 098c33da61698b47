"""Bytes to signals, subscriptions and verdicts; no decisions. What could not be stored or sent is refused here."""

import re
from typing import Final

import msgspec
from msgspec import Raw

from outlast import limits
from outlast.contracts import codec
from outlast.contracts.messages import SignalMessage, SignalRequest, SignalVerdict, Subscribe, Unsubscribe
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast_signal_delivery.core.delivery import RANKS
from outlast_signal_delivery.limits import SENDER_CHARACTERS_MAX, SIGNAL_ID_CHARACTERS_MAX

SIGNAL_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
EXECUTION_ID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_SIGNAL_ID = re.compile(SIGNAL_ID_PATTERN)
_EXECUTION_ID = re.compile(EXECUTION_ID_PATTERN)
_ACTIVITY_CHARACTERS_MAX = 1_000


def read(received: Received) -> SignalMessage:
    """The message, or ContractError with the path of the fault."""
    message = codec.signals.decode(received.value)
    match message:
        case SignalRequest():
            _check_request(message)
        case Subscribe():
            _check_execution(message.execution_id)
            _check_text("activity_id", message.activity_id, _ACTIVITY_CHARACTERS_MAX)
            _check_text("company_id", message.company_id, limits.COMPANY_ID_CHARACTERS_MAX)
            _check_text("signal", message.signal, limits.SIGNAL_NAME_CHARACTERS_MAX)
            _check_text("key", message.key, limits.SIGNAL_KEY_CHARACTERS_MAX)
        case Unsubscribe():
            _check_execution(message.execution_id)
            _check_text("activity_id", message.activity_id, _ACTIVITY_CHARACTERS_MAX)
        case SignalVerdict():
            _check_execution(message.execution_id)
            if message.verdict not in RANKS:
                raise ContractError(f"expected one of {', '.join(RANKS)}", "verdict")
    return message


def _check_request(message: SignalRequest) -> None:
    if _SIGNAL_ID.fullmatch(message.signal_id) is None:
        raise ContractError(
            f"expected 1 to {SIGNAL_ID_CHARACTERS_MAX} letters, digits and ._:/-", "signal_id"
        )
    _check_text("company_id", message.company_id, limits.COMPANY_ID_CHARACTERS_MAX)
    _check_text("name", message.name, limits.SIGNAL_NAME_CHARACTERS_MAX)
    _check_text("sent_by", message.sent_by, SENDER_CHARACTERS_MAX)
    if bool(message.execution_id) == bool(message.key):
        raise ContractError("expected execution_id or key, and not both")
    if message.execution_id:
        _check_execution(message.execution_id)
    else:
        _check_text("key", message.key, limits.SIGNAL_KEY_CHARACTERS_MAX)
    if len(bytes(message.payload)) > limits.SIGNAL_PAYLOAD_BYTES_MAX:
        raise ContractError(f"expected at most {limits.SIGNAL_PAYLOAD_BYTES_MAX} bytes", "payload")
    _check_payload(message.payload)
    for name, instant in (("sent_at", message.sent_at), ("expires_at", message.expires_at)):
        if instant.tzinfo is None:
            raise ContractError("expected an instant with a zone", name)


def _check_payload(payload: Raw) -> None:
    """A run keeps it, and could not go on with what cannot be decoded."""
    try:
        value = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ContractError(f"expected JSON that can be decoded: {fault}", "payload") from fault
    if is_deeper(value, limits.EVENT_NESTING_MAX):
        raise ContractError(f"expected nesting of at most {limits.EVENT_NESTING_MAX}", "payload")


def is_deeper(value: object, depth_max: int) -> bool:
    """Whether more than so many objects and lists are inside each other."""
    level = [value]
    for _ in range(depth_max):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return False
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return any(isinstance(each, dict | list) for each in level)


def _check_execution(execution_id: str) -> None:
    if _EXECUTION_ID.fullmatch(execution_id) is None:
        raise ContractError("expected a UUID in lower case", "execution_id")


def _check_text(name: str, text: str, characters_max: int) -> None:
    if not 1 <= len(text) <= characters_max or "\x00" in text:
        raise ContractError(f"expected 1 to {characters_max} characters without NUL", name)
