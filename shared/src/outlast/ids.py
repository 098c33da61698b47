"""Identifiers that say when and where a run was born.

An execution id is a UUID of version 8: 48 bits of birth time (milliseconds since 1970), 12 bits of engine
partition, 62 bits that a hash of (company, source, event id, runbook) fills. So ids sort by time, every producer
to `engine.inbox` can address the run's partition without asking anybody, and taking in the same event twice at
the same broker time gives the same id.
"""

import hashlib

ENGINE_PARTITIONS_MAX = 4096


def execution_id(
    birth_ms: int, engine_partitions: int, company_id: str, source: str, event_id: str, runbook_id: str
) -> str:
    """The id of the execution that this event causes of this runbook, born at `birth_ms`."""
    digest = hashlib.sha256("\x00".join((company_id, source, event_id, runbook_id)).encode()).digest()
    partition = int.from_bytes(digest[:4], "big") % engine_partitions
    high = (birth_ms & 0xFFFFFFFFFFFF) << 16 | 0x8000 | partition
    low = int.from_bytes(digest[4:12], "big") & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def engine_partition(execution: str) -> int:
    """The partition of `engine.inbox` that owns this execution."""
    return int(execution[15:18], 16)


def born_ms(execution: str) -> int:
    """When the execution was born, milliseconds since 1970."""
    return int(execution[:8] + execution[9:13], 16)


def lower_bound(birth_ms: int) -> str:
    """The smallest execution id born at or after `birth_ms`: a boundary for range partitions and pages."""
    text = f"{birth_ms & 0xFFFFFFFFFFFF:012x}"
    return f"{text[:8]}-{text[8:]}-0000-0000-000000000000"


def lane(company_id: str, runbook_id: str, lanes: int) -> int:
    """The lane (partition number of the co-partitioned topics) that serialises one runbook of one company."""
    digest = hashlib.sha256(f"{company_id}\x00{runbook_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % lanes


def idempotency_key(execution: str, activity_id: str, operation: str = "main") -> str:
    """The same for every attempt at one operation of one activity; sent outside and kept in the ledger."""
    return f"{execution}:{activity_id}:{operation}"
