"""Results to bytes, and to the partition of `engine.inbox` that owns the run."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from outlast import ids
from outlast.contracts import codec
from outlast.contracts.messages import ActivityResult
from outlast.contracts.topics import ENGINE_INBOX
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers
from outlast_action_executor.core.claim import Row
from outlast_action_executor.inbound import Activity
from outlast_action_executor.ports import Ran, Settlement


@dataclass(frozen=True, slots=True)
class Finished:
    """A call that has ended and is not settled yet."""

    activity: Activity
    settlement: Settlement


def finished(activity: Activity, ran: Ran, started_at: datetime, duration_seconds: float) -> Finished:
    """The result of a call, ready to be recorded."""
    asked = activity.asked
    result = codec.encode(
        ActivityResult(
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
    )
    return Finished(activity, Settlement(activity.key.of, activity.key.attempt, result, ran.error is None))


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
    value = row.result
    if row.attempt != activity.asked.attempt:
        recorded = _results.decode(value)
        value = codec.encode(msgspec.structs.replace(recorded, attempt=activity.asked.attempt))
    return result(activity, value)


_results = msgspec.json.Decoder(ActivityResult)
