"""What happened in each step of a run, told from its history: inputs as rendered, outputs, errors, attempts.

The record of a run has the summaries; the history has the rest. A run that is still going has only the history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outlast.runbooks.documents import Json

Step = dict[str, Json]
INPUT_TYPE = "activity_scheduled"
OPEN = "running"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One history event as it is shown: `type` with its version, the event's members."""

    sequence: int
    type: str
    at: datetime
    data: Mapping[str, Json]


def explain(
    summaries: Sequence[Mapping[str, Json]], history: Iterable[HistoryLine], asked: Mapping[str, Step]
) -> list[Step]:
    """Every step in the order of the run: what was asked, what history says, the summary's members over it."""
    steps: dict[str, Step] = {}
    for line in history:
        step_id = line.data.get("activity_id")
        if isinstance(step_id, str):
            step = steps.setdefault(step_id, {"id": step_id, "status": OPEN})
            _lay(step, line)
    for summary in summaries:
        step_id = summary.get("id")
        if isinstance(step_id, str):
            steps.setdefault(step_id, {"id": step_id}).update(summary)
    return [step | asked.get(str(step["id"]), {}) for step in steps.values()]


def questions(definition: Json) -> dict[str, Step]:
    """The `when` and the `expression` of every action of a pinned definition, by the action's id."""
    asked: dict[str, Step] = {}
    waiting: list[Json] = [definition.get("actions")] if isinstance(definition, dict) else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            found = {name: each[name] for name in ("when", "expression") if name in each}
            if found:
                asked[str(each.get("id"))] = found
            waiting.extend(each[name] for name in ("then", "else") if name in each)
    return asked


def _lay(step: Step, line: HistoryLine) -> None:
    data = line.data
    kind = line.type.partition(".")[0]
    for name in ("action", "action_class"):
        if data.get(name):
            step[name] = data[name]
    if attempt := data.get("attempt"):
        step["attempts"] = attempt
    match kind:
        case "activity_scheduled":
            step["input"] = data.get("input")
            step["scheduled_at"] = line.at.isoformat()
            step["status"] = OPEN
        case "activity_completed":
            step["status"] = "success"
            _settle(step, data, ("output", "fold", "resolved"))
        case "activity_failed":
            step["status"] = "failed"
            _settle(step, data, ("error", "resolved"))
        case "activity_skipped":
            step["status"] = "skipped"
            step["reason"] = data.get("reason")
        case _:
            pass


def _settle(step: Step, data: Mapping[str, Json], names: tuple[str, ...]) -> None:
    for name in ("started_at", "duration_ms", *names):
        if name in data:
            step[name] = data[name]


def final_status(history: Iterable[HistoryLine]) -> str | None:
    """How a run ended as its history says, None if it has not."""
    for line in history:
        if line.type.startswith("workflow_completed."):
            status = line.data.get("status")
            return status if isinstance(status, str) else "success"
        if line.type.startswith("workflow_failed."):
            return "failed"
    return None
