"""Definitions: what is read, what is refused and where, what is pinned, what is exported."""

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from outlast.runbooks.catalogue import ActionKind, Catalogue
from outlast.runbooks.definition import EVENT_TYPES, Action, Branch, Runbook, all_steps
from outlast.runbooks.documents import canonical, digest
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.pinned import load_pinned, load_rules, pin, to_document
from outlast.runbooks.reading import parse_runbook
from outlast.runbooks.templates import TemplateFailed

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CATALOGUE = Catalogue(
    [
        ActionKind(
            type="http_request",
            action_class="notify",
            config_schema={
                "type": "object",
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "pattern": "^https?://"},
                    "method": {"enum": ["GET", "POST"]},
                    "accept": {"type": "array", "items": {"type": "integer", "minimum": 100}},
                    "retries": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
                    "body": {},
                },
                "additionalProperties": False,
            },
        ),
        ActionKind(
            type="add_finding_tags",
            action_class="finding",
            config_schema={"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}},
            is_idempotent=True,
        ),
    ]
)
DOCUMENT: dict[str, Any] = {
    "name": "critical-finding-page",
    "description": "Page the owner.",
    "active": True,
    "requires_durable": True,
    "rules": [
        {
            "event": "finding_created",
            "condition": {"all": [{"field": "finding.severity", "op": "gte", "value": "high"}]},
        },
        {"event": "sla_breached"},
    ],
    "actions": [
        {"id": "owner", "type": "resolve_owner"},
        {
            "type": "http_request",
            "name": "Page",
            "when": {"field": "finding.severity", "op": "eq", "value": "critical"},
            "config": {"method": "POST", "url": "http://pager/{{ finding.id }}", "body": {"t": "{{ finding.title }}"}},
            "retry": {"max_attempts": 5, "initial_backoff": "2s", "max_backoff": "10m", "factor": 3},
            "timeout": "45s",
            "continue_on_error": False,
            "on_unknown": "fail",
        },
        {
            "id": "branch",
            "type": "when",
            "expression": "{{ finding.count > 3 }}",
            "then": [{"type": "add_finding_tags", "config": {"tags": ["many"]}}],
            "else": [
                {"type": "when", "expression": {"field": "finding.open", "op": "eq", "value": True},
                 "then": [{"type": "resolve_owner"}]},
            ],
        },
    ],
}  # fmt: skip


def changed(**members: Any) -> dict[str, Any]:
    return {**copy.deepcopy(DOCUMENT), **members}


def faults(document: Any) -> dict[str, str]:
    with pytest.raises(DefinitionRefused) as refused:
        parse_runbook(document, CATALOGUE)
    return {fault.path: fault.message for fault in refused.value.faults}


def with_action(**action: Any) -> dict[str, Any]:
    return changed(actions=[action])


def test_a_document_becomes_a_runbook() -> None:
    runbook = parse_runbook(DOCUMENT, CATALOGUE)
    assert (runbook.name, runbook.active, runbook.requires_durable) == ("critical-finding-page", True, True)
    assert [rule.event_type for rule in runbook.rules] == ["finding_created", "sla_breached"]
    first = runbook.rules[0].condition
    assert first is not None
    assert first.matches({"finding": {"severity": "critical"}}, NOW)
    assert runbook.rules[1].condition is None
    page = runbook.actions[1]
    assert isinstance(page, Action)
    assert (page.action_class, page.is_idempotent, page.on_unknown) == ("notify", False, "fail")
    assert page.timeout == timedelta(seconds=45)
    assert page.retry is not None
    assert (page.retry.max_attempts, page.retry.max_backoff) == (5, timedelta(minutes=10))
    assert page.when is not None
    assert page.when.holds({"finding": {"severity": "critical"}}, NOW)
    rendered = page.config.render({"finding": {"id": 7, "title": "x"}}, NOW)
    assert rendered == {"method": "POST", "url": "http://pager/7", "body": {"t": "x"}}
    branch = runbook.actions[2]
    assert isinstance(branch, Branch)
    assert branch.expression.holds({"finding": {"count": 4}}, NOW)


