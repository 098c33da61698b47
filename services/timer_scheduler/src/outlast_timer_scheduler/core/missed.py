"""What becomes of the times of a schedule that have come: which fire, which are passed over, and how far that gets."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from outlast import limits
from outlast.runbooks.cron_times import next_after
from outlast.runbooks.schedules import Schedule

ON_TIME = timedelta(seconds=15)
"""So late is not missed: a partition's new owner needs some seconds. Less than a minute, so it is one time at most."""
_INSTANT = timedelta(microseconds=1)
_LOOK_BACK = timedelta(minutes=1)


class Firing(NamedTuple):
    """One time of the schedule that fires."""

    scheduled_at: datetime
    is_catch_up: bool


class Due(NamedTuple):
    """Everything up to `last_at` is dealt with when these have fired."""

    firings: tuple[Firing, ...]
    last_at: datetime
    skipped: int = 0
    """Times that do not fire, because of the policy or the window; at least so many."""


def due(schedule: Schedule, last_at: datetime, upto: datetime, firings_max: int) -> Due:
    """The times after `last_at` up to `upto` by the schedule's policy. `all` may leave some for later, oldest first."""
    latest = _latest(schedule, last_at, upto)
    if latest is None:
        return Due((), last_at)
    if schedule.catch_up_policy == "all":
        return _all(schedule, last_at, upto, firings_max)
    is_within = upto - latest <= (ON_TIME if schedule.catch_up_policy == "none" else _window(schedule))
    firings = (_firing(latest, upto),) if is_within else ()
    skipped = _count(schedule, last_at, latest - _INSTANT) + (not is_within)
    return Due(firings, latest, skipped)


def _all(schedule: Schedule, last_at: datetime, upto: datetime, firings_max: int) -> Due:
    begin = upto - _window(schedule) - _INSTANT
    skipped = _count(schedule, last_at, begin)
    firings: list[Firing] = []
    for instant in _times(schedule, max(last_at, begin), upto):
        if len(firings) == firings_max:
            break
        firings.append(_firing(instant, upto))
    return Due(tuple(firings), firings[-1].scheduled_at if firings else begin, skipped)


def _window(schedule: Schedule) -> timedelta:
    return max(schedule.catch_up_window, ON_TIME)


def _firing(instant: datetime, upto: datetime) -> Firing:
    return Firing(instant, is_catch_up=upto - instant > ON_TIME)


def _times(schedule: Schedule, after: datetime, upto: datetime) -> Iterator[datetime]:
    cron, zone, at = schedule.cron, schedule.zone, after
    while (found := next_after(cron, zone, at)) is not None and found <= upto:
        yield found
        at = found


def _count(schedule: Schedule, after: datetime, upto: datetime) -> int:
    count = 0
    for _ in _times(schedule, after, upto):
        count += 1
        if count == limits.CRON_SKIPPED_COUNTED_MAX:
            break
    return count


def _latest(schedule: Schedule, after: datetime, upto: datetime) -> datetime | None:
    """The last time up to `upto`, found without walking through all of a long absence."""
    back = _LOOK_BACK
    while True:
        begin = max(after, upto - back)
        found: datetime | None = None
        for found in _times(schedule, begin, upto):  # noqa: B007 the last one is wanted
            pass
        if found is not None or begin == after:
            return found
        back *= 2
