"""What a column of Postgres refuses, refused in memory too: the reason why a batch is bisected."""

import re
from collections.abc import Iterable

from outlast.errors import DataRejected

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def check_text(*values: str) -> None:
    """A text column takes neither NUL nor half a surrogate pair."""
    for value in values:
        if value.isascii():
            if "\x00" in value:
                raise DataRejected("expected text without NUL")
            continue
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise DataRejected("expected text without NUL and lone surrogates")


def check_execution_ids(values: Iterable[str]) -> None:
    """A uuid column takes uuids."""
    for value in values:
        if _UUID.fullmatch(value) is None:
            raise DataRejected(f"expected a uuid, got {value!r}")