def test_ids_are_given_or_made_of_the_position() -> None:
    ids = [step.id for step in all_steps(parse_runbook(DOCUMENT, CATALOGUE).actions)]
    assert ids == [
        "owner",
        "action_2",
        "branch",
        "branch_then_1",
        "branch_else_1",
        "branch_else_1_then_1",
    ]


def test_a_when_that_is_no_boolean_fails() -> None:
    action = parse_runbook(with_action(type="resolve_owner", when="{{ finding.count }}"), CATALOGUE).actions[
        0
    ]
    assert action.when is not None
    with pytest.raises(TemplateFailed) as failed:
        action.when.holds({"finding": {"count": 1}}, NOW)
    assert failed.value.path == "actions[0].when"
    assert "expected true or false, got a number" in str(failed.value)


# ---- refused


def test_all_faults_are_named_at_once() -> None:
    document = changed(
        name="",
        rules=[{"event": "finding_create"}, {"event": "sla_breached", "condition": {"all": []}}],
        actions=[
            {"type": "htp_request"},
            {"type": "http_request", "config": {"url": "{{ x", "method": "PUT"}},
            {"type": "http_request", "config": {"url": "ftp://x", "method": "PUT"}},
        ],
    )
    found = faults(document)
    assert list(found) == [
        "name",
        "rules[0].event",
        "rules[1].condition.all",
        "actions[0].type",
        "actions[1].config.url",
        "actions[2].config.method",
        "actions[2].config.url",
    ]
    assert found["rules[0].event"] == 'unknown event type "finding_create"; did you mean "finding_created"?'
    assert found["actions[0].type"] == 'unknown action type "htp_request"; did you mean "http_request"?'


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        (changed(surprise=1), "surprise"),
        (changed(name=5), "name"),
        (changed(name="x" * 101), "name"),
        (changed(name=" x"), "name"),
        (changed(name="a\nb"), "name"),
        (changed(active="yes"), "active"),
        (changed(rules={}), "rules"),
        (changed(rules=None), "rules"),
        (changed(rules=["finding_created"]), "rules[0]"),
        (changed(rules=[{"event": "finding_created", "if": {}}]), "rules[0].if"),
        (changed(rules=[{}]), "rules[0].event"),
        (changed(rules=[{"event": "sla_breached"}] * 51), "rules"),
        (changed(actions=[]), "actions"),
        (changed(actions=None), "actions"),
        (changed(actions={}), "actions"),
        (changed(actions=["x"]), "actions[0]"),
        (changed(actions=[{"type": "resolve_owner"}] * 201), "actions"),
        (changed(engine="warp"), "engine"),
        (changed(guardrails=[]), "guardrails"),
        (changed(guardrails={"throttel": 1}), "guardrails.throttel"),
        (changed(throttle_seconds=5), "throttle_seconds"),
        (with_action(), "actions[0].type"),
        (with_action(type="resolve_owner", then=[]), "actions[0].then"),
        (with_action(type="resolve_owner", id="1st"), "actions[0].id"),
        (with_action(type="resolve_owner", id="a b"), "actions[0].id"),
        (with_action(type="resolve_owner", id="a:b"), "actions[0].id"),
        (with_action(type="resolve_owner", config=[]), "actions[0].config"),
        (with_action(type="resolve_owner", config={"x": 1}), "actions[0].config"),
        (with_action(type="resolve_owner", when="finding.open"), "actions[0].when"),
        (with_action(type="resolve_owner", when=" {{ finding.open }}"), "actions[0].when"),
        (with_action(type="resolve_owner", when=True), "actions[0].when"),
        (with_action(type="resolve_owner", when={"all": []}), "actions[0].when.all"),
        (with_action(type="resolve_owner", timeout="11m"), "actions[0].timeout"),
        (with_action(type="resolve_owner", timeout="0s"), "actions[0].timeout"),
        (with_action(type="resolve_owner", timeout=5), "actions[0].timeout"),
        (with_action(type="resolve_owner", continue_on_error="no"), "actions[0].continue_on_error"),
        (with_action(type="resolve_owner", on_unknown="ask"), "actions[0].on_unknown"),
        (with_action(type="resolve_owner", retry=3), "actions[0].retry"),
        (with_action(type="resolve_owner", retry={}), "actions[0].retry.max_attempts"),
        (with_action(type="resolve_owner", retry={"max_attempts": 21}), "actions[0].retry.max_attempts"),
        (with_action(type="resolve_owner", retry={"max_attempts": 0}), "actions[0].retry.max_attempts"),
        (with_action(type="resolve_owner", retry={"max_attempts": 2, "factor": 0.5}), "actions[0].retry.factor"),
        (with_action(type="when", expression="{{ true }}"), "actions[0].then"),
        (with_action(type="when", expression="{{ true }}", then=[]), "actions[0].then"),
        (with_action(type="when", then=[{"type": "resolve_owner"}]), "actions[0].expression"),
        (with_action(type="when", expression="{{ true }}", then=[{"type": "x"}]), "actions[0].then[0].type"),
        (with_action(type="http_request", config={}), "actions[0].config"),
        (with_action(type="http_request", config={"url": "http://x", "accept": [99]}), "actions[0].config.accept[0]"),
        (with_action(type="http_request", config={"url": "http://x\x00"}), "actions[0].config.url"),
        (with_action(type="http_request", config={"url": "\udc00"}), "actions[0].config.url"),
        (with_action(type="http_request", config={"url": "http://x", "body": {1: 2}}), "actions[0].config.body"),
        (with_action(type="sleep"), "actions[0].config"),
        (with_action(type="sleep", config={"duration": "soon"}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": "-5m"}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": "1w"}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": "367d"}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": "999999999999999d"}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": 30}), "actions[0].config.duration"),
        (with_action(type="sleep", config={"duration": "5m", "until": "noon"}), "actions[0].config"),
        (with_action(type="await_signal"), "actions[0].config"),
        (with_action(type="await_signal", config={"signal": ""}), "actions[0].config.signal"),
        (with_action(type="await_signal", config={"signal": "s" * 129}), "actions[0].config.signal"),
        (with_action(type="await_signal", config={"signal": "a", "key": ""}), "actions[0].config.key"),
        (with_action(type="await_signal", config={"signal": "a", "key": "k" * 257}), "actions[0].config.key"),
        (with_action(type="await_signal", config={"signal": "a", "key": 7}), "actions[0].config.key"),
        (with_action(type="await_signal", config={"signal": "a", "timeout": "3 days"}), "actions[0].config.timeout"),
        (with_action(type="await_signal", config={"signal": "a", "on_timeout": "go"}), "actions[0].config.on_timeout"),
        (with_action(type="await_signal", config={"signal": "a", "on_time_out": "fail"}), "actions[0].config"),
        (
            with_action(type="when", expression="{{ true }}", then=[{"type": "sleep", "config": {"duration": "x"}}]),
            "actions[0].then[0].config.duration",
        ),
        (changed(description=datetime(2026, 1, 1, tzinfo=UTC)), "description"),
        (changed(description="x" * 300_000), ""),
    ],
)  # fmt: skip
def test_a_fault_is_refused_at_its_path(document: Any, path: str) -> None:
    assert list(faults(document)) == [path]


