"""What happened in each step of a run, told from its history: inputs as rendered, outputs, errors, attempts, waits.

The record of a run has the summaries; the history has the rest. A run that is still going has only the history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from outlast.execution.waits import DEFAULT_RETRY
from outlast.runbooks.documents import Json

Step = dict[str, Json]
OPEN = "running"
WAITING = "waiting"
OUTCOME = ("error", "output", "fold", "resolved", "duration_ms")
"""What an attempt leaves on its step; another attempt begins without it."""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One history event as it is shown: `type` with its version, the event's members."""

    sequence: int
    type: str
    at: datetime
    data: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Story:
    """What a history says of its run."""

    steps: list[Step]
    """In the order of the run. One that waits has `wait`; one that was tried again has `tries`."""
    signals: list[Step]
    """Those that came for the run, in their order; `consumed_by` is the step that took it, null while none has."""
    cancel: Step | None = None
    """Who asked for its end, when and why; None if nobody did."""

    @property
    def waits(self) -> list[Json]:
        """What the run waits for: nothing while a step of it runs outside."""
        if any(step.get("status") == OPEN for step in self.steps):
            return []
        found: list[Json] = []
        for step in self.steps:
            wait = step.get("wait")
            if isinstance(wait, dict):
                found.append({"activity_id": step["id"]} | wait)
        return found


def explain(
    summaries: Sequence[Mapping[str, Json]], history: Iterable[HistoryLine], asked: Mapping[str, Step]
) -> Story:
    """Every step in the order of the run: what was asked, what history says, the summary's members over it."""
    telling = _Telling()
    for line in history:
        telling.lay(line)
    steps = telling.steps
    for summary in summaries:
        step_id = summary.get("id")
        if isinstance(step_id, str):
            steps.setdefault(step_id, {"id": step_id}).update(summary)
    return Story(
        [_asked(step, asked.get(str(step["id"]), {})) for step in steps.values()],
        list(telling.signals.values()),
        telling.cancel,
    )


def inline_lines(history: Iterable[HistoryLine]) -> list[HistoryLine]:
    """Of the history of a shadowed run: what the run did. The rest is its durable double's, which did nothing."""
    return [line for line in history if line.type.startswith(("inline_recorded.", "signal_received."))]


def questions(definition: Json) -> dict[str, Step]:
    """The `when`, the `expression` and the `max_attempts` of a pinned definition's actions, by the action's id."""
    asked: dict[str, Step] = {}
    unread: list[Json] = [definition.get("actions")] if isinstance(definition, dict) else []
    while unread:
        each = unread.pop()
        if isinstance(each, list):
            unread.extend(each)
        elif isinstance(each, dict):
            found = {name: each[name] for name in ("when", "expression") if name in each}
            retry = each.get("retry")
            if isinstance(retry, dict) and "max_attempts" in retry:
                found["max_attempts"] = retry["max_attempts"]
            if found:
                asked[str(each.get("id"))] = found
            unread.extend(each[name] for name in ("then", "else") if name in each)
    return asked


def final_status(history: Iterable[HistoryLine]) -> str | None:
    """How a run ended as its history says, None if it has not."""
    for line in history:
        if line.type.startswith("workflow_completed."):
            status = line.data.get("status")
            return status if isinstance(status, str) else "success"
        if line.type.startswith("workflow_failed."):
            return "failed"
        if line.type.startswith("workflow_cancelled."):
            return "cancelled"
    return None


def _asked(step: Step, asked: Step) -> Step:
    limit: Step = {"max_attempts": DEFAULT_RETRY.max_attempts} if "tries" in step else {}
    return step | limit | asked


