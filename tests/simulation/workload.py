"""What the simulated world works on: runbooks of two companies, findings, events, and who should fire.

The oracle is a plain Python predicate beside each runbook; it shares no code with conditions or index.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from random import Random
from types import MappingProxyType

import msgspec
from msgspec import Raw

from outlast.contracts import topics
from outlast.contracts.messages import RunbookReference
from outlast.messaging import cloudevents
from outlast.messaging.cloudevents import CloudEvent
from outlast.messaging.ports import Outgoing
from outlast.runbooks.catalogue import ActionKind, Catalogue
from outlast.runbooks.pinned import pin
from outlast.runbooks.reading import parse_runbook

COMPANIES = ("acme", "zenith")
SEVERITIES = ("info", "low", "medium", "high", "critical")
FINDINGS = 40
ASSETS = 7
TYPES = ("finding_created", "finding_created", "finding_status_changed", "asset_updated", "asset_updated")
SOURCE = "urn:scanner"
RANK = {name: rank for rank, name in enumerate(SEVERITIES)}

_ANYTHING: dict[str, object] = {"type": "object"}
CATALOGUE = Catalogue(
    [
        ActionKind(type="say", action_class="notify", config_schema=_ANYTHING, is_idempotent=True),
        ActionKind(type="page", action_class="notify", config_schema=_ANYTHING),
        ActionKind(type="open_ticket", action_class="itsm", config_schema=_ANYTHING),
        ActionKind(type="tag", action_class="finding", config_schema=_ANYTHING, is_idempotent=True),
        ActionKind(type="scan", action_class="platform", config_schema=_ANYTHING, is_idempotent=True),
    ]
)
"""`open_ticket` can be looked up by our marker; `page` cannot and is not idempotent."""


@dataclass(frozen=True, slots=True)
class Event:
    """One domain event as the oracle sees it."""

    company_id: str
    id: str
    type: str
    finding_id: str
    tool: str
    new_status: str
    """Of a scan: what becomes of an action that may fail."""
    about: str = ""
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedRunbook:
    """A runbook of the world, and the predicate that says on which events it should fire."""

    company_id: str
    reference: RunbookReference
    body: bytes
    is_active: bool
    fires: Callable[[Event], bool]


def finding(company_id: str, finding_id: str) -> dict[str, object] | None:
    """What the platform knows of a finding; some are gone."""
    number = int(finding_id.rpartition("-")[2])
    if number % 13 == 12:
        return None
    return {
        "id": finding_id,
        "title": f"Finding {number} of {company_id}",
        "severity": SEVERITIES[number % 5],
        "tags": ["new"] if number % 2 else [],
    }


def asset(company_id: str, finding_id: str) -> dict[str, object] | None:
    """What the platform knows of the asset that it is on; a quarter has no owner."""
    number = int(finding_id.rpartition("-")[2])
    if number % 13 == 12:
        return None
    found: dict[str, object] = {"id": f"asset-{number % 7}", "name": f"db-{number % 7}"}
    if number % 4:
        found["owning_team"] = {"id": f"team-{number % 3}", "name": f"Team {number % 3}"}
    return found


def asset_of(event: Event) -> str:
    """The asset that an event about an asset is about; several are about one."""
    return f"asset-{int(event.finding_id.rpartition('-')[2]) % ASSETS}"


def rank_of(event: Event) -> int:
    """The severity's rank of the event's finding; -1 if there is no such finding."""
    known = finding(event.company_id, event.finding_id)
    return -1 if known is None else RANK[str(known["severity"])]


def runbooks() -> list[PlannedRunbook]:
    """The runbooks of both companies."""
    severe = {"field": "finding.severity", "op": "gte", "value": "high"}
    return [
        planned(
            "acme",
            "owner",
            [{"event": "finding_created", "condition": severe}],
            [
                {"type": "resolve_owner"},
                {
                    "id": "tell",
                    "type": "say",
                    "config": {"text": "{{ owner.name | default('nobody') }}: {{ finding.title }}"},
                },
                {"id": "mark", "type": "tag", "config": {"text": "{{ steps.tell.output.number }}"}},
            ],
            lambda event: event.type == "finding_created" and rank_of(event) >= RANK["high"],
        ),
        planned(
            "acme",
            "branches",
            [
                {
                    "event": "finding_created",
                    "condition": {
                        "any": [
                            {"field": "event.data.tool", "op": "in", "value": ["trivy", "bandit"]},
                            {
                                "all": [
                                    severe,
                                    {"not": {"field": "event.data.tool", "op": "eq", "value": "nessus"}},
                                ]
                            },
                        ]
                    },
                },
                {
                    "event": "finding_status_changed",
                    "condition": {"field": "event.data.new_status", "op": "starts_with", "value": "re"},
                },
            ],
            [
                {
                    "id": "how",
                    "type": "when",
                    "expression": {"field": "finding.severity", "op": "eq", "value": "critical"},
                    "then": [
                        {
                            "id": "page",
                            "type": "page",
                            "config": {"text": "{{ event.id }}"},
                            "on_unknown": "fail",
                        },
                        {"id": "ticket", "type": "open_ticket", "config": {"text": "{{ finding.title }}"}},
                    ],
                    "else": [{"id": "note", "type": "say", "config": {"text": "{{ event.data.tool }}"}}],
                },
                {
                    "id": "rescan",
                    "type": "scan",
                    "when": {"field": "asset.name", "op": "starts_with", "value": "db-1"},
                    "config": {"text": "{{ asset.name }}"},
                },
            ],
            lambda event: (
                event.new_status.startswith("re")
                if event.type == "finding_status_changed"
                else event.type == "finding_created"
                and (
                    event.tool in ("trivy", "bandit")
                    or (rank_of(event) >= RANK["high"] and event.tool != "nessus")
                )
            ),
        ),
        planned(
            "acme",
            "stops",
            [
                {
                    "event": "finding_created",
                    "condition": {"field": "event.data.tool", "op": "eq", "value": "nessus"},
                }
            ],
            [
                {"id": "first", "type": "say", "config": {"text": "{{ event.id }}"}},
                {"id": "breaks", "type": "scan", "config": {"outcome": "fail"}, "continue_on_error": False},
                {"id": "never", "type": "say", "config": {"text": "never"}},
            ],
            lambda event: event.type == "finding_created" and event.tool == "nessus",
        ),
        planned(
            "zenith",
            "chain",
            [{"event": "finding_created"}, {"event": "finding_created", "condition": severe}],
            [
                {"id": "a", "type": "say", "config": {"text": "{{ event.id }}"}},
                {"id": "b", "type": "open_ticket", "config": {"text": "{{ steps.a.output.text | upper }}"}},
                {"id": "c", "type": "tag", "config": {"text": "{{ steps.b.output.number + 1 }}"}},
            ],
            lambda event: event.type == "finding_created",
        ),
        planned(
            "zenith",
            "partial",
            [{"event": "finding_status_changed"}],
            [
                {"id": "ok", "type": "page", "config": {"text": "{{ event.data.new_status }}"}},
                {"id": "bad", "type": "say", "config": {"outcome": "fail"}},
                {"id": "unnamed", "type": "say", "config": {"text": "{{ finding.no_such_member }}"}},
                {"id": "last", "type": "tag", "config": {"text": "{{ event.id }}"}},
            ],
            lambda event: event.type == "finding_status_changed",
        ),
        planned(
            "zenith",
            "asleep",
            [{"event": "finding_created"}],
            [{"type": "say", "config": {"text": "asleep"}}],
            lambda event: False,
            is_active=False,
        ),
    ]


def planned(
    company_id: str,
    name: str,
    rules: list[object],
    actions: list[object],
    fires: Callable[[Event], bool],
    is_active: bool = True,
    more: Mapping[str, object] = MappingProxyType({}),
    version: int = 1,
) -> PlannedRunbook:
    """Written, checked and pinned like a user's; `more` stands beside its rules and actions."""
    body = pin(parse_runbook({"name": name, "rules": rules, "actions": actions, **more}, CATALOGUE))
    reference = RunbookReference(
        id=f"{company_id}-{name}", name=name, version=version, sha256=sha256(body).hexdigest()
    )
    return PlannedRunbook(company_id, reference, body, is_active, fires)


