"""Publishes what this executor can do: every action type, then the head that says how many there are.

Published at start, and again whenever the topic is another one than before: it is compacted, and owned here.
"""

import hashlib
from collections.abc import Mapping

from outlast.contracts import codec
from outlast.contracts.messages import Head
from outlast.contracts.topics import CATALOGUE
from outlast.messaging.ports import Outgoing

HEAD = b"head"


def catalogue_messages(entries: Mapping[str, bytes]) -> list[Outgoing]:
    """The messages, head last. Its revision is a digest: executors that can do the same publish the same."""
    digest = hashlib.sha256(b"\n".join(entries.values())).digest()
    head = Head(revision=int.from_bytes(digest[:6], "big"), count=len(entries))
    return [
        *(Outgoing(CATALOGUE, value, name.encode(), 0) for name, value in entries.items()),
        Outgoing(CATALOGUE, codec.encode(head), HEAD, 0),
    ]
