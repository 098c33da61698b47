"""JSON Schemas of everything that crosses a process boundary, exported from the types that our code decodes with.

The types are the source; contracts/ keeps the export, so that a reader in another language needs no Python. Schemas
stay open (unknown members are allowed), because every reader of ours ignores what it does not know.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast, get_args

import msgspec

from outlast import limits
from outlast.contracts.control import ControlMessage
from outlast.contracts.domain_events import DOMAIN_EVENTS, SCHEDULE, ScheduleFired
from outlast.contracts.guarding import GateMessage
from outlast.contracts.messages import (
    ActivityMessage,
    CompactedMessage,
    InboxMessage,
    InlineMessage,
    LifecycleMessage,
    SignalMessage,
    TimerCommand,
)
from outlast.contracts.parts import Message
from outlast.history.events import Event, HistoryEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BASE = "https://outlast.invalid/contracts"
"""Where `$id`s begin: no address to fetch from, a root for the references between the files."""
MESSAGES, HISTORY, EVENTS = "messages", "history", "events"
ENVELOPE = "cloudevent"

Schema: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Contract:
    """One type that has a schema and examples: in which folder, under which name."""

    family: str
    name: str
    """The wire name with its version ("start.v1"); a domain event's has none ("finding_created")."""
    kind: type[msgspec.Struct]

    @property
    def path(self) -> str:
        """Of the schema, below contracts/."""
        return f"{self.family}/{self.name}.schema.json"


def contracts() -> list[Contract]:
    """Every message, history event and domain event, in the order of its path."""
    found = [Contract(MESSAGES, _tag(kind), kind) for kind in _messages()]
    found += [Contract(HISTORY, _tag(kind), kind) for kind in _members(Event)]
    found += [Contract(EVENTS, name, kind) for name, kind in DOMAIN_EVENTS.items()]
    found.append(Contract(EVENTS, SCHEDULE, ScheduleFired))
    return sorted(found, key=lambda contract: contract.path)


def schema_files() -> dict[str, str]:
    """Every schema as the text of its file, by its path below contracts/."""
    files = {contract.path: rendered(schema_of(contract)) for contract in contracts()}
    files[f"{EVENTS}/{ENVELOPE}.schema.json"] = rendered(envelope_schema())
    return files