def test_yaml_that_reads_on_as_true_is_told_so() -> None:
    document: Any = {**DOCUMENT, True: []}
    assert "YAML reads a bare on" in faults(document)[""]
    assert faults({**DOCUMENT, "on": []})["on"] == 'unknown key "on"; did you mean "rules"?'


def test_an_id_is_given_once() -> None:
    document = changed(actions=[{"id": "a", "type": "resolve_owner"}] * 2)
    assert faults(document) == {"actions[1].id": 'expected an id of its own, but actions[0] is "a" too'}
    document = changed(actions=[{"type": "resolve_owner"}, {"id": "action_1", "type": "resolve_owner"}])
    assert list(faults(document)) == ["actions[1].id"]


def test_branches_are_limited_in_depth() -> None:
    inner: dict[str, Any] = {"type": "resolve_owner"}
    for _ in range(8):
        inner = {"type": "when", "expression": "{{ true }}", "then": [inner]}
    parse_runbook(changed(actions=[inner]), CATALOGUE)
    inner = {"type": "when", "expression": "{{ true }}", "then": [inner]}
    assert any("at most 8 branches" in message for message in faults(changed(actions=[inner])).values())


@pytest.mark.parametrize(
    ("document", "path", "word"),
    [
        (with_action(type="resolve_owner", compensate={"type": "x"}), "actions[0].compensate", "compensate"),
    ],
)
def test_what_a_later_release_does_is_refused_with_a_sentence(document: Any, path: str, word: str) -> None:
    found = faults(document)
    assert list(found) == [path]
    assert word in found[path]
    assert "not part of this release yet" in found[path]


