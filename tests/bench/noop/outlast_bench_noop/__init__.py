"""An action type that does nothing: what remains is the cost of running an action."""

import msgspec

from outlast.actions import ActionOutcome, ActionType, ActivityCall


class Config(msgspec.Struct, frozen=True):
    """Two values, so that two placeholders are rendered."""

    title: str = ""
    severity: str = ""


async def run(config: Config, call: ActivityCall) -> ActionOutcome:
    """Nothing, successfully."""
    return ActionOutcome(output={"status": 200})


NOOP = ActionType(
    name="bench_noop",
    action_class="notify",
    summary="Does nothing",
    config=Config,
    run=run,
    is_idempotent=True,
    example={"title": "a", "severity": "high"},
)
