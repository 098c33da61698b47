"""Which runbooks an event fires, and by which rule: files of runbooks against events or enriched payloads."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import yaml

from outlast.contracts.domain_events import SCHEDULE, decode_data, decode_schedule
from outlast.errors import ContractError
from outlast.messaging.cloudevents import STRUCTURED, CloudEvent, parse
from outlast.messaging.ports import Received
from outlast.runbooks.catalogue import ActionKind, Catalogue
from outlast.runbooks.definition import Runbook
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.naming import runbook_id
from outlast.runbooks.reading import parse_runbook
from outlast_cli.commands.runbooks import Document
from outlast_cli.failures import Failure, refuse
from outlast_cli.local.inputs import Object, instant_of, object_of
from outlast_cli.local.rules import explained

LAID_IN = ("finding", "asset")
_SCHEDULE_SUBJECT = re.compile(r"runbooks/([^/]+)/rules/(\d+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One runbook of a file."""

    id: str
    path: str
    runbook: Runbook


class _AnyAction(Catalogue):
    """Which types of actions there are is the executors' to say: here every name is one."""

    def get(self, action_type: str) -> ActionKind | None:
        known = super().get(action_type)
        return known or ActionKind(type=action_type, action_class="notify", config_schema={"type": "object"})


def read_runbooks(documents: Sequence[Document]) -> list[Candidate]:
    """The runbooks of these files; Failure with every fault of every file."""
    found: list[Candidate] = []
    faults: list[tuple[str, str]] = []
    for document in documents:
        try:
            is_json = document.source_format == "json"
            value = json.loads(document.source) if is_json else yaml.safe_load(document.source)
            runbook = parse_runbook(value, _AnyAction())
            found.append(Candidate(runbook_id(runbook.name), document.path, runbook))
        except DefinitionRefused as refused:
            faults += [
                (f"{document.path}: {fault.path}" if fault.path else document.path, fault.message)
                for fault in refused.faults
            ]
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            faults.append((document.path, f"cannot be read: {str(fault).splitlines()[0]}"))
    if faults:
        raise Failure("some runbooks are refused", errors=faults, status=2, code="refused")
    return found


def match(candidates: Iterable[Candidate], given: object, now: object = None) -> Object:
    """`fires`: the ids of runbooks; `matches`: each with the indexes of its rules; `rules`: every rule that is for
    this event's type, with the leaves that say why or why not.
    """
    payload = payload_of(object_of(given, "the event"))
    event = payload["event"]
    instant = instant_of(now, payload)
    matches: list[Object] = []
    asked: list[Object] = []
    for candidate in candidates:
        rules: list[int] = []
        for index, rule in enumerate(candidate.runbook.rules):
            if rule.event_type != event.get("type") or not _is_meant(candidate.id, index, event):
                continue
            holds = rule.condition is None or rule.condition.matches(payload, instant)
            if holds:
                rules.append(index)
            told = [] if rule.condition is None else explained(rule.condition, payload, instant)
            asked.append({"runbook": candidate.id, "rule": index, "matched": holds, "leaves": told})
        if rules:
            matches.append(
                {
                    "runbook": candidate.id,
                    "name": candidate.runbook.name,
                    "file": candidate.path,
                    "rules": rules,
                }
            )
    said = {name: event.get(name) for name in ("type", "id", "source", "subject")}
    return {
        "event": said,
        "now": instant.isoformat(),
        "fires": [each["runbook"] for each in matches],
        "matches": matches,
        "rules": asked,
    }


def _is_meant(runbook: str, index: int, event: Object) -> bool:
    """A schedule's event names one rule, and can match no other."""
    if event.get("type") != SCHEDULE:
        return True
    named = _SCHEDULE_SUBJECT.fullmatch(str(event.get("subject") or ""))
    return named is None or (named[1] == runbook and int(named[2]) == index)


def payload_of(given: Object) -> Object:
    """The enriched payload: of a CloudEvent, of {"event": CloudEvent, "finding", "asset"}, or as it is given."""
    if "specversion" in given:
        return _enriched(given, {})
    event = given.get("event")
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        refuse(
            "expected a CloudEvent, or a payload with an event that has a type",
            next_step="a payload is what `outlast run show ID --json` has as payload",
        )
    if "specversion" not in event:
        return given
    extra = sorted(set(given) - {"event", "now", "id", *LAID_IN})
    if extra:
        refuse(
            f"unknown member {', '.join(extra)} beside the CloudEvent", next_step="expected finding and asset"
        )
    return _enriched(event, {name: given[name] for name in LAID_IN if given.get(name) is not None})


def _enriched(document: Object, parts: dict[str, Any]) -> Object:
    event = _checked(document)
    at = event.time
    told: Object = {
        "type": event.type, "id": event.id, "source": event.source, "subject": event.subject,
        "data": msgspec.json.decode(event.data),
    }  # fmt: skip
    if isinstance(at, datetime):
        told["time"] = msgspec.to_builtins(at)
    return {"event": told, "company": {"id": event.company_id}, **parts}


def _checked(document: Object) -> CloudEvent:
    value = msgspec.json.encode(document)
    try:
        event = parse(Received("", 0, 0, 0, None, value, (("content-type", STRUCTURED),)))
        if event.type == SCHEDULE:
            decode_schedule(event.data)
        else:
            decode_data(event.type, event.data)
    except ContractError as fault:
        raise Failure(
            fault.message, errors=[(fault.path, fault.message)], status=2, code="refused"
        ) from fault
    return event