def rendered(document: object) -> str:
    """JSON as files keep it: indented, in the order given, text as it is."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schema_of(contract: Contract) -> Schema:
    """The schema of one type, whole in itself."""
    _, components = msgspec.json.schema_components((contract.kind,), ref_template="#/$defs/{name}")
    definitions = {name: _described(name, schema, contract.kind) for name, schema in components.items()}
    root = definitions.pop(contract.kind.__name__)
    document = {"$schema": DIALECT, "$id": f"{BASE}/{contract.path}", **root}
    return {**document, "$defs": definitions} if definitions else document


def envelope_schema() -> Schema:
    """A domain event as it arrives: CloudEvents 1.0 in structured mode, with our extension attributes."""
    types = sorted([*DOMAIN_EVENTS, SCHEDULE])
    return {
        "$schema": DIALECT,
        "$id": f"{BASE}/{EVENTS}/{ENVELOPE}.schema.json",
        "title": "CloudEvent",
        "description": (
            "A domain event in the structured mode of CloudEvents 1.0. In binary mode the attributes are Kafka "
            "headers (ce_id, ce_source, ...) and the message's value is `data`. Known by (companyid, source, id): "
            "a second one with the same three changes nothing."
        ),
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _text("Unique within source and company.", limits.EVENT_ID_CHARACTERS_MAX),
            "source": _text(
                "Who says so: a URI reference of the producer.", limits.EVENT_SOURCE_CHARACTERS_MAX
            ),
            "type": {
                "enum": types,
                "description": "What happened; it decides the shape of `data`. schedule is the scheduler's alone.",
            },
            "companyid": _text(
                "The company (tenant) that it happened to. The producer must be registered for it.",
                limits.COMPANY_ID_CHARACTERS_MAX,
            ),
            "time": {
                "type": "string",
                "format": "date-time",
                "description": "When it happened, with a zone; the `now` of conditions and templates. Without it, "
                "the time at which the broker took the event.",
            },
            "subject": {
                "type": "string",
                "maxLength": limits.EVENT_SUBJECT_CHARACTERS_MAX,
                "description": "What it happened to, for example findings/F-1.",
            },
            "datacontenttype": {
                "type": "string",
                "description": "application/json, or a type that ends in +json.",
            },
            "dataschema": {"type": "string", "description": "Not read."},
            "data": {
                "type": "object",
                "description": "What happened; the schema beside this one named by `type`.",
            },
            "traceparent": {
                "type": "string",
                "description": "W3C trace context. Goes with the run to every outside call; made from "
                "(companyid, source, id) where it is absent or malformed.",
            },
            "partitionkey": {
                "type": "string",
                "description": "What the producer used as the Kafka key; allowed, not read.",
            },
            "outlastchain": {
                "type": "string",
                "description": "Ids of the executions whose actions caused the event, oldest first, separated by "
                f"commas, at most {limits.EVENT_CHAIN_MAX}. A service that changes something on behalf of a runbook "
                "passes on the chain that it was called with.",
            },
        },
        "required": ["specversion", "id", "source", "type", "companyid", "data"],
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"properties": {"data": {"$ref": f"{name}.schema.json"}}},
            }
            for name in types
        ],
    }


# ---- types -----------------------------------------------------------------------------------------------------


def _messages() -> Iterator[type[Message]]:
    unions = (
        InboxMessage, InlineMessage, ActivityMessage, TimerCommand, SignalMessage, LifecycleMessage, GateMessage,
        ControlMessage, CompactedMessage,
    )  # fmt: skip
    members = (member for union in unions for member in _members(union))
    yield from cast("Iterator[type[Message]]", dict.fromkeys(members))


def _members(union: object) -> tuple[type[msgspec.Struct], ...]:
    """The types of a union; the type itself where there is only one."""
    return get_args(union) or (cast("type[msgspec.Struct]", union),)


def declared_messages() -> frozenset[type[msgspec.Struct]]:
    """Every message and history event that is declared at all, in a union or not."""
    return _tagged(Message) | _tagged(HistoryEvent)


def _tagged(base: type[msgspec.Struct]) -> frozenset[type[msgspec.Struct]]:
    """What is below, but for bases that only share fields."""
    return frozenset(
        each
        for kind in base.__subclasses__()
        for each in (_tagged(kind) if kind.__subclasses__() else {kind})
    )


def _tag(kind: type[msgspec.Struct]) -> str:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str), f"expected {kind.__name__} to have a tag"
    return tag


# ---- what msgspec leaves out: the fields' docstrings, and that instants are instants -------------------------------


def _text(description: str, length_max: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": length_max, "description": description}


def _described(name: str, schema: Schema, root: type[msgspec.Struct]) -> Schema:
    kind = _structs_of(root)[name]
    notes = _field_notes(kind)
    properties = dict(cast("Mapping[str, Schema]", schema["properties"]))
    for field in msgspec.structs.fields(kind):
        properties[field.encode_name] = {
            **_with_instants(properties[field.encode_name], field.type),
            **({"description": notes[field.name]} if field.name in notes else {}),
        }
    for each, value in properties.items():
        match value:
            case {"enum": [only]}:
                properties[each] = {"const": only}
            case _:
                pass
    return {**schema, "description": _one_line(kind.__doc__ or ""), "properties": properties}


def _with_instants(schema: Schema, annotation: object) -> Schema:
    if "datetime" not in repr(annotation):
        return schema
    if schema.get("type") == "string":
        return {**schema, "format": "date-time"}
    match schema:
        case {"anyOf": [*branches]}:
            dated = [{**b, "format": "date-time"} if b == {"type": "string"} else b for b in branches]
            return {**schema, "anyOf": dated}
        case _:
            return schema


def _structs_of(root: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The structs that a struct is made of, itself included, by name."""
    found: dict[str, type[msgspec.Struct]] = {}
    waiting: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(root)]
    while waiting:
        match waiting.pop():
            case msgspec.inspect.StructType(cls=kind, fields=fields) if kind.__name__ not in found:
                found[kind.__name__] = kind
                waiting += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                waiting += types
            case msgspec.inspect.VarTupleType(item_type=item):
                waiting.append(item)
            case _:
                pass
    return found


def _field_notes(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The text under each field of a class, as its source has it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                notes[name] = _one_line(text)
            case _:
                pass
    return notes


def _one_line(text: str) -> str:
    return " ".join(text.split())
