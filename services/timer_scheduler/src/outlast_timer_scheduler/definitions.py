"""What the control plane says on `runbooks.definitions`, as much of it as concerns schedules.

Absence never deletes: a topic that was lost and is published again leaves what is known untouched meanwhile.
"""

from collections.abc import Callable

from outlast.clock import from_milliseconds
from outlast.contracts import codec
from outlast.contracts.messages import Definition
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runbooks.pinned import load_rules
from outlast.runbooks.schedules import Schedule
from outlast.runtime.logging import get_logger
from outlast_timer_scheduler.core.entries import RunbookKey, Wanted

log = get_logger(__name__)


class Definitions:
    """Which schedules every runbook wants. `on_change` hears of each record that is newer than what is known."""

    def __init__(self) -> None:
        self.on_change: Callable[[Wanted], None] = lambda _wanted: None
        self._revisions: dict[RunbookKey, int] = {}

    def apply(self, received: Received) -> None:
        """Take in one record."""
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("definition_record_unreadable", offset=received.offset, error=str(fault))
            return
        if not isinstance(message, Definition):
            return
        key = (message.company_id, message.runbook.id)
        if message.revision <= self._revisions.get(key, -1):
            return
        try:
            schedules = _schedules(message) if message.is_active and not message.is_deleted else {}
        except Exception as fault:  # noqa: BLE001 one unreadable definition must not hide the others
            log.error("definition_unreadable", company=key[0], runbook=key[1],
                      error=f"{type(fault).__name__}: {fault}")  # fmt: skip
            return
        self._revisions[key] = message.revision
        since = from_milliseconds(received.timestamp_ms)
        self.on_change(Wanted(key, message.runbook.version, since, schedules))


def _schedules(message: Definition) -> dict[int, Schedule]:
    rules = load_rules(bytes(message.definition)).rules
    return {number: rule.schedule for number, rule in enumerate(rules) if rule.schedule is not None}