def expected(event: Event, all_planned: list[PlannedRunbook]) -> frozenset[str]:
    """The runbooks that should fire: every one is asked."""
    return frozenset(
        each.reference.id for each in all_planned if each.company_id == event.company_id and each.fires(event)
    )


def random_event(random: Random, number: int) -> Event:
    """An event about some finding of some company."""
    return Event(
        company_id=random.choice(COMPANIES),
        id=f"event-{number}",
        type=random.choice(TYPES),
        finding_id=f"finding-{random.randrange(FINDINGS)}",
        tool=random.choice(("trivy", "bandit", "nessus", "zap")),
        new_status=random.choice(("open", "reopened", "fixed", "rejected")),
    )


def message(event: Event, time: datetime) -> Outgoing:
    """The event as a producer sends it."""
    if event.about:
        data: dict[str, object] = {
            "scan_id": event.id,
            "severity_counts": {},
            "tool": event.tool,
            "about": event.about,
            "outcome": event.new_status,
        }
    elif event.type == "asset_updated":
        data = {"asset_id": asset_of(event), "tool": event.tool}
    elif event.type == "finding_status_changed":
        data = {
            "finding_id": event.finding_id,
            "asset_id": event.finding_id,
            "old_status": "new",
            "new_status": event.new_status,
        }
    else:
        data = {"finding_id": event.finding_id, "asset_id": event.finding_id, "tool": event.tool}
    headers, value = cloudevents.to_structured(
        CloudEvent(
            id=event.id,
            source=SOURCE,
            type=event.type,
            company_id=event.company_id,
            data=Raw(msgspec.json.encode(data)),
            time=time,
            chain=event.chain,
        )
    )
    key = f"{event.company_id}/{event.finding_id}".encode()
    return Outgoing(topics.PLATFORM_EVENTS, value, key, None, headers)
