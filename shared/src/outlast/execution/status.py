"""What a run came to, from its steps.

Only actions of the classes notify, finding, itsm and platform decide; a flow action counts only when it fails. So
resolve_owner followed by a failing webhook is failed, not partial.
"""

from collections.abc import Iterable

from outlast.execution.state import Step, StepStatus

FLOW = "flow"


def final_status(steps: Iterable[Step]) -> str:
    """success | failed | partial | skipped for the steps of a run that has nothing left to do."""
    succeeded = failed = skipped = 0
    for step in steps:
        if step.status is StepStatus.FAILED:
            failed += 1
        elif step.action_class != FLOW:
            succeeded += step.status is StepStatus.SUCCESS
            skipped += step.status is StepStatus.SKIPPED
    if failed:
        return "partial" if succeeded else "failed"
    return "skipped" if skipped and not succeeded else "success"
