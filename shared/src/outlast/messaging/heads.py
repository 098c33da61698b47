"""Knowing when a compacted topic is completely read: its owner keeps a head record {revision, count} in it."""

import contextlib
from collections.abc import Collection

import msgspec

from outlast.messaging.ports import Received

HEAD_KEY = b"head"
HEAD_TYPE = "head.v1"


class _Revised(msgspec.Struct):
    type: str = ""
    revision: int = 0


_decoder = msgspec.json.Decoder(_Revised)


class Heads:
    """Follows the records of some compacted topics and says whether every head's revision has been seen.

    `headed` topics must have a head record before they count as read: an empty one was lost, and is about
    to be published again. The others count as read without one.
    """

    def __init__(self, headed: Collection[str] = ()) -> None:
        self._wanted: dict[str, int | None] = dict.fromkeys(headed)
        self._seen: dict[str, int] = {}

    def note(self, received: Received) -> bool:
        """Take in one record; True if it is a head record, which is not for the reader's application."""
        record = _Revised()
        if received.value is not None:
            # what cannot be read is the application's to complain about
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                record = _decoder.decode(received.value)
        if received.key == HEAD_KEY and record.type == HEAD_TYPE:
            self._wanted[received.topic] = record.revision
            return True
        self._seen[received.topic] = max(self._seen.get(received.topic, 0), record.revision)
        return False

    @property
    def are_reached(self) -> bool:
        """Whether every head's revision has been seen, and every headed topic has a head."""
        return all(
            wanted is not None and self._seen.get(topic, 0) >= wanted
            for topic, wanted in self._wanted.items()
        )