@pytest.mark.parametrize("event_type", [each for each in EVENT_TYPES if each != "schedule"])
def test_the_other_fifteen_event_types_trigger(event_type: str) -> None:
    assert len(EVENT_TYPES) == 16
    assert parse_runbook(changed(rules=[{"event": event_type}]), CATALOGUE).rules[0].event_type == event_type


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ({"type": "sleep"}, "'duration' is a required property"),
        ({"type": "sleep", "config": {"duration": "5m", "until": "noon"}}, "'until' was unexpected"),
        ({"type": "await_signal", "config": {"key": "F-1"}}, "'signal' is a required property"),
        ({"type": "slepe", "config": {"duration": "5m"}}, 'did you mean "sleep"?'),
        ({"type": "wait_signal"}, 'did you mean "await_signal"?'),
    ],
)
def test_what_waits_wrongly_is_told_what_is_wrong(action: dict[str, Any], word: str) -> None:
    (message,) = faults(changed(actions=[action])).values()
    assert word in message


@pytest.mark.parametrize(
    "action",
    [
        {"type": "sleep", "config": {"duration": "30s"}},
        {"type": "sleep", "config": {"duration": "{{ finding.grace }}"}},
        {"type": "sleep", "config": {"duration": "{{ finding.days }}d"}},
        {"type": "await_signal", "config": {"signal": "approved"}},
        {
            "type": "await_signal",
            "config": {
                "signal": "approved-{{ company.id }}",
                "key": "{{ finding.id }}",
                "timeout": "72h",
                "on_timeout": "continue",
            },
        },
    ],
)
def test_a_wait_is_an_action_that_every_catalogue_has(action: dict[str, Any]) -> None:
    (step,) = parse_runbook(changed(actions=[action]), Catalogue()).actions
    assert isinstance(step, Action)
    assert (step.type, step.action_class, step.retry) == (action["type"], "flow", None)


def test_a_runbook_without_rules_is_started_by_hand() -> None:
    assert parse_runbook(changed(rules=[]), CATALOGUE).rules == ()


# ---- schemas and templates


@pytest.mark.parametrize(
    "config",
    [
        {"url": "{{ finding.url }}"},
        {"url": "http://x/{{ finding.id }}"},
        {"url": "{{ base }}/x"},
        {"url": "http://x", "method": "{{ method }}"},
        {"url": "http://x", "method": "P{{ rest }}"},
        {"url": "http://x", "accept": ["{{ status }}", 200]},
        {"url": "http://x", "accept": "{{ statuses }}"},
        {"url": "http://x", "retries": "{{ n }}"},
    ],
)
def test_a_placeholder_fits_where_its_value_may(config: dict[str, Any]) -> None:
    parse_runbook(with_action(type="http_request", config=config), CATALOGUE)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"url": "http://x", "accept": "2{{ rest }}"}, "actions[0].config.accept"),
        ({"url": "http://x", "accept": ["2{{ rest }}"]}, "actions[0].config.accept[0]"),
        ({"url": "http://x", "retries": "2{{ rest }}"}, "actions[0].config.retries"),
        ({"url": "ftp://x"}, "actions[0].config.url"),
    ],
)
def test_text_beside_a_placeholder_is_text_to_the_schema(config: dict[str, Any], path: str) -> None:
    assert list(faults(with_action(type="http_request", config=config))) == [path]


