"""Starts and probes to messages on the engine's inbox, each to the partition that its id carries."""

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.messages import Probe, Start
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers


def start_message(start: Start) -> Outgoing:
    """The whole start, to the engine partition in the execution's id."""
    return Outgoing(
        topics.ENGINE_INBOX,
        codec.encode(start),
        start.execution_id.encode(),
        ids.engine_partition(start.execution_id),
        trace_headers(start.traceparent),
    )


def probe_message(start: Start) -> Outgoing:
    """Is this execution known to the engine?"""
    probe = Probe(
        execution_id=start.execution_id,
        company_id=start.company_id,
        runbook_id=start.runbook.id,
        lane=start.lane,
    )
    return Outgoing(
        topics.ENGINE_INBOX,
        codec.encode(probe),
        start.execution_id.encode(),
        ids.engine_partition(start.execution_id),
    )
