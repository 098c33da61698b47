"""Whether a schema may follow another: services are deployed one at a time, and messages stay for days.

Breaking: what was written under the old schema is refused or misread under the new one. Readers first: what may be
written under the new schema is not understood by readers of the old one, so those must be deployed before the writers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from outlast.testing.contracts.channels import Channel
from outlast.testing.contracts.schemas import Schema

LOWER_BOUNDS = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
UPPER_BOUNDS = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
EXACT = ("format", "pattern", "multipleOf", "contentEncoding")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference that matters to somebody."""

    path: str
    text: str
    is_breaking: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" + ("" if self.is_breaking else " (deploy readers first)")


def compare_trees(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[Change]:
    """What a whole tree of schemas (path to schema) does to its earlier release."""
    changes = [
        Change(path, "expected this schema to stay, it is gone", True)
        for path in sorted(old.keys() - new.keys())
    ]
    for path in sorted(old.keys() & new.keys()):
        changes += [
            Change(f"{path}#{each.path}", each.text, each.is_breaking)
            for each in compare(old[path], new[path])
        ]
    return changes


def version_gaps(names: Iterable[str]) -> list[str]:
    """Versions that are missing below one that exists: they count up from 1."""
    found = set(names)
    missing: list[str] = []
    for name in sorted(found):
        stem, separator, version = name.rpartition(".v")
        if separator:
            missing += [f"{stem}.v{n}" for n in range(1, int(version)) if f"{stem}.v{n}" not in found]
    return missing


def readers_of(message: str, channels: Iterable[Channel]) -> list[str]:
    """Services that read a message, in alphabetical order: whom to deploy first."""
    return sorted({service for each in channels if message in each.messages for service in each.consumers})


def compare(old: Schema, new: Schema) -> list[Change]:
    """What matters of the differences between two versions of one schema; empty if nothing does."""
    return list(_Comparison(old, new).nodes(old, new, ""))


class _Comparison:
    """Two documents, each with its own definitions. A pair of references is followed once."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._followed: set[tuple[str, str]] = set()

    def nodes(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if pair[0].startswith("#") or pair[1].startswith("#"):
            if pair in self._followed:
                return
            self._followed.add(pair)
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _values(old, new, path)
        yield from _bounds(old, new, path)
        yield from self._members(old, new, path)
        if "items" in old or "items" in new:
            yield from self.nodes(_node(old, "items"), _node(new, "items"), f"{path}[]")
        yield from self._branches(old, new, path)

    def _members(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before, after = _node(old, "properties"), _node(new, "properties")
        for name in before:
            if name not in after:
                yield Change(f"{path}.{name}", "property removed", True)
            else:
                yield from self.nodes(_node(before, name), _node(after, name), f"{path}.{name}")
        required_before, required_after = _names(old, "required"), _names(new, "required")
        for name in sorted(required_after - required_before):
            yield Change(f"{path}.{name}", "newly required", True)
        for name in sorted(required_before - required_after):
            yield Change(f"{path}.{name}", "no longer required", False)
        for closed in ("additionalProperties", "unevaluatedProperties"):
            if new.get(closed) is False and old.get(closed) is not False:
                yield Change(path, f"{closed} closed", True)

    def _branches(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        for union in ("anyOf", "oneOf"):
            if union not in old and union not in new:
                continue
            before, after = _alternatives(old, union), _alternatives(new, union)
            for each in before:
                follower = min(after, key=lambda other: self._breaks(each, other), default=None)
                if follower is None or self._breaks(each, follower):
                    yield Change(path, f"no alternative takes what {_sketch(each)} took", True)
            for each in after:
                if all(self._breaks(each, other) for other in before):
                    yield Change(path, f"alternative {_sketch(each)} added", False)

    def _breaks(self, old: Schema, new: Schema) -> int:
        fresh = _Comparison(self._old, self._new)
        return sum(change.is_breaking for change in fresh.nodes(old, new, ""))


def _values(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Types, enumerations, defaults: sets of values, where none stands for all."""
    for what, before, after in (
        ("type", _types(old), _types(new)),
        ("values", _enumerated(old), _enumerated(new)),
    ):
        if after is not None and (before is None or before - after):
            gone = "any" if before is None else ", ".join(sorted(before - after))
            yield Change(path, f"{what} narrowed: {gone} no longer allowed", True)
        if before is not None and (after is None or after - before):
            added = "any" if after is None else ", ".join(sorted(after - before))
            yield Change(path, f"{what} widened: {added}", False)
    if old.get("default", _ABSENT) != new.get("default", _ABSENT):
        yield Change(path, "default changed: a message without the member means something else now", True)


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for names, is_lower in ((LOWER_BOUNDS, True), (UPPER_BOUNDS, False)):
        for name in names:
            before, after = old.get(name), new.get(name)
            if before == after:
                continue
            is_narrower = before is None or (
                after is not None and (cast("float", after) > cast("float", before)) == is_lower
            )
            yield Change(path, f"{name} changed from {before} to {after}", is_narrower)
    for name in EXACT:
        if old.get(name) != new.get(name):
            yield Change(path, f"{name} changed from {old.get(name)} to {new.get(name)}", name in new)


def _resolved(node: Schema, root: Schema) -> Schema:
    reference = node.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return node
    target: object = root
    for part in reference[2:].split("/"):
        target = cast("Schema", target)[part]
    # what stands beside a reference counts too
    beside = {name: value for name, value in node.items() if name != "$ref"}
    return {**cast("Schema", target), **beside}


def _types(node: Schema) -> set[str] | None:
    """None for a node that says nothing of the type. A whole number is a number."""
    given = node.get("type")
    if given is None:
        return None
    found = {given} if isinstance(given, str) else set(cast("list[str]", given))
    return found | {"integer"} if "number" in found else found


def _enumerated(node: Schema) -> set[str] | None:
    if "const" in node:
        return {repr(node["const"])}
    return None if "enum" not in node else {repr(value) for value in cast("list[object]", node["enum"])}


def _node(node: Schema, name: str) -> Schema:
    return cast("Schema", node.get(name, {}))


def _names(node: Schema, name: str) -> set[str]:
    return set(cast("list[str]", node.get(name, [])))


def _alternatives(node: Schema, union: str) -> list[Schema]:
    """The branches; a node without the union is its own only branch."""
    return cast("list[Schema]", node.get(union, [{k: v for k, v in node.items() if k != "default"}]))


def _sketch(node: Schema) -> str:
    return str(node.get("$ref") or node.get("const") or node.get("type") or node.get("enum") or "anything")
