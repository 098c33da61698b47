"""Every example that was ever committed: it fits its schema, and today's code reads it."""

from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from outlast.contracts.topics import API_EVENTS
from outlast.messaging.cloudevents import STRUCTURED, parse
from outlast.messaging.ports import Received
from outlast.runbooks.documents import canonical, digest
from outlast.runbooks.pinned import load_pinned
from outlast.testing.contracts.decoding import decode
from outlast.testing.contracts.schemas import EVENTS, HISTORY, MESSAGES, contracts, schema_files

ROOT = Path(__file__).parents[2] / "contracts"
CONTRACTS = {(each.family, each.name): each for each in contracts()}
FILES = sorted((ROOT / "examples").rglob("*.json"))
SCHEMAS = {path: msgspec.json.decode((ROOT / path).read_bytes()) for path in schema_files()}
REGISTRY: Registry[object] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)


def names(family: str) -> list[Path]:
    """Examples of one family."""
    return [path for path in FILES if path.parent.parent.name == family]


def ids(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def structured(value: bytes) -> Received:
    return Received(API_EVENTS, 0, 0, 0, None, value, (("content-type", STRUCTURED),))


def test_every_type_has_an_example() -> None:
    shown = {(path.parent.parent.name, path.parent.name) for path in FILES}
    assert set(CONTRACTS) - shown == set()


def test_every_example_belongs_to_a_type() -> None:
    assert len(FILES) >= 60
    assert {path.relative_to(ROOT).as_posix() for path in FILES if _key(path) not in CONTRACTS} == set()


def _key(path: Path) -> tuple[str, str]:
    return path.parent.parent.name, path.parent.name


@pytest.mark.parametrize("path", names(MESSAGES) + names(HISTORY), ids=ids)
def test_a_message_or_history_event_of_old_is_read_today(path: Path) -> None:
    contract = CONTRACTS[_key(path)]
    document = msgspec.json.decode(path.read_bytes())
    Draft202012Validator(SCHEMAS[contract.path]).validate(document)
    value = decode(contract, path.read_bytes())
    assert isinstance(value, contract.kind)
    assert msgspec.json.decode(msgspec.json.encode(value)) == document


@pytest.mark.parametrize("path", names(EVENTS), ids=ids)
def test_a_domain_event_of_old_is_read_today(path: Path) -> None:
    document = msgspec.json.decode(path.read_bytes())
    envelope = Draft202012Validator(SCHEMAS["events/cloudevent.schema.json"], registry=REGISTRY)
    envelope.validate(document)
    event = parse(structured(path.read_bytes()))
    assert (event.type, event.company_id) == (path.parent.name, document["companyid"])
    assert isinstance(decode(CONTRACTS[_key(path)], event.data), CONTRACTS[_key(path)].kind)


def test_the_envelope_holds_the_data_to_the_schema_of_its_type() -> None:
    document = msgspec.json.decode((ROOT / "examples/events/scan_finished/nightly.json").read_bytes())
    document["data"]["severity_counts"]["critical"] = -1
    with pytest.raises(ValidationError, match="-1 is less than the minimum"):
        Draft202012Validator(SCHEMAS["events/cloudevent.schema.json"], registry=REGISTRY).validate(document)


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "companyid", "data"])
def test_envelope_and_reader_ask_for_the_same_attributes(missing: str) -> None:
    document = msgspec.json.decode((ROOT / "examples/events/finding_created/least.json").read_bytes())
    del document[missing]
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMAS["events/cloudevent.schema.json"], registry=REGISTRY).validate(document)
    with pytest.raises(Exception, match=missing):
        parse(structured(msgspec.json.encode(document)))


@pytest.mark.parametrize(
    "path", [each for each in names(MESSAGES) if each.parent.name in ("start.v1", "definition.v1")], ids=ids
)
def test_a_definition_in_an_example_is_a_runbook_under_its_own_digest(path: Path) -> None:
    document = msgspec.json.decode(path.read_bytes())
    body = canonical(document["definition"])
    assert digest(body) == document["runbook"]["sha256"]
    assert load_pinned(body).name == document["runbook"]["name"]
