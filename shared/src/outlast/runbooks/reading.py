"""From a user's document to a runbook, or to everything that is wrong with it."""

from collections.abc import Sequence
from typing import cast

from outlast.limits import DEFINITION_BYTES_MAX, RULES_MAX
from outlast.runbooks.action_reading import ActionReader
from outlast.runbooks.catalogue import Catalogue
from outlast.runbooks.conditions import read_condition
from outlast.runbooks.definition import EVENT_TYPES, EngineChoice, EventType, Rule, Runbook
from outlast.runbooks.documents import Json, canonical, document_faults, kind_of
from outlast.runbooks.faults import DefinitionFault, DefinitionRefused, element, member
from outlast.runbooks.fields import FieldReader
from outlast.runbooks.guardrails import GUARDRAIL_KEYS, read_guardrails
from outlast.runbooks.schedules import SCHEDULE_KEYS, Schedule, read_schedule
from outlast.runbooks.trees import suggestion
from outlast.runbooks.unreleased import unreleased_faults

_KEYS = (
    "name",
    "description",
    "active",
    "rules",
    "actions",
    "guardrails",
    "engine",
    "requires_durable",
)
_ENGINES: Sequence[EngineChoice] = ("workflow", "inline")
_NAME_CHARACTERS_MAX = 100
_DESCRIPTION_CHARACTERS_MAX = 4_000


def parse_runbook(document: object, catalogue: Catalogue) -> Runbook:
    """Validate and compile a definition. DefinitionRefused has every fault with its path."""
    faults = document_faults(document)
    if not faults and not isinstance(document, dict):
        faults.append(DefinitionFault("", f"expected a runbook (an object), got {kind_of(document)}"))
    if faults:
        raise DefinitionRefused(faults)
    members = cast("dict[str, Json]", document)
    size = len(canonical(members))
    if size > DEFINITION_BYTES_MAX:
        message = f"expected a definition of at most {DEFINITION_BYTES_MAX} bytes, got {size}"
        raise DefinitionRefused([DefinitionFault("", message)])
    runbook = _RunbookReader(catalogue, faults).read(members)
    later = unreleased_faults(members)
    known = {fault.path for fault in later}
    faults = [fault for fault in faults if fault.path not in known] + later
    if faults or runbook is None:
        raise DefinitionRefused(faults)
    return runbook


class _RunbookReader:
    def __init__(self, catalogue: Catalogue, faults: list[DefinitionFault]) -> None:
        self._faults = faults
        self._actions = ActionReader(catalogue, faults)

    def read(self, document: dict[str, Json]) -> Runbook | None:
        fields = FieldReader(document, "", self._faults)
        before = len(self._faults)
        for key in GUARDRAIL_KEYS:
            if key in document:
                self._faults.append(DefinitionFault(key, f"expected {key} under guardrails"))
        fields.refuse_unknown((*_KEYS, *GUARDRAIL_KEYS))
        name = self._name(fields)
        description = fields.text("description", "", _DESCRIPTION_CHARACTERS_MAX)
        active = fields.boolean("active") if "active" in document else None
        rules = self._rules(fields)
        actions = self._actions.read_list(fields.required("actions"), "actions", parent="", depth=0)
        if document.get("actions") == []:
            self._faults.append(DefinitionFault("actions", "expected at least one action, got none"))
        guardrails = read_guardrails(document.get("guardrails", {}), "guardrails", self._faults)
        engine = fields.one_of("engine", _ENGINES, None)
        requires_durable = fields.boolean("requires_durable")
        if len(self._faults) > before:
            return None
        return Runbook(
            name=name,
            rules=rules,
            actions=actions,
            description=description,
            active=active,
            engine=engine,
            requires_durable=requires_durable,
            guardrails=guardrails,
        )

    def _name(self, fields: FieldReader) -> str:
        name = fields.text("name", None, _NAME_CHARACTERS_MAX)
        if name and (name != name.strip() or not name.isprintable()):
            self._faults.append(DefinitionFault("name", "expected a printable name without space around it"))
        return name

    def _rules(self, fields: FieldReader) -> tuple[Rule, ...]:
        rules = fields.required("rules")
        if not isinstance(rules, list):
            if rules is not None:
                self._faults.append(DefinitionFault("rules", f"expected a list, got {kind_of(rules)}"))
            return ()
        if len(rules) > RULES_MAX:
            self._faults.append(DefinitionFault("rules", f"expected at most {RULES_MAX} rules"))
        read = [self._rule(rule, element("rules", i)) for i, rule in enumerate(rules)]
        return tuple(rule for rule in read if rule is not None)

    def _rule(self, rule: Json, at: str) -> Rule | None:
        if not isinstance(rule, dict):
            self._faults.append(
                DefinitionFault(at, f"expected a rule with event and condition, got {kind_of(rule)}")
            )
            return None
        fields = FieldReader(rule, at, self._faults)
        fields.refuse_unknown(("event", "condition", *SCHEDULE_KEYS))
        event_type = self._event_type(fields)
        condition = None
        if "condition" in rule:
            condition = read_condition(rule["condition"], member(at, "condition"), self._faults)
        schedule = self._schedule(rule, event_type, fields, at)
        if event_type is None:
            return None
        return Rule(
            event_type=event_type,
            condition=condition,
            condition_document=rule.get("condition"),
            schedule=schedule,
        )

    def _schedule(
        self, rule: dict[str, Json], event_type: EventType | None, fields: FieldReader, at: str
    ) -> Schedule | None:
        if event_type == "schedule":
            return read_schedule(rule, at, self._faults)
        for key in SCHEDULE_KEYS if event_type is not None else ():
            if key in rule:
                fields.fault(key, f"expected {key} beside event: schedule, not beside event: {event_type}")
        return None

    def _event_type(self, fields: FieldReader) -> EventType | None:
        given = fields.text("event", None, _NAME_CHARACTERS_MAX)
        for event_type in EVENT_TYPES:
            if event_type == given:
                return event_type
        if given:
            hint = suggestion(given, EVENT_TYPES) or f"; expected one of {', '.join(EVENT_TYPES)}"
            fields.fault("event", f'unknown event type "{given[:60]}"{hint}')
        return None
