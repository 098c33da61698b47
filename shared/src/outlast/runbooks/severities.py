"""The five severity words and their order."""

from collections.abc import Mapping
from types import MappingProxyType

SEVERITY_RANK: Mapping[str, int] = MappingProxyType(
    {"info": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}
)
