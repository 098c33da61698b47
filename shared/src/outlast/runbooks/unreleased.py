"""What the language has and this release does not do yet: refused when saved, with a sentence."""

from collections.abc import Iterator

from outlast.runbooks.documents import Json
from outlast.runbooks.faults import DefinitionFault, element, member


def unreleased_faults(document: dict[str, Json]) -> list[DefinitionFault]:
    """Every part of a definition that a later release will do, with its place."""
    return [*_actions(document)]


def _later(path: str, what: str, instead: str) -> DefinitionFault:
    return DefinitionFault(path, f"{what} not part of this release yet: {instead}")


def _actions(document: dict[str, Json]) -> Iterator[DefinitionFault]:
    waiting: list[tuple[Json, str]] = [(document.get("actions"), "actions")]
    while waiting:
        actions, at = waiting.pop(0)
        for index, action in enumerate(actions if isinstance(actions, list) else []):
            if not isinstance(action, dict):
                continue
            path = element(at, index)
            if "compensate" in action:
                yield _later(member(path, "compensate"), "compensate is", "undo by a runbook of its own")
            waiting.extend((action[key], member(path, key)) for key in ("then", "else") if key in action)
