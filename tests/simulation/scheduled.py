"""What must hold of schedules: a referee at each firing and at each commit, and a look at the rows at rest.

A rule's times are dealt with in order and once. Which of those that a commit deals with fire follows from the rule's
policy and from the time of the commit alone; what a commit says that has fired has exactly one execution.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from outlast.clock import Clock
from outlast.contracts import topics
from outlast.messaging.ports import Outgoing
from outlast.testing.invariants import Violation
from outlast.testing.world import BEGIN
from outlast_timer_scheduler.cron_store import CronChanges
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch
from tests.simulation.schedules import SCHEDULES, Expected, RuleKey

if TYPE_CHECKING:
    from tests.simulation.system import System

SCHEDULER = "outlast/timer_scheduler"
ON_TIME_SECONDS = 15
Instant = tuple[RuleKey, datetime]


class _Data(msgspec.Struct):
    runbook_id: str
    rule: int
    scheduled_at: datetime


class _Event(msgspec.Struct):
    companyid: str
    data: _Data


_event = msgspec.json.Decoder(_Event)


class ScheduleReferee:
    """Looks at what the scheduler says and stores, and at what the matcher takes in. No mutant touches it."""

    def __init__(
        self, clock: Clock, rows: Mapping[str, Dispatch], is_over: Callable[[Dispatch], bool]
    ) -> None:
        """`is_over`: whether a run has come to its end in truth, whoever knows of it."""
        self._clock = clock
        self._rows = rows
        self._is_over = is_over
        self._seen = 0
        self._by_rule: dict[RuleKey, list[Dispatch]] = {}
        self.reached: dict[RuleKey, datetime] = {}
        self.said: set[Instant] = set()
        self.fired: set[Instant] = set()
        self.faults: list[tuple[str, str]] = []
        """Rule and what broke it."""

    # ---- what is said --------------------------------------------------------------------------------------------

    def hear(self, outgoing: Outgoing) -> None:
        """A firing is with the broker. That it is said again, and when, does not matter."""
        if outgoing.topic != topics.SCHEDULE_FIRED or outgoing.value is None:
            return
        event = _event.decode(outgoing.value)
        key = (event.companyid, event.data.runbook_id, event.data.rule)
        instant = event.data.scheduled_at
        if (key, instant) in self.said:
            return
        self.said.add((key, instant))
        expected, now = SCHEDULES.get(key), self._clock.now()
        if expected is None or instant not in expected.instants:
            self._fault("fires", f"{key} has no {instant} in its schedule")
        elif instant > now:
            self._fault("too early", f"{key} of {instant} was said at {now}")
        elif not _may_fire(expected, instant, now):
            self._fault("policy", f"{key} of {instant} was said at {now}: {expected.policy}")

    # ---- what is stored ------------------------------------------------------------------------------------------

    def look(self, changes: CronChanges) -> None:
        """After a commit of the scheduler."""
        now = self._clock.now()
        firing: dict[RuleKey, set[datetime]] = {}
        for each in changes.fired:
            key = (each.company_id, each.runbook_id, each.rule)
            firing.setdefault(key, set()).add(each.scheduled_at)
            self.fired.add((key, each.scheduled_at))
        for row in changes.put:
            if row.key in SCHEDULES:
                self._move(row.key, row.last_at, firing.pop(row.key, set()), now)
        for key in firing:
            self._fault("policy", f"{key} fired {firing[key]} and did not move on")

    def _move(self, key: RuleKey, to: datetime, fired: Collection[datetime], now: datetime) -> None:
        expected, before = SCHEDULES[key], self.reached.get(key, BEGIN)
        self.reached[key] = max(to, before)
        dealt = [each for each in expected.instants if before < each <= to]
        where = f"{key} went from {before} to {to} at {now} and fired {sorted(fired)}"
        jitter = timedelta(seconds=expected.jitter_seconds)
        left = [each for each in expected.instants if to < each <= now - jitter]
        if to < before or set(fired) - set(dealt):
            self._fault("policy", f"{where}: it had been there")
        if expected.policy != "all" and fired and left:
            self._fault("policy", f"{where}: {left} had come, too")
        for each in dealt:
            is_due = [_is_demanded(expected, dealt, each, at) for at in (now, now - jitter)]
            if each not in fired and all(is_due):
                self._fault("forgotten", f"{where}, not {each}: {expected}")
            if each in fired and not any(is_due):
                self._fault("policy", f"{where}, with {each}: {expected}")

    # ---- what is taken in ----------------------------------------------------------------------------------------

    def take(self) -> None:
        """After a commit of the matcher's intake."""
        fresh = list(islice(self._rows.values(), self._seen, None))
        self._seen = len(self._rows)
        for row in fresh:
            key = rule_of(row)
            if key is not None:
                self._begin(key, SCHEDULES[key], row)

    def _begin(self, key: RuleKey, expected: Expected, row: Dispatch) -> None:
        others = self._by_rule.setdefault(key, [])
        if row.reason == "overlap":
            if expected.may_overlap or not any(self._is_known_open(each) for each in others):
                self._fault("overlap", f"{row.id} of {key} is skipped, and nothing else of it is under way")
        elif not expected.may_overlap and row.status not in WITHHELD:
            under_way = [each.id for each in others if not self._is_over(self._rows[each.id])]
            if under_way:
                self._fault("overlap", f"{row.id} of {key} begins beside {under_way}")
        others.append(row)

    def _is_known_open(self, row: Dispatch) -> bool:
        present = self._rows[row.id]
        return present.settled_at is None and present.closed_at is None

    def _fault(self, rule: str, text: str) -> None:
        self.faults.append((rule, text))


