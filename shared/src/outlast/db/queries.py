"""Named statements from a service's queries.sql: every statement has a name and a sentence.

-- name: open_page
-- The open runs of one partition after a given id, in order.
select …;
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """Statement by name. A statement without a sentence is refused, as is a name that stands twice."""
    text = resources.files(package).joinpath(file).read_text()
    parts = _NAME.split(text)[1:]
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/{file}: {name} stands twice")
        if not body.lstrip().startswith("--"):
            raise ValueError(f"{package}/{file}: {name} has no sentence")
        queries[name] = body.strip().rstrip(";")
    return queries


def columns(rows: Iterable[Sequence[object]], width: int = 0) -> list[list[object]]:
    """Rows as the arrays that `unnest` takes; of no rows, so many empty ones."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
