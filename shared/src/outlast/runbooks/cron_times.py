"""When a cron entry comes, in a zone whose clocks are changed.

An entry with fixed hours follows the clock on the wall: what falls into a gap comes at the gap's end, what an
overlap has twice comes once, the first time. An entry whose hours are a wildcard follows elapsed time: it comes
whenever the clock shows a time that fits, so in an overlap twice an hour apart, and for what a gap leaves out never.
"""

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from outlast.runbooks.cron import Cron

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_GAP_MAX = timedelta(days=2)
"""Longer than any gap: whole days have been left out where the date line was moved."""
_LAST = datetime(9999, 12, 20, tzinfo=UTC)
_FIRST = datetime(2, 1, 1, tzinfo=UTC)


def next_after(cron: Cron, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """The first time of the entry strictly after the instant, UTC; None if the calendar ends before it."""
    after = max(instant.astimezone(UTC), _FIRST)
    if after >= _LAST:
        return None
    return _next_elapsed(cron, zone, after) if cron.is_elapsed else _next_on_the_wall(cron, zone, after)


# ---- elapsed time


def _next_elapsed(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    at = after.replace(second=0, microsecond=0) + _MINUTE
    while at < _LAST:
        local = at.astimezone(zone)
        if not cron.on(local.date()):
            at = _next_day(cron, at, local)
        elif local.hour not in cron.hours:
            at = _unless_changed(at, local, at + _HOUR - local.minute * _MINUTE)
        elif local.minute not in cron.minutes:
            at += _MINUTE
        else:
            return at
    return None


def _next_day(cron: Cron, at: datetime, local: datetime) -> datetime:
    """An instant up to which no day fits: far from the next one the day before it, else midnight."""
    following = next(cron.days_from(local.date() + _DAY), None)
    if following is None:
        return _LAST
    away = following - local.date()
    if away > _GAP_MAX:
        return at + away - _GAP_MAX
    return _unless_changed(at, local, at + _DAY - local.hour * _HOUR - local.minute * _MINUTE)


def _unless_changed(at: datetime, local: datetime, until: datetime) -> datetime:
    """`until`, if the clocks are not changed before it; else one minute on."""
    return until if until.astimezone(local.tzinfo).utcoffset() == local.utcoffset() else at + _MINUTE


# ---- the clock on the wall


def _next_on_the_wall(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    minutes = len(cron.minutes)
    for day in cron.days_from(after.astimezone(zone).date() - _GAP_MAX):
        if day >= _LAST.date():
            break

        def instant(number: int, day: date = day) -> datetime:
            return _instant(
                datetime.combine(day, time(cron.hours[number // minutes], cron.minutes[number % minutes])),
                zone,
            )

        # a later time on the wall never has an earlier instant
        number = bisect_right(range(minutes * len(cron.hours)), after, key=instant)
        if number < minutes * len(cron.hours):
            return instant(number)
    return None


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock shows this for the first time; if it never does, the end of the gap."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    # in a gap fold=0 counts with the time before it and fold=1 with the time after it: the change is between them
    changed = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = changed.astimezone(zone).utcoffset()
    unchanged_seconds, changed_seconds = 0, round((instant - changed).total_seconds())
    while changed_seconds - unchanged_seconds > 1:
        middle = (unchanged_seconds + changed_seconds) // 2
        if (changed + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            unchanged_seconds = middle
        else:
            changed_seconds = middle
    return changed + timedelta(seconds=changed_seconds)
