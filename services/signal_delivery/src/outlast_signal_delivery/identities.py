"""API keys as the control plane publishes them on `identities`, kept in memory."""

from outlast.contracts import codec
from outlast.contracts.messages import Identity
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger

log = get_logger(__name__)


class IdentityDirectory:
    """Every identity by its key's digest. Absence never deletes: a revocation is a record that says so."""

    def __init__(self) -> None:
        self.is_ready = False
        """Set by who reads the topic, when it was read to its end."""
        self._by_id: dict[str, Identity] = {}
        self._by_key: dict[str, Identity] = {}

    def by_key(self, key_sha256: str) -> Identity | None:
        """The identity whose key has this digest, revoked or not; None if there is none."""
        return self._by_key.get(key_sha256)

    def apply(self, received: Received) -> None:
        """Take in one record, unless a newer one of the same identity is known; the unreadable hides no other."""
        if received.value is None:
            return
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("record_unreadable", topic=received.topic, offset=received.offset, error=str(fault))
            return
        if not isinstance(message, Identity):
            return
        known = self._by_id.get(message.id)
        if known is not None:
            if known.revision > message.revision:
                return
            if known.key_sha256 != message.key_sha256:
                self._by_key.pop(known.key_sha256, None)
        self._by_id[message.id] = message
        self._by_key[message.key_sha256] = message
