"""Commands to messages on their topics: which topic, which partition, which headers."""

from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, Probe, RunActivity, Started, Unknown
from outlast.execution.outstanding import Command
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers


def to_outgoing(command: Command, traceparent: str) -> Outgoing:
    """An activity goes by its class, keyed by execution; a lifecycle message goes to the runbook's lane."""
    key, headers, value = command.execution_id.encode(), trace_headers(traceparent), codec.encode(command)
    match command:
        case RunActivity():
            return Outgoing(topics.activities(command.action_class), value, key, None, headers)
        case Started() | Finished():
            return Outgoing(topics.LIFECYCLE, value, key, command.lane, headers)


def unknown(probe: Probe) -> Outgoing:
    """The answer to a probe for an execution that has no history."""
    message = Unknown(
        execution_id=probe.execution_id,
        company_id=probe.company_id,
        runbook_id=probe.runbook_id,
        lane=probe.lane,
    )
    return Outgoing(topics.LIFECYCLE, codec.encode(message), probe.execution_id.encode(), probe.lane)
