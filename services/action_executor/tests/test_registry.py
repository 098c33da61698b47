"""Action types come by entry point, a third party's like our own; the catalogue tells what there is."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import jsonschema
import msgspec
import pytest

from outlast.actions import ENTRY_POINTS, ActionOutcome, ActionType, ActivityCall
from outlast.contracts import codec
from outlast.contracts.messages import CatalogueAction, Head
from outlast_action_executor.catalogue import catalogue_messages
from outlast_action_executor.registry import Registry, load_registry

DOCUMENT = Path(__file__).parents[3] / "docs" / "actions.md"
BUILT_IN = {
    "http_request": "notify",
    "send_webhook": "notify",
    "send_email": "notify",
    "send_slack_message": "notify",
    "change_finding_severity": "finding",
    "change_finding_status": "finding",
    "assign_finding": "finding",
    "add_finding_tags": "finding",
    "append_comment": "finding",
    "resolve_owner": "flow",
    "when": "flow",
}


class Config(msgspec.Struct):
    """Nothing."""


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    return ActionOutcome()


def action_type(**changes: object) -> ActionType:
    return ActionType(
        **{
            "name": "noop",
            "action_class": "notify",
            "summary": "Nothing",
            "config": Config,
            "run": run,
            "is_idempotent": True,
            "example": {},
            **changes,
        }
    )  # type: ignore[arg-type]


def test_the_built_in_types_are_there() -> None:
    registry = load_registry()
    assert {
        name: registered.type.action_class for name in BUILT_IN if (registered := registry.get(name))
    } == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_example_fits_its_own_schema(name: str) -> None:
    registered = load_registry().get(name)
    assert registered is not None
    schema = registered.type.config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(dict(registered.type.example), schema)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_type_is_in_the_document_with_its_config_and_what_undoes_it(name: str) -> None:
    registered = load_registry().get(name)
    assert registered is not None
    (row,) = [line for line in DOCUMENT.read_text().splitlines() if re.match(rf"\| (`\w+`, )*`{name}`", line)]
    if name != "when":
        properties = registered.type.config_schema().get("properties", {})
        assert {f"`{each}`" for each in properties} <= set(re.findall(r"`\w+`", row))  # type: ignore[union-attr]
    assert f"`{registered.type.undo}`" in row or not registered.type.undo


def test_a_finding_action_says_what_its_finding_is_by_default() -> None:
    registered = load_registry().get("append_comment")
    assert registered is not None
    schema = registered.type.config_schema()
    assert schema["properties"]["finding_id"]["default"] == "{{ finding.id }}"  # type: ignore[index]
    assert schema["required"] == ["comment"]
    jsonschema.validate({"comment": "x"}, schema)


def test_the_catalogue_ends_with_a_head_that_counts() -> None:
    registry = load_registry()
    messages = catalogue_messages(registry.catalogue())
    entries = [codec.compacted.decode(message.value) for message in messages]
    assert [message.key for message in messages] == [
        *sorted(name.encode() for name in registry.names),
        b"head",
    ]
    assert all(isinstance(entry, CatalogueAction) for entry in entries[:-1])
    assert isinstance(entries[-1], Head)
    assert entries[-1].count == len(registry.names)
    assert catalogue_messages(registry.catalogue()) == messages
    assert {message.partition for message in messages} == {0}


def test_a_name_that_two_distributions_claim_is_refused() -> None:
    registry = Registry()
    registry.add(action_type(), "one")
    with pytest.raises(ValueError, match="one and two"):
        registry.add(action_type(), "two")


@pytest.mark.parametrize(
    "changes",
    [{"name": "No-Op"}, {"name": ""}, {"action_class": "magic"}, {"run": None}, {"action_class": "flow"}],
)
def test_a_type_that_could_not_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        action_type(**changes)


def documented() -> str:
    """The example of the document, as it stands there."""
    text = DOCUMENT.read_text()
    return text.partition("```python\n")[2].partition("```")[0]


def test_the_documented_example_is_a_third_partys_whole_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of at most 40 lines and an entry point, installed as any distribution is."""
    code = documented()
    assert len(code.splitlines()) <= 40
    (tmp_path / "acme_pager.py").write_text(code)
    info = tmp_path / "acme_pager-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-pager\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\npage_someone = acme_pager:ACTION\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_pager", raising=False)
    (found,) = [each for each in distributions(path=[str(tmp_path)]) if each.name == "acme-pager"]
    assert found.version == "1.0"
    registry = load_registry()
    registered = registry.get("page_someone")
    assert registered is not None
    assert registered.distribution == "acme-pager"
    jsonschema.validate(dict(registered.type.example), registered.type.config_schema())
    entry = codec.compacted.decode(registry.catalogue()["page_someone"])
    assert isinstance(entry, CatalogueAction)
    assert (entry.distribution, entry.action_class) == ("acme-pager", "notify")
