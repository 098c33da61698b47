"""What may follow a released schema; and that what is committed may follow what was released last."""

from pathlib import Path

import msgspec
import pytest

from outlast.testing.contracts.channels import read_channels
from outlast.testing.contracts.compatibility import compare, compare_trees, readers_of, version_gaps
from outlast.testing.contracts.schemas import EVENTS, HISTORY, MESSAGES, Schema, schema_files

ROOT = Path(__file__).parents[2] / "contracts"
RELEASED = Path(__file__).parent / "released"
TEXT: Schema = {"type": "string"}


def message(required: tuple[str, ...] = ("id",), **properties: Schema) -> Schema:
    return {"type": "object", "properties": {"id": TEXT, **properties}, "required": list(required)}


def verdict(old: Schema, new: Schema) -> list[tuple[str, bool]]:
    return [(change.path, change.is_breaking) for change in compare(old, new)]


def test_the_same_schema_changes_nothing() -> None:
    assert verdict(message(a=TEXT), message(a=TEXT)) == []


def test_a_new_optional_member_and_a_new_text_for_people_change_nothing() -> None:
    assert verdict(message(), {**message(note=TEXT), "description": "new words"}) == []


def test_a_removed_member_breaks() -> None:
    assert verdict(message(a=TEXT), message()) == [(".a", True)]


def test_a_member_that_is_newly_required_breaks() -> None:
    assert verdict(message(a=TEXT), message(("id", "a"), a=TEXT)) == [(".a", True)]


def test_a_member_that_is_no_longer_required_wants_the_readers_first() -> None:
    assert verdict(message(("id", "a"), a=TEXT), message(a=TEXT)) == [(".a", False)]


@pytest.mark.parametrize(
    ("old", "new", "is_breaking"),
    [
        ({"type": "string"}, {"type": "integer"}, True),
        ({}, {"type": "string"}, True),
        ({"type": "string"}, {}, False),
        ({"type": "number"}, {"type": "integer"}, True),
        ({"type": "integer"}, {"type": "number"}, False),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, True),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, False),
        ({"const": "a"}, {"const": "b"}, True),
        ({"type": "string"}, {"type": "string", "enum": ["a"]}, True),
        ({"type": "integer"}, {"type": "integer", "minimum": 0}, True),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}, True),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 0}, False),
        ({"type": "integer", "minimum": 1}, {"type": "integer"}, False),
        ({"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 8}, True),
        ({"type": "string", "maxLength": 8}, {"type": "string", "maxLength": 9}, False),
        ({"type": "string"}, {"type": "string", "format": "date-time"}, True),
        ({"type": "string", "format": "date-time"}, {"type": "string"}, False),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, {"type": "array", "items": {"enum": ["a"]}}, True),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}]},
            True,
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "integer"}]},
            False,
        ),
        ({"type": "string", "default": "retry"}, {"type": "string", "default": "fail"}, True),
    ],
)
def test_a_narrowed_value_breaks_and_a_widened_one_wants_the_readers_first(
    old: Schema, new: Schema, is_breaking: bool
) -> None:
    changes = compare(message(a=old), message(a=new))
    assert changes, "expected the difference to be noticed"
    assert any(change.is_breaking for change in changes) == is_breaking
    assert all(change.path.startswith(".a") for change in changes)


def test_a_closed_object_breaks() -> None:
    assert verdict(message(), {**message(), "additionalProperties": False}) == [("", True)]


def test_a_change_behind_a_reference_is_seen_once_and_recursion_ends() -> None:
    def document(inner: Schema) -> Schema:
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "name": inner}}
        return {
            "properties": {"a": {"$ref": "#/$defs/Node"}, "b": {"$ref": "#/$defs/Node"}},
            "$defs": {"Node": node},
        }

    assert verdict(document(TEXT), document({"type": "integer"})) == [(".a.name", True), (".a.name", False)]


def test_a_definition_that_moves_without_changing_changes_nothing() -> None:
    whole = {"properties": {"a": message()}}
    referred = {"properties": {"a": {"$ref": "#/$defs/Message"}}, "$defs": {"Message": message()}}
    assert verdict(whole, referred) == []


def test_a_schema_that_is_gone_breaks_and_a_new_one_does_not() -> None:
    changes = compare_trees({"messages/start.v1": message()}, {"messages/stop.v1": message()})
    assert [(change.path, change.is_breaking) for change in changes] == [("messages/start.v1", True)]


def test_versions_count_up_from_one() -> None:
    assert version_gaps(["start.v1", "start.v2", "probe.v1", "finding_created"]) == []
    assert version_gaps(["start.v3", "start.v1", "probe.v2"]) == ["probe.v1", "start.v2"]


def test_versions_of_what_is_committed_have_no_gap() -> None:
    for family in (MESSAGES, HISTORY):
        assert (
            version_gaps(path.name.removesuffix(".schema.json") for path in (ROOT / family).iterdir()) == []
        )


def test_the_readers_to_deploy_first_are_named() -> None:
    assert readers_of("started.v1", read_channels(ROOT)) == ["finalizer", "trigger_matcher"]


def released() -> list[Path]:
    """One folder a release, with the schemas as they were: see contracts/README.md."""
    return sorted(path for path in RELEASED.glob("*") if path.is_dir())


def schemas_below(root: Path) -> dict[str, Schema]:
    return {
        path.relative_to(root).as_posix(): msgspec.json.decode(path.read_bytes())
        for family in (MESSAGES, HISTORY, EVENTS)
        for path in sorted((root / family).glob("*.schema.json"))
    }


def test_what_is_committed_may_follow_every_release() -> None:
    now = schemas_below(ROOT)
    assert set(now) == set(schema_files())
    for release in released():
        before = schemas_below(release)
        assert before, f"expected schemas in {release.name}"
        assert [str(each) for each in compare_trees(before, now) if each.is_breaking] == [], release.name
