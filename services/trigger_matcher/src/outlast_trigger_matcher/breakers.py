"""Which runbooks may fire, from two compacted topics: a runbook fires iff it is active and its breaker is closed."""

from outlast.contracts import codec
from outlast.contracts.messages import Breaker
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.core.board import Standing
from outlast_trigger_matcher.definitions import Runbooks

log = get_logger(__name__)

CLOSED = Standing()


class Breakers:
    """The latest word on each runbook's breaker; none means closed, generation 0."""

    def __init__(self, runbooks: Runbooks) -> None:
        self._runbooks = runbooks
        self._by_runbook: dict[tuple[str, str], Breaker] = {}
        self._open: set[tuple[str, str]] = set()

    def apply(self, received: Received) -> None:
        """Take in one record of `breakers`."""
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("breaker_record_unreadable", offset=received.offset, error=str(fault))
            return
        if not isinstance(message, Breaker):
            return
        key = (message.company_id, message.runbook_id)
        present = self._by_runbook.get(key)
        if present is not None and present.revision > message.revision:
            return
        self._by_runbook[key] = message
        if message.is_open:
            self._open.add(key)
        else:
            self._open.discard(key)
        metrics.BREAKERS_OPEN.set(len(self._open))

    def open(self) -> list[tuple[str, str]]:
        """The runbooks (company, id) whose breaker is open."""
        return list(self._open)

    def standing(self, company_id: str, runbook_id: str) -> Standing:
        """Whether the runbook may fire, as it is now."""
        key = (company_id, runbook_id)
        breaker = self._by_runbook.get(key)
        is_active = self._runbooks.is_active(*key)
        if breaker is None:
            return CLOSED if is_active else Standing(is_active=False)
        return Standing(is_active, breaker.is_open, breaker.generation)
