"""`python -m outlast.testing.contracts [--check] [--to contracts]`: contracts/ as the types have it."""

import argparse
import sys
from pathlib import Path

from outlast.testing.contracts.channels import asyncapi_text
from outlast.testing.contracts.examples import changed_examples, missing_examples
from outlast.testing.contracts.schemas import EVENTS, HISTORY, MESSAGES, schema_files


def main() -> int:
    """Write, or with --check only compare. 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description="Export contracts/ from the Python types.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    parser.add_argument("--to", type=Path, default=Path("contracts"), metavar="FOLDER")
    options = parser.parse_args()
    root: Path = options.to
    wrong = [
        f"an example is never changed, give the new one another name: {path}"
        for path in changed_examples(root)
    ]
    wrong += [f"no type stands behind it: {path}" for path in orphans(root)]
    stale = stale_files(root)
    if options.check:
        wrong += [f"stale, run python -m outlast.testing.contracts: {path}" for path in stale]
    else:
        for path, text in stale.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            print(f"wrote {path}")  # noqa: T201 a command speaks to its user
    for line in wrong:
        print(line, file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


def stale_files(root: Path) -> dict[str, str]:
    """What is missing or differs from today's types, as it should be, by path below contracts/."""
    wanted = {**schema_files(), **missing_examples(root), "asyncapi.yaml": asyncapi_text(root)}
    return {path: text for path, text in wanted.items() if not _is_same(root / path, text)}


def orphans(root: Path) -> list[str]:
    """Schema files that no type stands behind."""
    wanted = schema_files()
    found = [
        path.relative_to(root).as_posix()
        for family in (MESSAGES, HISTORY, EVENTS)
        for path in sorted((root / family).glob("*"))
    ]
    return [path for path in found if path not in wanted]


def _is_same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
