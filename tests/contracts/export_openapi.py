"""`python -m tests.contracts.export_openapi [--check] [--to FOLDER]`: the HTTP interfaces as the code has them.

It stands here because it reads several services, and no service may read another.
"""

import argparse
import json
import sys
from pathlib import Path

from outlast_control_plane.api import make_api as make_control_plane
from outlast_platform.api import make_api as make_platform
from outlast_platform.openapi import internal_document
from outlast_signal_delivery.api import make_api as make_signal_delivery

FOLDER = Path(__file__).parents[2] / "contracts" / "openapi"


def documents() -> dict[str, str]:
    """File name to text: keys sorted, so that the same code gives the same bytes."""
    made = {
        "control-plane.json": make_control_plane(None).openapi(),
        "platform.json": make_platform(None).openapi(),
        "platform-internal.json": internal_document(),
        "signal-delivery.json": make_signal_delivery(None).openapi(),
    }
    return {
        name: json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, document in made.items()
    }


def stale(folder: Path = FOLDER) -> dict[str, str]:
    """The documents that the folder has not, or has otherwise."""
    return {
        name: text
        for name, text in documents().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Write, or with --check only compare. 1 if something is stale."""
    parser = argparse.ArgumentParser(description="Export the OpenAPI documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    changed = stale(options.to)
    for name, text in changed.items():
        if options.check:
            print(f"stale, run python -m tests.contracts.export_openapi: {name}", file=sys.stderr)
        else:
            options.to.mkdir(parents=True, exist_ok=True)
            (options.to / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
