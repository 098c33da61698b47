"""The examples of contracts/, built from the real types. Today's code must read every one that was ever committed.

So an example is never changed or removed: a new field gets an example of a new name. The builder writes only what is
missing and complains about what would differ.
"""

from pathlib import Path

import msgspec

from outlast.messaging.cloudevents import to_structured
from outlast.testing.contracts.example_events import event_examples
from outlast.testing.contracts.example_history import history_examples
from outlast.testing.contracts.example_messages import message_examples
from outlast.testing.contracts.schemas import EVENTS, HISTORY, MESSAGES, contracts, rendered


def example_files() -> dict[str, str]:
    """Every example that this builder knows, as the text of its file, by its path below contracts/."""
    names = {(contract.family, contract.kind): contract.name for contract in contracts()}
    files: dict[str, str] = {}
    for family, cases in ((MESSAGES, message_examples()), (HISTORY, history_examples())):
        for case, value in cases:
            path = f"examples/{family}/{names[family, type(value)]}/{case}.json"
            assert path not in files, f"expected one example of the name {path}"
            files[path] = rendered(msgspec.json.decode(msgspec.json.encode(value)))
    for case, cloud_event in event_examples():
        _, value = to_structured(cloud_event)
        files[f"examples/{EVENTS}/{cloud_event.type}/{case}.json"] = rendered(msgspec.json.decode(value))
    return files


def missing_examples(root: Path) -> dict[str, str]:
    """Examples without a file."""
    return {path: text for path, text in example_files().items() if not (root / path).exists()}


def changed_examples(root: Path) -> list[str]:
    """Examples whose file says something else."""
    return [
        path
        for path, text in example_files().items()
        if (root / path).exists() and (root / path).read_text(encoding="utf-8") != text
    ]
