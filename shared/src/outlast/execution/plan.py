"""Which action of the pinned definition is next, given what has settled."""

from collections.abc import Sequence
from typing import cast

from outlast import limits
from outlast.execution.state import Execution, Step, StepStatus
from outlast.runbooks.definition import Action, Branch
from outlast.runbooks.definition import Step as Planned
from outlast.runbooks.documents import Json


def next_action(actions: Sequence[Planned], state: Execution) -> Planned | Step | None:
    """The first action without an outcome: the Action if it has not begun, its Step if it is open, None at the end.

    A failed action ends the run where `continue_on_error` is false.
    """
    for action in actions:
        step = state.steps.get(action.id)
        if step is None:
            return action
        if step.status is StepStatus.SCHEDULED or step.status is StepStatus.WAITING:
            return step
        if step.status is StepStatus.FAILED and not action.continue_on_error:
            return None
        if isinstance(action, Branch) and step.status is StepStatus.SUCCESS:
            branch = _taken(action, step)
            found = next_action(branch, state)
            if found is not None:
                return found
            if _is_stopped(branch, state):
                return None
    return None


def _is_stopped(actions: Sequence[Planned], state: Execution) -> bool:
    """Whether a failure in here, at any depth, ends the whole run."""
    for action in actions:
        step = state.steps.get(action.id)
        if step is None:
            return False
        if step.status is StepStatus.FAILED and not action.continue_on_error:
            return True
        if isinstance(action, Branch) and step.status is StepStatus.SUCCESS:  # noqa: SIM102 the type narrows here
            if _is_stopped(_taken(action, step), state):
                return True
    return False


def _taken(branch: Branch, step: Step) -> Sequence[Planned]:
    """The list that the recorded decision chose."""
    return branch.then if cast("dict[str, Json]", step.output)["branch"] == "then" else branch.otherwise


def timeout_seconds(action: Action) -> float:
    """How long one attempt may take."""
    if action.timeout is None:
        return limits.ACTIVITY_TIMEOUT_SECONDS_DEFAULT
    return min(action.timeout.total_seconds(), limits.ACTIVITY_TIMEOUT_SECONDS_MAX)
