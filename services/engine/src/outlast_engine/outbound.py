"""Commands to messages on their topics: which topic, which partition, which headers."""

from outlast.contracts import codec, topics
from outlast.contracts.messages import (
    CancelTimer,
    Compared,
    DeliverSignal,
    Finished,
    Probe,
    Resumed,
    Resuming,
    RunActivity,
    SignalVerdict,
    Started,
    StartTimer,
    Subscribe,
    Unknown,
    Unsubscribe,
    Waiting,
)
from outlast.execution.outstanding import Command
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers


def to_outgoing(command: Command, traceparent: str) -> Outgoing:
    """An activity goes by its class, keyed by execution; a lifecycle message goes to the runbook's lane."""
    key, headers, value = command.execution_id.encode(), trace_headers(traceparent), codec.encode(command)
    match command:
        case RunActivity():
            return Outgoing(topics.activities(command.action_class), value, key, None, headers)
        case Finished() | Started() | Waiting() | Resumed() | Resuming() | Compared():
            return Outgoing(topics.LIFECYCLE, value, key, command.lane, headers)
        case StartTimer() | CancelTimer():
            return Outgoing(topics.TIMER_COMMANDS, value, key, None, headers)
        case Subscribe() | Unsubscribe():
            return Outgoing(topics.SUBSCRIPTIONS, value, subscription_key(command), None, headers)
        case SignalVerdict():
            return Outgoing(topics.VERDICTS, value, command.signal_id.encode(), None, headers)


def subscription_key(command: Subscribe | Unsubscribe) -> bytes:
    """All that wait for one signal with one key are in one partition."""
    return f"{command.company_id}/{command.signal}/{command.key}".encode()


def refused_signal(message: DeliverSignal, verdict: str) -> Outgoing:
    """The verdict on a signal that changed nothing."""
    answer = SignalVerdict(
        signal_id=message.signal_id,
        execution_id=message.execution_id,
        company_id=message.company_id,
        verdict=verdict,
    )
    return Outgoing(topics.VERDICTS, codec.encode(answer), message.signal_id.encode(), None)


def unknown(probe: Probe) -> Outgoing:
    """The answer to a probe for an execution that has no history."""
    message = Unknown(
        execution_id=probe.execution_id,
        company_id=probe.company_id,
        runbook_id=probe.runbook_id,
        lane=probe.lane,
    )
    return Outgoing(topics.LIFECYCLE, codec.encode(message), probe.execution_id.encode(), probe.lane)