@dataclass(slots=True)
class _Telling:
    """Steps and signals as far as the lines laid in go."""

    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    signals: dict[str, Step] = field(default_factory=dict[str, Step])
    cancel: Step | None = None
    _timers: dict[Json, Step] = field(default_factory=dict[Json, Step])
    _slot: tuple[Step, Json] | None = None

    def lay(self, line: HistoryLine) -> None:
        """Take in the next event."""
        data = line.data
        step_id = data.get("activity_id")
        kind = line.type.partition(".")[0]
        if isinstance(step_id, str) and step_id:  # "" is the run's own
            self._lay_step(self.steps.setdefault(step_id, {"id": step_id, "status": OPEN}), kind, line)
        elif kind in {"timer_fired", "timer_cancelled"}:
            step = self._timers.get(data.get("timer_id"), {})
            if step.pop("wait", None) is not None:
                step["status"] = OPEN
        elif kind == "slot_taken":
            self._take_slot()
        elif kind == "inline_recorded":
            self._lay_inline(data.get("steps"))
        elif kind == "cancel_requested":
            said = {name: data.get(name) or "" for name in ("by", "reason")}
            self.cancel = self.cancel or {**said, "at": data.get("at")}
        elif kind == "signal_received":
            self.signals[str(data.get("signal_id"))] = {
                "id": data.get("signal_id"),
                "name": data.get("name"),
                "sent_by": data.get("sent_by"),
                "sent_at": data.get("sent_at"),
                "consumed_by": None,
            }

    def _ask_slot(self, step: Step) -> None:
        """The step's wait is over; the run gave its slot back meanwhile, and goes on when it has one again."""
        self._slot = step, step.get("status", OPEN)
        step |= {"status": WAITING, "wait": {"kind": "slot"}}

    def _take_slot(self) -> None:
        if self._slot is not None:
            step, status = self._slot
            step.pop("wait", None)
            step["status"] = status
            self._slot = None

    def _lay_inline(self, steps: Json) -> None:
        """The steps of an inline run, whole."""
        for each in steps if isinstance(steps, list) else ():
            if isinstance(each, dict) and isinstance(step_id := each.get("activity_id"), str):
                told = {name: value for name, value in each.items() if name != "activity_id"}
                self.steps.setdefault(step_id, {"id": step_id}).update(told)

    def _lay_step(self, step: Step, kind: str, line: HistoryLine) -> None:
        data = line.data
        for name in ("action", "action_class"):
            if data.get(name):
                step[name] = data[name]
        if attempt := data.get("attempt"):
            step["attempts"] = attempt
        match kind:
            case "activity_scheduled":
                for name in OUTCOME:
                    step.pop(name, None)
                step |= {"input": data.get("input"), "scheduled_at": line.at.isoformat(), "status": OPEN}
            case "activity_completed":
                step["status"] = "success"
                _settle(step, data, ("output", "fold", "resolved"))
            case "activity_failed":
                step["status"] = "failed"
                _settle(step, data, ("error", "resolved"))
            case "activity_skipped":
                step |= {"status": "skipped", "reason": data.get("reason")}
            case "timer_started":
                self._timers[data.get("timer_id")] = step
                _wait(step, line)
            case "signal_awaited":
                wait = {name: data[name] for name in ("signal", "key") if data.get(name)}
                step |= {"status": WAITING, "wait": {"kind": "signal"} | wait}
                step["on_timeout"] = data.get("on_timeout", "fail")
            case "slot_asked":
                self._ask_slot(step)
            case "signal_consumed":
                step.pop("wait", None)
                self.signals.get(str(data.get("signal_id")), {})["consumed_by"] = step["id"]
            case _:
                pass


def _settle(step: Step, data: Mapping[str, Json], names: tuple[str, ...]) -> None:
    step.pop("wait", None)
    for name in ("started_at", "duration_ms", *names):
        if name in data:
            step[name] = data[name]


def _wait(step: Step, line: HistoryLine) -> None:
    purpose, until = line.data.get("purpose"), line.data.get("fire_at")
    wait = step.get("wait")
    if purpose == "timeout" and isinstance(wait, dict):
        step["wait"] = wait | {"until": until}
        return
    step |= {"status": WAITING, "wait": {"kind": purpose, "until": until}}
    if purpose == "retry":
        attempts, tries = step.get("attempts"), step.setdefault("tries", [])
        attempt = attempts if isinstance(attempts, int) else 1
        step["wait"] = {"kind": purpose, "until": until, "attempt": attempt + 1}
        if isinstance(tries, list):
            error = step.pop("error", None)
            tries.append({"attempt": attempt, "at": line.at.isoformat(), "error": error, "next_at": until})
