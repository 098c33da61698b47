"""Keyset pages: a list ends with `next`, which is asked for with `after`; never an offset, never a count."""

from collections.abc import Callable, Sequence
from typing import Annotated

import asyncpg
from fastapi import Query

from outlast_platform.limits import PAGE_MAX

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Items of one page.")]
After = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$", description="`next` of the page before.")]


def page(
    rows: Sequence[asyncpg.Record], limit: int, show: Callable[[asyncpg.Record], dict[str, object]]
) -> dict[str, object]:
    """One page of rows that were asked for with `limit` + 1: one more than fits says that there is a next one."""
    shown = rows[:limit]
    return {
        "items": [show(row) for row in shown],
        "next": str(shown[-1]["id"]) if len(rows) > limit else None,
    }
