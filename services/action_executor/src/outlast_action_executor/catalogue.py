"""Publishes what this executor can do: every action type, then the head that says how many there are.

Published at start, and again whenever the topic is another one than before: it is compacted, and owned here.
"""

from collections.abc import Mapping

from outlast.contracts import codec
from outlast.contracts.messages import Head
from outlast.contracts.topics import CATALOGUE
from outlast.messaging.ports import Outgoing

HEAD = b"head"


def catalogue_messages(entries: Mapping[str, bytes]) -> list[Outgoing]:
    """The messages, head last. Entries have no revisions, so the head's is 0: read once it and they are there."""
    head = Head(revision=0, count=len(entries))
    return [
        *(Outgoing(CATALOGUE, value, name.encode(), 0) for name, value in entries.items()),
        Outgoing(CATALOGUE, codec.encode(head), HEAD, 0),
    ]
