"""Mechanisms of schedules, removed one at a time: see test_mutants."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import count

import pytest
from msgspec import structs

from outlast.contracts.topics import TopicPartition
from outlast.messaging.ports import Outgoing
from outlast.runbooks.schedules import Schedule
from outlast.runtime.work import Turn
from outlast.testing.faults import Rates
from outlast_timer_scheduler import cron_work
from outlast_timer_scheduler.core import missed
from outlast_timer_scheduler.core.entries import Row, Settlement, Wanted, settle
from outlast_timer_scheduler.core.firings import Fired, message
from outlast_timer_scheduler.cron_work import CronWork
from outlast_trigger_matcher.inbound import DomainEvent
from outlast_trigger_matcher.intake import IntakeWork
from outlast_trigger_matcher.ports import EventKey
from tests.simulation.caught import LOSSY, StoredFirst, assert_caught
from tests.simulation.setting import SCHEDULED
from tests.simulation.system import Parts
from tests.stores.memory_matcher import MemoryMatcherStore

REPEATING = Rates(disturbance=10, weights={"loss": 4, "double": 60})
"""What was said comes again and again."""


def test_ids_not_made_of_the_instant_a_time_that_is_said_twice_fires_twice(monkeypatch: pytest.MonkeyPatch):
    numbers = count()

    def numbered(fired: Fired) -> Outgoing:
        said = message(fired)
        value = (said.value or b"").replace(b'"id":"cron:', b'"id":"%d:' % next(numbers), 1)
        return structs.replace(said, value=value)

    monkeypatch.setattr(cron_work, "message", numbered)
    assert_caught(Parts(), "fires", setting=SCHEDULED)


def test_rows_not_asked_how_far_they_came_what_was_missed_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    def from_now_on(wanted: Wanted, rows: Sequence[Row], now: datetime, settlement: Settlement) -> None:
        settle(wanted, [row._replace(last_at=max(row.last_at, now)) for row in rows], now, settlement)

    monkeypatch.setattr(cron_work, "settle", from_now_on)
    assert_caught(Parts(), "forgotten", setting=SCHEDULED)


def test_policies_not_told_apart_what_is_not_to_be_made_up_for_fires_late(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(missed, "ON_TIME", timedelta(hours=1))
    assert_caught(Parts(), "policy", setting=SCHEDULED)


def test_windows_not_looked_at_what_is_long_over_fires(monkeypatch: pytest.MonkeyPatch):
    def no_end(schedule: Schedule) -> timedelta:
        return timedelta(days=7)

    monkeypatch.setattr(missed, "_window", no_end)
    assert_caught(Parts(), "policy", setting=SCHEDULED)


class MovedFirst(StoredFirst, CronWork):
    """A row moves on before the broker has its firing."""


def test_row_moved_before_its_firing_is_acknowledged_a_time_fires_nothing():
    assert_caught(Parts(schedules=MovedFirst), "fires", setting=SCHEDULED, rates=LOSSY)


class Ahead(CronWork):
    """Its clock is half a minute ahead."""

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        clock = self._clock
        self._clock = _Fast(clock)  # type: ignore[assignment]
        try:
            return await super().act(owned)
        finally:
            self._clock = clock


class _Fast:
    def __init__(self, clock: object) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=30)  # type: ignore[attr-defined]


def test_fired_before_it_is_due_a_schedule_comes_too_early():
    assert_caught(Parts(schedules=Ahead), "too early", setting=SCHEDULED)


class SaidOnce(CronWork):
    """What was said before the broker lost it is not said again."""

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        return ()


def test_firings_not_said_again_after_a_loss_nothing_came_of_them():
    assert_caught(Parts(schedules=SaidOnce), "fires", setting=SCHEDULED, rates=LOSSY)


def test_overlap_not_looked_at_a_run_begins_beside_the_last_one(monkeypatch: pytest.MonkeyPatch):
    def never(work: IntakeWork, event: DomainEvent) -> None:
        return None

    monkeypatch.setattr(IntakeWork, "_fires_alone", never)
    assert_caught(Parts(), "overlap", setting=SCHEDULED)


class NothingSeen(MemoryMatcherStore):
    """A firing that is said again is taken for a run that begins."""

    async def seen(self, keys: Collection[EventKey]) -> frozenset[EventKey]:
        return frozenset()


def test_repeated_firings_not_told_from_new_ones_the_next_time_is_skipped_beside_nothing():
    assert_caught(Parts(matcher_store=NothingSeen), "overlap", setting=SCHEDULED, rates=REPEATING)
