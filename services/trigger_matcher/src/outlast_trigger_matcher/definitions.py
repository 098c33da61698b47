"""What the control plane says on its compacted topics, kept in memory: runbooks with their index, and producers.

Absence never deletes: a topic that was lost and is republished leaves what is known untouched meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from outlast.contracts import codec
from outlast.contracts.domain_events import ScheduleFired
from outlast.contracts.messages import Definition, Producer, RunbookReference
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runbooks.definition import Rule
from outlast.runbooks.documents import Json
from outlast.runbooks.pinned import PinnedRules, load_rules
from outlast.runbooks.schedules import Schedule
from outlast.runtime.logging import get_logger
from outlast_trigger_matcher import metrics
from outlast_trigger_matcher.core.index import TriggerIndex

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A runbook as the matcher pins it to a start."""

    reference: RunbookReference
    body: bytes
    is_active: bool = True
    rules: PinnedRules | None = None
    """None for one that is inactive, or cannot be read: it does not fire."""


class Runbooks:
    """The current version of every runbook, and the index over the active ones."""

    def __init__(self) -> None:
        self.index = TriggerIndex.build(())
        self._known: dict[tuple[str, str], Known] = {}
        self._revisions: dict[tuple[str, str], int] = {}

    def apply(self, received: Received) -> None:
        """Take in one record of `runbooks.definitions`."""
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("definition_record_unreadable", offset=received.offset, error=str(fault))
            return
        if not isinstance(message, Definition):
            return
        key = (message.company_id, message.runbook.id)
        if message.revision < self._revisions.get(key, 0):
            return
        self._revisions[key] = message.revision
        self.index.remove(*key)
        body = bytes(message.definition)
        if message.is_deleted:
            self._known.pop(key, None)
        else:
            rules = self._index(key, body) if message.is_active else None
            self._known[key] = Known(message.runbook, body, message.is_active, rules)
        metrics.RUNBOOKS.set(len(self._known))

    def _index(self, key: tuple[str, str], body: bytes) -> PinnedRules | None:
        try:
            rules = load_rules(body)
            self.index.add(*key, rules)
        except Exception as fault:  # noqa: BLE001 one unreadable definition must not hide the others
            log.error(
                "definition_unreadable",
                company=key[0],
                runbook=key[1],
                error=f"{type(fault).__name__}: {fault}",
            )
            return None
        return rules

    def known(self, company_id: str, runbook_id: str) -> Known:
        """The runbook that the index named."""
        return self._known[(company_id, runbook_id)]

    def find(self, company_id: str, runbook_id: str) -> Known | None:
        """The runbook, active or not; None if there is none."""
        return self._known.get((company_id, runbook_id))

    def due(
        self, company_id: str, fired: ScheduleFired, payload: Mapping[str, object], now: datetime
    ) -> tuple[str, ...]:
        """The runbook of this schedule, if it is active, its rule still has the schedule, and the condition holds."""
        schedule = self.schedule(company_id, fired)
        if schedule is None:
            return ()
        rule = self._rules(company_id, fired.runbook_id)[fired.rule]
        is_met = rule.condition is None or rule.condition.matches(cast("Json", payload), now)
        return (fired.runbook_id,) if is_met else ()

    def schedule(self, company_id: str, fired: ScheduleFired) -> Schedule | None:
        """The schedule that fired; None if the runbook does not have it any more."""
        rules = self._rules(company_id, fired.runbook_id)
        schedule = rules[fired.rule].schedule if fired.rule < len(rules) else None
        if schedule is None or (schedule.cron.text, schedule.timezone) != (fired.cron, fired.timezone):
            return None
        return schedule

    def _rules(self, company_id: str, runbook_id: str) -> Sequence[Rule]:
        known = self._known.get((company_id, runbook_id))
        return () if known is None or known.rules is None else known.rules.rules

    def is_active(self, company_id: str, runbook_id: str) -> bool:
        """Whether it is there, switched on, and can be read."""
        known = self._known.get((company_id, runbook_id))
        return known is not None and known.is_active and known.rules is not None


class Producers:
    """Which producer may speak for which companies, by its topic."""

    def __init__(self, own_topics: frozenset[str]) -> None:
        """`own_topics`: producers that are ours and speak for every company."""
        self._own = own_topics
        self._by_topic: dict[str, Producer] = {}

    def apply(self, received: Received) -> None:
        """Take in one record of `producers`."""
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("producer_record_unreadable", offset=received.offset, error=str(fault))
            return
        if isinstance(message, Producer):
            present = self._by_topic.get(message.topic)
            if present is None or present.revision <= message.revision:
                self._by_topic[message.topic] = message

    def topics(self) -> frozenset[str]:
        """Every topic to read domain events from."""
        return self._own | {topic for topic, each in self._by_topic.items() if not each.is_revoked}

    def check(self, topic: str, company_id: str) -> None:
        """ContractError unless what comes on this topic may speak for this company."""
        if topic in self._own:
            return
        producer = self._by_topic.get(topic)
        if producer is None or producer.is_revoked:
            raise ContractError(f"expected a registered producer behind {topic}, found none", "companyid")
        if "*" not in producer.companies and company_id not in producer.companies:
            raise ContractError(
                f"producer {producer.name} may not speak for company {company_id!r}", "companyid"
            )
