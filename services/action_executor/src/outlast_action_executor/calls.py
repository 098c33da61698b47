"""One call of an action, timed and counted, to a result that is ready to be recorded."""

from outlast.clock import Clock
from outlast.contracts.messages import ActionError
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import trace_id
from outlast_action_executor import outbound
from outlast_action_executor.inbound import Activity
from outlast_action_executor.metrics import ExecutorMetrics
from outlast_action_executor.outbound import Finished
from outlast_action_executor.ports import Ran, Runner

log = get_logger(__name__)


class Caller:
    """Runs claimed attempts. Whatever an action does, there is a result; inputs and outputs are never logged."""

    def __init__(self, runner: Runner, clock: Clock, metrics: ExecutorMetrics) -> None:
        self._runner = runner
        self._clock = clock
        self._metrics = metrics

    async def call(self, activity: Activity) -> Finished:
        """Run one claimed attempt."""
        asked = activity.asked
        started_at, began = self._clock.now(), self._clock.monotonic()
        self._metrics.started(asked.action, started_at.timestamp() - activity.item.timestamp_ms / 1000)
        try:
            ran = await self._runner.run(asked, activity.plan, activity.resolution, activity.traceparent)
        except Exception as fault:  # a bug in an action fails the action, not the loop
            log.error("action_raised", execution=asked.execution_id, activity=asked.activity_id,
                      action=asked.action, exc_info=fault)  # fmt: skip
            ran = Ran(
                error=ActionError(code="internal_error", message=f"the action raised {type(fault).__name__}")
            )
        seconds = self._clock.monotonic() - began
        self._metrics.ended(asked.action, ran, seconds)
        if ran.error is not None:
            log.info("activity_failed", execution=asked.execution_id, activity=asked.activity_id,
                     attempt=asked.attempt, action=asked.action, code=ran.error.code, resolved=ran.resolved,
                     trace=trace_id(activity.traceparent))  # fmt: skip
        return outbound.finished(activity, ran, started_at, seconds)

    def refuse(self, activity: Activity) -> Finished:
        """The result of an activity that the ledger will never take; it is answered and not recorded."""
        error = ActionError(code="rejected", message="the ledger does not take this activity")
        return outbound.finished(activity, Ran(error=error), self._clock.now(), 0.0)
