"""W3C trace context: carried in the Kafka header `traceparent` from the event to the last action."""

import hashlib
import re

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def valid_traceparent(text: str) -> str:
    """The text if it is a traceparent, else ""."""
    return text if _TRACEPARENT.match(text) and text[3:35] != "0" * 32 else ""


def derived_traceparent(*causes: str) -> str:
    """A traceparent for something whose cause has none: the same causes give the same trace."""
    digest = hashlib.sha256("\x00".join(causes).encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def trace_id(traceparent: str) -> str:
    """The trace id, for logs; "" where there is none."""
    return traceparent[3:35]


def trace_headers(traceparent: str) -> tuple[tuple[str, bytes], ...]:
    """Kafka headers that carry it."""
    return ((HEADER, traceparent.encode()),) if traceparent else ()


def traceparent_of(headers: tuple[tuple[str, bytes], ...]) -> str:
    """The traceparent among Kafka headers, "" where there is none or it is not one."""
    for name, value in headers:
        if name == HEADER:
            return valid_traceparent(value.decode("ascii", "replace"))
    return ""
