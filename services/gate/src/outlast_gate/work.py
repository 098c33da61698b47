"""One request: read it, let `admit` decide over the tables, say the decision. What cannot be read is laid aside."""

import asyncio
from time import perf_counter

from outlast.clock import from_milliseconds
from outlast.contracts import codec, topics
from outlast.contracts.guarding import GateDecision, GateRequest, Verdict
from outlast.errors import ContractError, PermanentError, TransientError
from outlast.guardrails.admit import admit
from outlast.messaging.dead_letter import dead_letter
from outlast.messaging.ports import Outgoing, Received, Sink
from outlast.runtime.logging import get_logger
from outlast.runtime.metrics import LoopMetrics
from outlast_gate import metrics
from outlast_gate.tables import Owner, Tables

PAUSE_SECONDS = 0.5
"""Until a dead letter that was not taken is sent again."""

log = get_logger(__name__)


class GateWork:
    """What the stream calls for each message, in the order of its lane."""

    def __init__(self, tables: Tables, sink: Sink, loop_metrics: LoopMetrics) -> None:
        self._tables = tables
        self._sink = sink
        self._metrics = loop_metrics

    async def handle(self, received: Received) -> None:
        """Decide, and hand the decision to the producer. What cannot be decided is a dead letter, and delivered."""
        began = perf_counter()
        try:
            decision = self._decide(received)
            if decision is not None:
                self._sink.send([decision])
        except TransientError as fault:
            log.warning("decision_unsent", error=str(fault))  # it is asked for again
        except Exception as fault:  # noqa: BLE001 neither bad data nor a bug in a decider may stop the lane
            await self._bury(received, fault)
            return
        else:
            self._metrics.emitted(decision is not None)
        self._metrics.consumed(1)
        metrics.DECIDE_SECONDS.observe(perf_counter() - began)

    def _decide(self, received: Received) -> Outgoing | None:
        request = codec.gate.decode(received.value)
        if not isinstance(request, GateRequest):
            raise ContractError("expected a gate_request, found a gate_decision", "type")
        owner = Owner(received.partition, request.company_id, request.runbook_id)
        guards = self._tables.guards(owner)
        try:
            verdicts = admit(guards, request, from_milliseconds(received.timestamp_ms))
            written = self._tables.store(owner)
        except Exception:
            self._tables.forget(owner)
            raise
        _count(request, verdicts, written)
        if not verdicts:
            return None
        decision = GateDecision(
            company_id=request.company_id,
            runbook_id=request.runbook_id,
            lane=received.partition,
            verdicts=verdicts,
        )
        return Outgoing(
            topics.GATE_DECISIONS, codec.encode(decision), received.key, received.partition, received.headers
        )

    async def _bury(self, received: Received, fault: Exception) -> None:
        log.warning(
            "dead_letter", partition=received.partition, offset=received.offset, error=str(fault),
            error_class=type(fault).__name__,
        )  # fmt: skip
        self._metrics.buried(type(fault).__name__)
        while True:
            self._sink.send([dead_letter("gate", received, fault)])
            try:
                await self._sink.flush()
            except TransientError as late:
                log.warning("dead_letter_not_taken", error=str(late))
                await asyncio.sleep(PAUSE_SECONDS)
            except PermanentError as never:
                log.error("dead_letter_lost", offset=received.offset, error=str(never))
                return
            else:
                return


def _count(request: GateRequest, verdicts: tuple[Verdict, ...], written: int) -> None:
    metrics.ASKS.inc(len(request.asks))
    metrics.RELEASES.inc(len(request.releases))
    metrics.ROWS_WRITTEN.inc(written)
    counts: dict[tuple[str, str], int] = {}
    for each in verdicts:
        word = (each.verdict, each.reason)
        counts[word] = counts.get(word, 0) + 1
    for (verdict, reason), count in counts.items():
        metrics.VERDICTS.labels(verdict, reason).inc(count)
