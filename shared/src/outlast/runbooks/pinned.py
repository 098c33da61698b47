"""The bytes of a definition: what a run is started on, what is exported, and the way back.
 The pinned form is the exported document with everything resolved that a catalogue would be needed for: each
action has its id, class and idempotence. It is written as canonical JSON; its sha256 is the definition's
identity.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import msgspec

from outlast.runbooks.catalogue import ActionClass
from outlast.runbooks.choices import Choice, read_choice
from outlast.runbooks.conditions import read_condition
from outlast.runbooks.definition import (
    Action,
    Branch,
    EngineChoice,
    EventType,
    OnUnknown,
    Retry,
    Rule,
    Runbook,
    Step,
    generated_id,
)
from outlast.runbooks.documents import Json, canonical
from outlast.runbooks.durations import format_duration, parse_duration
from outlast.runbooks.faults import DefinitionFault, DefinitionRefused, element, member
from outlast.runbooks.guardrails import Guardrails, read_guardrails
from outlast.runbooks.schedules import read_schedule
from outlast.runbooks.templates import TemplateValue

_Object: TypeAlias = dict[str, object]
"""A JSON object, of which msgspec need not know more."""


class _PinnedRule(msgspec.Struct, frozen=True, omit_defaults=True):
    event: EventType
    condition: _Object | None = None
    cron: str = ""
    timezone: str = "UTC"
    catch_up: _Object = {}
    overlap: str | msgspec.UnsetType = msgspec.UNSET
    jitter: str = "0s"


class _PinnedRetry(msgspec.Struct, frozen=True):
    max_attempts: int
    initial_backoff: str
    max_backoff: str
    factor: float


class _PinnedStep(msgspec.Struct, frozen=True, rename={"action_class": "class", "otherwise": "else"}):
    id: str
    type: str
    action_class: ActionClass = "flow"
    idempotent: bool = False
    name: str = ""
    when: _Object | str | None = None
    config: _Object = {}
    retry: _PinnedRetry | None = None
    timeout: str | None = None
    continue_on_error: bool = True
    on_unknown: OnUnknown = "retry"
    expression: _Object | str | None = None
    then: list["_PinnedStep"] = []
    otherwise: list["_PinnedStep"] = []


class _PinnedRules(msgspec.Struct, frozen=True):
    name: str
    rules: list[_PinnedRule]
    engine: EngineChoice | None = None
    requires_durable: bool = False
    guardrails: _Object = {}


class _PinnedRunbook(msgspec.Struct, frozen=True):
    name: str
    rules: list[_PinnedRule]
    actions: list[_PinnedStep]
    description: str = ""
    engine: EngineChoice | None = None
    requires_durable: bool = False
    guardrails: _Object = {}


_RULES = msgspec.json.Decoder(_PinnedRules)
_RUNBOOK = msgspec.json.Decoder(_PinnedRunbook)


def pin(runbook: Runbook) -> bytes:
    """The canonical bytes of a version; equal for definitions that mean the same. `digest` names them."""
    document = to_document(runbook)
    document.pop("active", None)
    document["actions"] = [_step_document(step, "", pinned=True) for step in runbook.actions]
    return canonical(document)


def load_pinned(data: bytes) -> Runbook:
    """The runbook of pinned bytes. Costs about 0.2 ms a template: cache it by digest.

    msgspec.DecodeError or DefinitionRefused if the bytes were not written by `pin`.
    """
    pinned = _RUNBOOK.decode(data)
    faults: list[DefinitionFault] = []
    runbook = Runbook(
        name=pinned.name,
        rules=_rules(pinned.rules, faults),
        actions=_steps(pinned.actions, "actions", faults),
        description=pinned.description,
        engine=pinned.engine,
        requires_durable=pinned.requires_durable,
        guardrails=read_guardrails(cast("Json", pinned.guardrails), "guardrails", faults),
    )
    if faults:
        raise DefinitionRefused(faults)
    return runbook


@dataclass(frozen=True, slots=True)
class PinnedRules:
    """As much of a runbook as is needed to match it, and to send what fires."""

    name: str
    rules: tuple[Rule, ...]
    engine: EngineChoice | None = None
    requires_durable: bool = False
    guardrails: Guardrails = field(default_factory=Guardrails)


def load_rules(data: bytes) -> PinnedRules:
    """Only the trigger rules and guardrails of pinned bytes, for whoever matches and does not run.

    Errors as `load_pinned`.
    """
    faults: list[DefinitionFault] = []
    pinned = _RULES.decode(data)
    rules = _rules(pinned.rules, faults)
    guardrails = read_guardrails(cast("Json", pinned.guardrails), "guardrails", faults)
    if faults:
        raise DefinitionRefused(faults)
    return PinnedRules(pinned.name, rules, pinned.engine, pinned.requires_durable, guardrails)


def to_document(runbook: Runbook) -> dict[str, Json]:
    """The document to export: keys in a fixed order, defaults and generated ids left out.

    Reading it gives the same runbook, and exporting that the same document.
    """
    document: dict[str, Json] = {"name": runbook.name}
    if runbook.description:
        document["description"] = runbook.description
    if runbook.active is not None:
        document["active"] = runbook.active
    if runbook.engine is not None:
        document["engine"] = runbook.engine
    if runbook.requires_durable:
        document["requires_durable"] = True
    if runbook.guardrails.document:
        document["guardrails"] = runbook.guardrails.document
    document["rules"] = [_rule_document(rule) for rule in runbook.rules]
    document["actions"] = [
        _step_document(step, generated_id("", i + 1)) for i, step in enumerate(runbook.actions)
    ]
    return document


# ---- writing


def _rule_document(rule: Rule) -> Json:
    document: dict[str, Json] = {"event": rule.event_type}
    if rule.schedule is not None:
        document |= rule.schedule.members
    if rule.condition is not None:
        document["condition"] = rule.condition_document
    return document


def _step_document(step: Step, default_id: str, *, pinned: bool = False) -> Json:
    document: dict[str, Json] = {}
    if pinned or step.id != default_id:
        document["id"] = step.id
    document["type"] = step.type
    if step.name:
        document["name"] = step.name
    if step.when is not None:
        document["when"] = step.when.source
    if isinstance(step, Action):
        _add_action(document, step, pinned=pinned)
    else:
        document["expression"] = step.expression.source
        document["then"] = _nested(step.then, f"{step.id}_then", pinned=pinned)
        if step.otherwise:
            document["else"] = _nested(step.otherwise, f"{step.id}_else", pinned=pinned)
    if not step.continue_on_error:
        document["continue_on_error"] = False
    return document


def _nested(steps: Iterable[Step], parent: str, *, pinned: bool) -> list[Json]:
    return [_step_document(step, generated_id(parent, i + 1), pinned=pinned) for i, step in enumerate(steps)]


def _add_action(document: dict[str, Json], action: Action, *, pinned: bool) -> None:
    if pinned:
        document["class"] = action.action_class
        document["idempotent"] = action.is_idempotent
    if action.config.source:
        document["config"] = action.config.source
    if action.retry is not None:
        document["retry"] = {
            "max_attempts": action.retry.max_attempts,
            "initial_backoff": format_duration(action.retry.initial_backoff),
            "max_backoff": format_duration(action.retry.max_backoff),
            "factor": action.retry.factor,
        }
    if action.timeout is not None:
        document["timeout"] = format_duration(action.timeout)
    if action.on_unknown != "retry":
        document["on_unknown"] = action.on_unknown


# ---- reading


def _rules(rules: Iterable[_PinnedRule], faults: list[DefinitionFault]) -> tuple[Rule, ...]:
    read: list[Rule] = []
    for index, rule in enumerate(rules):
        at = element("rules", index)
        condition = schedule = None
        if rule.condition is not None:
            condition = read_condition(rule.condition, member(at, "condition"), faults)
        if rule.event == "schedule":
            schedule = read_schedule(cast("dict[str, Json]", msgspec.to_builtins(rule)), at, faults)
        read.append(
            Rule(
                event_type=rule.event,
                condition=condition,
                condition_document=cast("Json", rule.condition),
                schedule=schedule,
            )
        )
    return tuple(read)


def _steps(steps: Iterable[_PinnedStep], at: str, faults: list[DefinitionFault]) -> tuple[Step, ...]:
    read = [_step(step, element(at, index), faults) for index, step in enumerate(steps)]
    return tuple(step for step in read if step is not None)


def _step(step: _PinnedStep, at: str, faults: list[DefinitionFault]) -> Step | None:
    when = _choice(step.when, member(at, "when"), faults)
    if step.type != "when":
        return _action(step, at, when, faults)
    expression = _choice(step.expression, member(at, "expression"), faults)
    if expression is None:
        return None
    return Branch(
        id=step.id,
        expression=expression,
        then=_steps(step.then, member(at, "then"), faults),
        otherwise=_steps(step.otherwise, member(at, "else"), faults),
        name=step.name,
        when=when,
        continue_on_error=step.continue_on_error,
    )


def _action(step: _PinnedStep, at: str, when: Choice | None, faults: list[DefinitionFault]) -> Action:
    return Action(
        id=step.id,
        type=step.type,
        action_class=step.action_class,
        config=TemplateValue(cast("Json", step.config), member(at, "config"), faults),
        name=step.name,
        when=when,
        retry=None if step.retry is None else _retry(step.retry),
        timeout=None if step.timeout is None else parse_duration(step.timeout),
        continue_on_error=step.continue_on_error,
        on_unknown=step.on_unknown,
        is_idempotent=step.idempotent,
    )


def _retry(retry: _PinnedRetry) -> Retry:
    return Retry(
        max_attempts=retry.max_attempts,
        initial_backoff=parse_duration(retry.initial_backoff),
        max_backoff=parse_duration(retry.max_backoff),
        factor=retry.factor,
    )


def _choice(source: _Object | str | None, at: str, faults: list[DefinitionFault]) -> Choice | None:
    return None if source is None else read_choice(cast("Json", source), at, faults)
