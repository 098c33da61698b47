"""The events of one decision, each folded in as it is made, because what comes next depends on it."""

from datetime import datetime
from typing import TypeAlias, Union

import msgspec
from msgspec import UNSET, Raw

from outlast.contracts.messages import ActionError
from outlast.execution.evolve import evolve
from outlast.execution.state import Execution, Step
from outlast.history.events import ActivityCompleted, ActivityFailed, Event, Recorded
from outlast.runbooks.definition import Step as Planned
from outlast.runbooks.documents import Json

Outcome: TypeAlias = Union[Json, ActionError]  # noqa: UP007 Json names itself, as text
_encode = msgspec.json.Encoder().encode


class Turn:
    """What is decided now about one run."""

    def __init__(self, state: Execution, at: datetime) -> None:
        assert state.started is not None or state.inline is not None or state.sequence == 0
        self.state = state
        self.at = at
        self.events: list[Recorded] = []

    def record(self, event: Event) -> None:
        """This happened."""
        recorded = Recorded(self.state.sequence + 1, self.at, event)
        evolve(self.state, recorded)
        self.events.append(recorded)

    def complete(self, action: Planned, output: Json, folded: Json = None) -> None:
        """An action that the interpreter settles itself succeeded at once."""
        self.record(
            ActivityCompleted(
                activity_id=action.id,
                attempt=1,
                started_at=self.at,
                duration_ms=0.0,
                output=Raw(_encode(output)),
                fold=UNSET if folded is None else Raw(_encode(folded)),
                action=action.type,
                action_class=action.action_class,
            )
        )

    def fail(self, action: Planned, error: ActionError) -> None:
        """An action failed before it could leave the interpreter."""
        self.record(
            ActivityFailed(
                activity_id=action.id,
                attempt=1,
                started_at=self.at,
                duration_ms=0.0,
                error=error,
                action=action.type,
                action_class=action.action_class,
            )
        )

    def end_wait(self, step: Step, outcome: Outcome) -> None:
        """A step that waited is over: with an output, or with an error."""
        began = step.started_at or self.at
        duration_ms = max(0.0, (self.at - began).total_seconds() * 1000)
        if isinstance(outcome, ActionError):
            self.record(
                ActivityFailed(
                    activity_id=step.id, attempt=1, started_at=began, duration_ms=duration_ms, error=outcome
                )
            )
        else:
            self.record(
                ActivityCompleted(
                    activity_id=step.id,
                    attempt=1,
                    started_at=began,
                    duration_ms=duration_ms,
                    output=Raw(_encode(outcome)),
                )
            )
