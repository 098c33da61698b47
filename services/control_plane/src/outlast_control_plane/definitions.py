"""A user's text becomes a checked version: read as YAML or JSON, judged by `outlast.runbooks`, pinned."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from outlast.contracts.messages import CatalogueAction
from outlast.http.problems import Fault, Problem, invalid, unavailable
from outlast.limits import DEFINITION_BYTES_MAX
from outlast.runbooks.catalogue import ACTION_CLASSES, ActionKind, Catalogue
from outlast.runbooks.documents import digest
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.naming import runbook_id
from outlast.runbooks.pinned import pin
from outlast.runbooks.reading import parse_runbook

SOURCE_BYTES_MAX = 2 * DEFINITION_BYTES_MAX
"""A text is longer than its canonical form: comments, indentation."""
YAML_TYPES = {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}
JSON_TYPES = {"application/json", ""}


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that may be saved."""

    runbook_id: str
    name: str
    document: bytes
    """The pinned, canonical bytes."""
    sha256: str
    active: bool | None
    """What the document asks for; None if it is silent."""
    source: bytes
    source_format: str


def format_of(content_type: str) -> str:
    """yaml or json, by the media type of a request."""
    media = content_type.partition(";")[0].strip().lower()
    if media in YAML_TYPES:
        return "yaml"
    if media in JSON_TYPES:
        return "json"
    raise Problem(415, "unsupported_media_type", "Expected application/yaml or application/json.")


def catalogue_of(actions: Mapping[str, CatalogueAction]) -> Catalogue:
    """The executors' action types as definitions are checked against them."""
    kinds: list[ActionKind] = []
    for action in actions.values():
        for action_class in ACTION_CLASSES:
            if action.action_class == action_class:
                schema = msgspec.json.decode(action.config_schema)
                kinds.append(
                    ActionKind(
                        type=action.name,
                        action_class=action_class,
                        config_schema=schema,
                        is_idempotent=action.is_idempotent,
                    )
                )
    return Catalogue(kinds)


def check_document(
    source: bytes, source_format: str, actions: Mapping[str, CatalogueAction] | None
) -> Checked:
    """The document, or a problem that has every fault with its path."""
    if actions is None:
        raise unavailable(
            "The catalogue of actions is not loaded yet, so definitions cannot be checked.", 2.0
        )
    document = read_source(source, source_format)
    try:
        runbook = parse_runbook(document, catalogue_of(actions))
    except DefinitionRefused as refused:
        faults = (Fault(fault.path, fault.message) for fault in refused.faults)
        raise invalid("The definition is refused.", *faults) from refused
    pinned = pin(runbook)
    return Checked(
        runbook_id=runbook_id(runbook.name),
        name=runbook.name,
        document=pinned,
        sha256=digest(pinned),
        active=runbook.active,
        source=source,
        source_format=source_format,
    )


def read_source(source: bytes, source_format: str) -> object:
    """The decoded text; problems name the line where there is one."""
    if len(source) > SOURCE_BYTES_MAX:
        raise Problem(413, "too_large", f"Expected a definition of at most {SOURCE_BYTES_MAX} bytes.")
    try:
        text = source.decode()
    except UnicodeDecodeError as fault:
        raise _unreadable(f"expected UTF-8, got byte {source[fault.start]:#x} at {fault.start}") from fault
    try:
        if source_format == "json":
            return msgspec.json.decode(text)
        return yaml.load(text, _Loader)
    except msgspec.DecodeError as fault:
        raise _unreadable(f"expected JSON: {fault}") from fault
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise _unreadable(f"expected YAML: {fault.problem or fault.context}{where}") from fault
    except (yaml.YAMLError, ValueError) as fault:
        raise _unreadable(f"expected YAML: {str(fault).splitlines()[0]}") from fault
    except RecursionError as fault:
        raise _unreadable("expected a document that is not so deep") from fault


def _unreadable(message: str) -> Problem:
    return invalid("The definition cannot be read.", Fault("", message))


class _Loader(yaml.SafeLoader):
    """Plain YAML: no aliases (a few lines of them make gigabytes) and no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)
