"""A runbook in memory: compiled once from a saved definition, then only read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

from outlast.runbooks.catalogue import ActionClass
from outlast.runbooks.choices import Choice
from outlast.runbooks.conditions import Condition
from outlast.runbooks.documents import Json
from outlast.runbooks.guardrails import Guardrails
from outlast.runbooks.schedules import Schedule
from outlast.runbooks.templates import TemplateValue

EventType: TypeAlias = Literal[
    "finding_created",
    "finding_updated",
    "finding_status_changed",
    "finding_assigned",
    "finding_retested",
    "finding_note_added",
    "finding_rule_applied",
    "finding_bulk_updated",
    "remote_scan_completed",
    "scan_finished",
    "report_generated",
    "sla_breached",
    "sla_escalated",
    "asset_created",
    "asset_updated",
    "schedule",
]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

OnUnknown: TypeAlias = Literal["retry", "fail"]
EngineChoice: TypeAlias = Literal["inline", "workflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Fires on events of one type that satisfy the condition (all of them, if it is None)."""

    event_type: EventType
    condition: Condition | None = None
    condition_document: Json = None
    """The condition as the user wrote it."""
    schedule: Schedule | None = None
    """When it fires, if and only if the event type is `schedule`: then it fires on its own events only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often an action is tried. The wait is initial × factor each time, at most max."""

    max_attempts: int
    initial_backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(minutes=5)
    factor: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do. `timeout` None means the executor's default.

    `resolve_owner` (class flow) is decided by the interpreter; every other action by an executor.
    """

    id: str
    type: str
    action_class: ActionClass
    config: TemplateValue
    name: str = ""
    when: Choice | None = None
    retry: Retry | None = None
    timeout: timedelta | None = None
    continue_on_error: bool = True
    on_unknown: OnUnknown = "retry"
    is_idempotent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The action type `when`: one of two lists, by a question. Never empty in `then`."""

    id: str
    expression: Choice
    then: tuple["Step", ...]
    otherwise: tuple["Step", ...] = ()
    name: str = ""
    when: Choice | None = None
    continue_on_error: bool = True

    @property
    def type(self) -> str:
        """As users write it."""
        return "when"

    @property
    def action_class(self) -> ActionClass:
        """Branches are decided by the interpreter."""
        return "flow"


Step: TypeAlias = Action | Branch


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One version of a runbook.
     `active` is what a file asks for, None if it is silent; it is no part of the version. `engine` None means the
    mode of the installation; `requires_durable` holds the run while the engine is away.
    """

    name: str
    rules: tuple[Rule, ...]
    actions: tuple[Step, ...]
    description: str = ""
    active: bool | None = None
    engine: EngineChoice | None = None
    requires_durable: bool = False
    guardrails: Guardrails = field(default_factory=Guardrails)


def generated_id(parent: str, position: int) -> str:
    """The id of an action that has none: `action_3`, inside a branch `action_3_then_1`. Positions count from
    1.

    `parent` is "" for the runbook's own list, else the branch's id with `_then` or `_else`.
    """
    return f"{parent}_{position}" if parent else f"action_{position}"


def all_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every step in document order, a branch before what is inside it."""
    for step in steps:
        yield step
        if isinstance(step, Branch):
            yield from all_steps(step.then)
            yield from all_steps(step.otherwise)
