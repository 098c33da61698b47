"""The types, their schemas and what is committed agree."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from outlast.contracts import messages
from outlast.testing.contracts.__main__ import orphans, stale_files
from outlast.testing.contracts.decoding import decode
from outlast.testing.contracts.examples import changed_examples
from outlast.testing.contracts.schemas import (
    HISTORY,
    MESSAGES,
    Contract,
    contracts,
    declared_messages,
    schema_files,
    schema_of,
)
from outlast.testing.strategies import values_of

ROOT = Path(__file__).parents[2] / "contracts"
CONTRACTS = contracts()
each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=[each.path for each in CONTRACTS])
VALIDATORS = {each: Draft202012Validator(schema_of(each)) for each in CONTRACTS}


def test_what_is_committed_is_what_the_types_export() -> None:
    assert list(stale_files(ROOT)) == []


def test_no_schema_stands_without_a_type() -> None:
    assert orphans(ROOT) == []


def test_no_example_was_changed() -> None:
    assert changed_examples(ROOT) == []


def test_a_stale_schema_an_orphan_and_a_changed_example_are_noticed(tmp_path: Path) -> None:
    for path, text in stale_files(tmp_path_with_channels(tmp_path)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert not stale_files(tmp_path)
    schema = tmp_path / "messages/start.v1.schema.json"
    schema.write_text(schema.read_text(encoding="utf-8").replace("lane", "track"), encoding="utf-8")
    (tmp_path / "history/forgotten.v1.schema.json").write_text("{}", encoding="utf-8")
    example = tmp_path / "examples/messages/head.v1/head.json"
    example.write_text('{"type": "head.v1", "revision": 1, "count": 1}', encoding="utf-8")
    assert list(stale_files(tmp_path)) == ["messages/start.v1.schema.json"]
    assert orphans(tmp_path) == ["history/forgotten.v1.schema.json"]
    assert changed_examples(tmp_path) == ["examples/messages/head.v1/head.json"]


def tmp_path_with_channels(root: Path) -> Path:
    (root / "channels").mkdir()
    for path in (ROOT / "channels").glob("*.yaml"):
        (root / "channels" / path.name).write_bytes(path.read_bytes())
    return root


def test_every_declared_message_and_history_event_is_exported() -> None:
    exported = {each.kind for each in CONTRACTS if each.family in (MESSAGES, HISTORY)}
    assert {kind.__name__ for kind in declared_messages() - exported} == set()


def test_the_same_schemas_come_out_every_time() -> None:
    assert schema_files() == schema_files()


@pytest.mark.parametrize("path", sorted(schema_files()))
def test_a_schema_is_a_valid_one_and_open(path: str) -> None:
    schema = msgspec.json.decode((ROOT / path).read_bytes())
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(path)
    assert '"additionalProperties": false' not in (ROOT / path).read_text(encoding="utf-8")


@each_contract
def test_what_people_read_of_a_field_comes_from_its_docstring(contract: Contract) -> None:
    schema = schema_of(contract)
    assert schema["description"], f"expected {contract.kind.__name__} to have a docstring"
    if contract.kind is messages.Finished:
        properties = schema["properties"]
        assert isinstance(properties, dict)
        assert properties["status"]["description"] == "success | failed | partial | skipped | cancelled"
        assert properties["at"]["format"] == "date-time"


@each_contract
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_value_fits_its_schema_and_comes_back_as_it_was(contract: Contract, data: st.DataObject) -> None:
    value = data.draw(values_of(contract.kind))
    encoded = msgspec.json.encode(value)
    VALIDATORS[contract].validate(msgspec.json.decode(encoded))
    assert decode(contract, encoded) == value


@each_contract
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_reader_ignores_what_it_does_not_know(contract: Contract, data: st.DataObject) -> None:
    value = data.draw(values_of(contract.kind))
    grown = {**msgspec.json.decode(msgspec.json.encode(value)), "added_by_a_later_release": {"a": [1]}}
    VALIDATORS[contract].validate(grown)
    assert decode(contract, msgspec.json.encode(grown)) == value
