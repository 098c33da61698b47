"""Results to bytes, and to the partition of `engine.inbox` that owns the run; what became of inline runs."""

from datetime import datetime

import msgspec

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import ActionError, ActivityResult, Started
from outlast.contracts.messages import Finished as RunFinished
from outlast.contracts.topics import ENGINE_INBOX, LIFECYCLE
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers
from outlast_action_executor.core.claim import Row
from outlast_action_executor.inbound import Activity
from outlast_action_executor.ports import Ran, Settlement


class Finished(msgspec.Struct, frozen=True):
    """A call that has ended and is not settled yet."""

    activity: Activity
    settlement: Settlement
    result: ActivityResult


def finished(activity: Activity, ran: Ran, started_at: datetime, duration_seconds: float) -> Finished:
    """The result of a call, ready to be recorded."""
    asked = activity.asked
    result = ActivityResult(
        execution_id=asked.execution_id,
        activity_id=asked.activity_id,
        attempt=asked.attempt,
        started_at=started_at,
        duration_ms=round(duration_seconds * 1000, 3),
        output=ran.output,
        fold=ran.fold,
        error=ran.error,
        resolved=ran.resolved,
    )
    settlement = Settlement(activity.key.of, activity.key.attempt, codec.encode(result), ran.error is None)
    return Finished(activity, settlement, result)


def withdrawn(activity: Activity, at: datetime) -> ActivityResult:
    """Of an action that waited for its turn when its run was cancelled, and is not called any more."""
    return ActivityResult(
        execution_id=activity.asked.execution_id,
        activity_id=activity.asked.activity_id,
        attempt=activity.asked.attempt,
        started_at=at,
        duration_ms=0.0,
        error=ActionError(code="cancelled", message="the run was cancelled before this attempt began"),
    )


def result(activity: Activity, value: bytes) -> Outgoing:
    """The message to the engine."""
    execution = activity.asked.execution_id
    return Outgoing(
        ENGINE_INBOX,
        value,
        execution.encode(),
        ids.engine_partition(execution),
        trace_headers(activity.traceparent),
    )


def answer(activity: Activity, row: Row) -> Outgoing:
    """A recorded result again. The success of another attempt is told under the attempt that was asked for."""
    assert row.result is not None, "only a recorded result is answered"
    if row.attempt == activity.asked.attempt:
        return result(activity, row.result)
    return result(activity, codec.encode(recorded(activity, row)))


def recorded(activity: Activity, row: Row) -> ActivityResult:
    """A recorded result, under the attempt that was asked for."""
    assert row.result is not None, "only a recorded result is answered"
    return msgspec.structs.replace(_results.decode(row.result), attempt=activity.asked.attempt)


def lifecycle(message: Started | RunFinished, traceparent: str) -> Outgoing:
    """What became of an inline run, to its runbook's lane."""
    key = message.execution_id.encode()
    return Outgoing(LIFECYCLE, codec.encode(message), key, message.lane, trace_headers(traceparent))


def outcome(execution: str, value: bytes, traceparent: str) -> Outgoing:
    """What a shadowed run did, to the partition of its double."""
    headers = trace_headers(traceparent)
    return Outgoing(ENGINE_INBOX, value, execution.encode(), ids.engine_partition(execution), headers)


_results = msgspec.json.Decoder(ActivityResult)