def test_a_default_that_is_a_placeholder_is_laid_in_where_it_can_be_rendered() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "finding_id": {"type": "string", "default": "{{ finding.id }}"},
            "method": {"type": "string", "default": "POST"},
        },
        "required": ["finding_id"],
    }
    catalogue = Catalogue([ActionKind(type="touch", action_class="finding", config_schema=schema)])
    for config, expected in (({}, "{{ finding.id }}"), ({"finding_id": "f-9"}, "f-9")):
        runbook = parse_runbook(with_action(type="touch", config=config), catalogue)
        (action,) = runbook.actions
        assert isinstance(action, Action)
        assert action.config.source == {"finding_id": expected}


# ---- pinned and exported


def test_a_pinned_runbook_is_the_runbook() -> None:
    runbook = parse_runbook(DOCUMENT, CATALOGUE)
    data = pin(runbook)
    loaded = load_pinned(data)
    assert pin(loaded) == data
    assert [(s.id, s.type, s.action_class) for s in all_steps(loaded.actions)] == [
        (s.id, s.type, s.action_class) for s in all_steps(runbook.actions)
    ]
    page = loaded.actions[1]
    assert isinstance(page, Action)
    assert (page.on_unknown, page.timeout, page.continue_on_error) == ("fail", timedelta(seconds=45), False)
    assert to_document(loaded) == {k: v for k, v in to_document(runbook).items() if k != "active"}


def test_rules_are_read_from_pinned_bytes_alone() -> None:
    rules = load_rules(pin(parse_runbook(DOCUMENT, CATALOGUE)))
    assert rules.name == "critical-finding-page"
    assert [rule.event_type for rule in rules.rules] == ["finding_created", "sla_breached"]
    condition = rules.rules[0].condition
    assert condition is not None
    assert condition.matches({"finding": {"severity": "high"}}, NOW)


def test_the_identity_is_the_meaning_not_the_writing() -> None:
    def identity(document: dict[str, Any]) -> str:
        return digest(pin(parse_runbook(document, CATALOGUE)))

    first = identity(DOCUMENT)
    assert identity(dict(reversed(list(DOCUMENT.items())))) == first
    assert identity(changed(active=False)) == first
    explicit = changed()
    explicit["actions"][1]["id"] = "action_2"
    assert identity(explicit) == first
    assert identity(changed(description="other")) != first
    other = changed()
    other["actions"][1]["config"]["method"] = "GET"
    assert identity(other) != first


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert (
        canonical({"b": [1, {"d": None, "c": "ü"}], "a": True})
        == '{"a":true,"b":[1,{"c":"ü","d":null}]}'.encode()
    )
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_exporting_is_stable_under_a_round_trip() -> None:
    once = to_document(parse_runbook(DOCUMENT, CATALOGUE))
    again = to_document(parse_runbook(json.loads(json.dumps(once)), CATALOGUE))
    assert json.dumps(again) == json.dumps(once)  # the order of keys too
    assert list(once) == ["name", "description", "active", "requires_durable", "rules", "actions"]
    assert "id" not in once["actions"][1]  # type: ignore[index,operator]


def test_reading_does_not_change_the_document() -> None:
    before = copy.deepcopy(DOCUMENT)
    assert isinstance(parse_runbook(DOCUMENT, CATALOGUE), Runbook)
    assert before == DOCUMENT


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"name": 1, "rules": [], "actions": []}', b"\xff"])
def test_bytes_that_are_no_pinned_runbook_are_an_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_pinned(data)


def test_schemas_that_msgspec_writes_are_checked_through_their_references() -> None:
    class Body(msgspec.Struct, forbid_unknown_fields=True):
        text: str
        count: int | None = None

    class Config(msgspec.Struct, forbid_unknown_fields=True):
        body: Body

    kind = ActionKind(type="say", action_class="notify", config_schema=msgspec.json.schema(Config))
    catalogue = Catalogue([kind])
    say = {
        "type": "say",
        "config": {"body": {"text": "{{ finding.title }}!", "count": "{{ finding.count }}"}},
    }
    parse_runbook(changed(actions=[say]), catalogue)
    with pytest.raises(DefinitionRefused) as refused:
        parse_runbook(
            changed(actions=[{"type": "say", "config": {"body": {"text": "x", "count": "n{{ 1 }}"}}}]),
            catalogue,
        )
    assert refused.value.path == "actions[0].config.body.count"