def _may_fire(expected: Expected, instant: datetime, now: datetime) -> bool:
    """Whether it could be said now for the first time."""
    jitter = timedelta(seconds=expected.jitter_seconds)
    come = [each for each in expected.instants if each <= now - jitter or each == instant]
    return any(_is_demanded(expected, come, instant, at) for at in (now, now - jitter))


def _is_demanded(expected: Expected, come: Iterable[datetime], instant: datetime, at: datetime) -> bool:
    """Whether the policy wants this time of those that have come, when they are dealt with at `at`."""
    late_seconds = (at - instant).total_seconds()
    if expected.policy == "all":
        return late_seconds <= expected.window_seconds
    allowed = ON_TIME_SECONDS if expected.policy == "none" else expected.window_seconds
    return instant == max(come) and late_seconds <= allowed


def rule_of(row: Dispatch) -> RuleKey | None:
    """The rule whose schedule fired it; None for anything else."""
    event = row.start.event
    if event.source != SCHEDULER:
        return None
    return (row.start.company_id, row.start.runbook.id, int(event.subject.rpartition("/")[2]))


def check_schedules(system: "System") -> Iterator[Violation]:
    """All times have been dealt with; what has fired has its execution, and nothing else has one."""
    referee = system.schedules
    for rule, text in referee.faults:
        yield Violation(rule, text)
    if not system.setting.has_schedules:
        return
    for key, expected in SCHEDULES.items():
        last = expected.instants[-1]
        if referee.reached.get(key, BEGIN) < last:
            yield Violation("stuck", f"{key} has come to {referee.reached.get(key)}, not to {last}")
    begun: dict[Instant, list[str]] = {}
    for row in system.dispatch.dispatches.values():
        key = rule_of(row)
        if key is not None:
            begun.setdefault((key, row.start.event.time), []).append(row.id)
    for instant, executions in begun.items():
        if len(executions) > 1 or instant not in referee.said:
            yield Violation("fires", f"{instant} fired {executions}")
    for instant in sorted(referee.fired - begun.keys()):
        yield Violation("fires", f"{instant} has fired, but nothing came of it")
