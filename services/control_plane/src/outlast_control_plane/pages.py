"""Keyset pages: a list ends with `next`, which is asked for with `after`; never an offset, never a count."""

from collections.abc import Callable, Sequence
from typing import Annotated

import asyncpg
from fastapi import Query

from outlast_control_plane.limits import PAGE_DEFAULT, PAGE_MAX

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Items of one page.")]
After = Annotated[
    str, Query(max_length=200, pattern=r"^[\x20-\x7e]*$", description="`next` of the page before.")
]
LIMIT_DEFAULT = PAGE_DEFAULT


def page(
    rows: Sequence[asyncpg.Record], limit: int, key: str, show: Callable[[asyncpg.Record], object]
) -> dict[str, object]:
    """One page of rows that were asked for with `limit` + 1: one more than fits says that there is a next one."""
    shown = rows[:limit]
    return {
        "items": [show(row) for row in shown],
        "next": str(shown[-1][key]) if len(rows) > limit else None,
    }
