"""What this service says, as messages on its topics."""

from msgspec import Raw

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import DeliverSignal
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import derived_traceparent, trace_headers
from outlast_signal_delivery.store import NewSignal, Sending


def deliver(sending: Sending) -> Outgoing:
    """The signal, to the partition of the engine that owns the run."""
    message = DeliverSignal(
        execution_id=sending.execution_id,
        company_id=sending.company_id,
        signal_id=sending.signal_id,
        name=sending.name,
        payload=Raw(sending.payload),
        sent_by=sending.sent_by,
        sent_at=sending.sent_at,
        key=sending.key,
    )
    partition = ids.engine_partition(sending.execution_id)
    headers = trace_headers(sending.traceparent)
    return Outgoing(
        topics.ENGINE_INBOX, codec.encode(message), sending.execution_id.encode(), partition, headers
    )


def poke(signal: NewSignal) -> Outgoing:
    """A signal that is recorded: its partition's owner sends it at once."""
    key = signal.request.signal_id.encode()
    return Outgoing(
        topics.SIGNALS, codec.encode(signal.request), key, None, trace_headers(signal.traceparent)
    )


def traceparent_for(company_id: str, signal_id: str) -> str:
    """The trace of a signal whose sender gave none."""
    return derived_traceparent("signal", company_id, signal_id)
