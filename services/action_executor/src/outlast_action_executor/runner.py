"""Runs one action: its config decoded, its time bounded, its outcome a value."""

from datetime import timedelta

import msgspec
from msgspec import UNSET, Raw, UnsetType

from outlast import ids, limits
from outlast.actions import ActionFailed, ActionOutcome, ActivityCall, Findings, Mailer, Outside
from outlast.clock import Clock
from outlast.contracts.messages import ActionError, RunActivity
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.deadlines import Deadlines
from outlast_action_executor.mail import NoMailer
from outlast_action_executor.ports import Plan, Ran
from outlast_action_executor.registry import Registered, Registry

UNKNOWN = ActionError(
    code="outcome_unknown",
    message="an earlier attempt was cut off and nobody knows what it did; the action is not repeated",
)
MESSAGE_CHARACTERS_MAX = 2_000
_encoder = msgspec.json.Encoder()


class ActionRunner:
    """The port `Runner`, over registered action types."""

    def __init__(
        self,
        registry: Registry,
        outside: Outside,
        findings: Findings,
        clock: Clock,
        mailer: Mailer | None = None,
    ) -> None:
        self._registry = registry
        self._outside = outside
        self._findings = findings
        self._clock = clock
        self._mailer = mailer or NoMailer()
        self._deadlines = Deadlines()

    def plan(self, activity: RunActivity) -> Plan:
        """What must be known before it is claimed; a refusal where it cannot be run at all."""
        registered = self._registry.get(activity.action)
        if registered is None or registered.type.run is None:
            return _refused("unknown_action", f"no executor has an action {activity.action[:100]!r}")
        if len(bytes(activity.input)) > limits.RENDERED_INPUT_BYTES_MAX:
            return _refused(
                "input_too_large", f"expected at most {limits.RENDERED_INPUT_BYTES_MAX} bytes of input"
            )
        action_type = registered.type
        try:
            config = registered.decoder.decode(activity.input)
            destination = None if action_type.destination is None else action_type.destination(config)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            text, _, path = str(fault).partition(" - at `")
            return _refused("invalid_config", text, path.rstrip("`").removeprefix("$").removeprefix("."))
        return Plan(destination, action_type.is_idempotent, action_type.look_up is not None, config)

    async def run(
        self, activity: RunActivity, plan: Plan, resolution: Resolution | None, traceparent: str
    ) -> Ran:
        """Do it within its time. A time-out may be tried again, as anything of unknown outcome, unless it may not."""
        if plan.refusal is not None:
            return Ran(error=plan.refusal)
        if resolution is Resolution.FAIL:
            return Ran(error=UNKNOWN, resolved=resolution)
        registered = self._registry.get(activity.action)
        assert registered is not None, "planned from the same registry"
        seconds = min(activity.timeout_seconds, limits.ACTIVITY_TIMEOUT_SECONDS_MAX)
        may_repeat = plan.is_idempotent or activity.on_unknown == "retry"
        resolved = "" if resolution is None else str(Resolution.RETRY)
        try:
            with self._deadlines.within(seconds):
                call = self._call(activity, seconds, traceparent, may_repeat=may_repeat)
                if resolution is Resolution.LOOK_UP:
                    found = await _look_up(registered, plan.config, call)
                    if found is not None:
                        return _succeeded(found, str(Resolution.LOOK_UP))
                    if not may_repeat:
                        return Ran(error=UNKNOWN, resolved=str(Resolution.FAIL))
                assert registered.type.run is not None, "planned"
                return _succeeded(await registered.type.run(plan.config, call), resolved)
        except ActionFailed as failure:
            if failure.is_unknown and not may_repeat:
                return _unknown(failure.message)
            return Ran(error=_error(failure), resolved=resolved)
        except TimeoutError:
            message = f"no answer within {seconds:g} s"
            if not may_repeat:
                return _unknown(message)
            return Ran(error=ActionError(code="timeout", message=message, retryable=True), resolved=resolved)

    def _call(
        self, activity: RunActivity, seconds: float, traceparent: str, *, may_repeat: bool
    ) -> ActivityCall:
        began_at = self._clock.now()
        return ActivityCall(
            execution_id=activity.execution_id,
            activity_id=activity.activity_id,
            attempt=activity.attempt,
            idempotency_key=ids.idempotency_key(activity.execution_id, activity.activity_id),
            began_at=began_at,
            deadline=began_at + timedelta(seconds=seconds),
            company_id=activity.company_id,
            runbook=activity.runbook,
            event=activity.event,
            outside=self._outside,
            findings=self._findings,
            mailer=self._mailer,
            may_repeat=may_repeat,
            chain=activity.chain,
            traceparent=traceparent,
        )


async def _look_up(registered: Registered, config: object, call: ActivityCall) -> ActionOutcome | None:
    assert registered.type.look_up is not None, "resolved by look-up only where there is one"
    return await registered.type.look_up(config, call)


def _refused(code: str, message: str, path: str = "") -> Plan:
    return Plan(None, True, False, None, ActionError(code=code, message=message, path=path))


def _unknown(message: str) -> Ran:
    """It may have been done, and is not to be done twice."""
    error = ActionError(
        code=UNKNOWN.code, message=f"{message}; the action is not repeated"[:MESSAGE_CHARACTERS_MAX]
    )
    return Ran(error=error, resolved=str(Resolution.FAIL))


def _succeeded(outcome: ActionOutcome, resolved: str) -> Ran:
    return Ran(_bounded(outcome.output), _bounded(outcome.fold) if outcome.fold else UNSET, None, resolved)


def _bounded(value: object) -> Raw | UnsetType:
    """The value as JSON; one above the fold limit is replaced by a note that says so: the action has succeeded."""
    if value is None:
        return UNSET
    encoded = _encoder.encode(value)
    if len(encoded) > limits.OUTPUT_BYTES_MAX:
        note = {"too_large": True, "bytes": len(encoded), "bytes_max": limits.OUTPUT_BYTES_MAX}
        encoded = _encoder.encode(note)
    return Raw(encoded)


def _error(failure: ActionFailed) -> ActionError:
    return ActionError(
        code=failure.code[:100],
        message=failure.message[:MESSAGE_CHARACTERS_MAX],
        retryable=failure.is_retryable,
        retry_after_seconds=failure.retry_after_seconds,
    )
