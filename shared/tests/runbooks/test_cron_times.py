"""When cron entries come: on days when clocks are changed, leap days, month ends; held to a naive minute walker."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.runbooks.cron import parse_cron
from outlast.runbooks.cron_times import next_after

from .cron_walker import utc, walk

CHANGES_OF = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Australia/Lord_Howe": ["2026-10-03T15:30", "2026-04-04T15:00"],  # half an hour
    "Asia/Kolkata": ["2028-02-29T00:00"],  # never changed, and half an hour off
    "America/Sao_Paulo": ["2018-11-04T03:00", "2018-02-18T02:00"],  # at midnight
    "America/St_Johns": ["2010-03-14T03:31", "2010-11-07T02:31"],  # at one minute past midnight
    "Pacific/Apia": ["2011-12-30T10:00"],  # a whole day left out
    "Africa/Casablanca": ["2026-02-15T02:00", "2026-03-22T02:00"],  # back and forth for Ramadan
    "UTC": ["2026-12-31T23:59"],
}
ZONES = tuple(CHANGES_OF)
AROUND = [(zone, change) for zone, changes in CHANGES_OF.items() for change in changes]


def times(entry: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, as the clock in the zone shows them, with its offset."""
    cron, found, at = parse_cron(entry), [], utc(after)
    for _ in range(count):
        following = next_after(cron, ZoneInfo(zone), at)
        assert following is not None
        assert following > at
        at = following
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z"))
    return found


def between(entry: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    cron, found, at = parse_cron(entry), [], after
    while (following := next_after(cron, ZoneInfo(zone), at)) is not None and following <= until:
        found.append(following)
        at = following
    return found


@pytest.mark.parametrize(
    ("entry", "zone", "after", "expected"),
    [
        # the hour from 02:00 to 03:00 is left out in Berlin
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 03:00+0200"]),
        ("*/20 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00",
         ["03-29 03:00+0200", "03-29 03:20+0200", "03-29 03:40+0200", "03-30 02:00+0200"]),
        ("* 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["03-29 01:30+0100", "03-29 03:30+0200"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-03-28T23:30", ["03-29 04:00+0200", "03-29 06:00+0200"]),
        # the hour from 02:00 to 03:00 comes twice
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("59 2 * * *", "Europe/Berlin", "2026-10-25T00:59", ["10-26 02:59+0100"]),
        ("* 2 * * *", "Europe/Berlin", "2026-10-25T00:58", ["10-25 02:59+0200", "10-26 02:00+0100"]),
        ("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 03:00+0100", "10-26 03:00+0100"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T00:00",
         ["10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-10-24T23:30", ["10-25 02:00+0200", "10-25 02:00+0100"]),
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:30-0400"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30-0400", "11-02 01:30-0500"]),
        # half an hour is left out, and comes twice
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:30+1100", "10-05 02:15+1100"]),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:45+1100", "10-05 02:45+1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["04-05 01:45+1100", "04-06 01:45+1030"]),
        ("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00",
         ["04-05 01:45+1100", "04-05 01:45+1030", "04-05 02:45+1030"]),
        # midnight is left out, and comes twice; so a day ends twice
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", ["11-04 01:00-0200", "11-05 00:00-0200"]),
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00", ["02-17 23:30-0200", "02-18 23:30-0300"]),
        ("30 * 17 2 *", "America/Sao_Paulo", "2018-02-18T01:00", ["02-17 23:30-0200", "02-17 23:30-0300"]),
        # a whole day is left out
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00",
         ["12-29 09:00-1000", "12-31 00:00+1400", "12-31 09:00+1400"]),
        # the day before is shorter, or longer, than it looks
        ("30 * 30 3 *", "Europe/Berlin", "2026-03-28T23:30", ["03-30 00:30+0200", "03-30 01:30+0200"]),
        ("30 * 26 10 *", "Europe/Berlin", "2026-10-24T22:30", ["10-26 00:30+0100", "10-26 01:30+0100"]),
        ("30 8 * * *", "Asia/Kolkata", "2026-06-01T00:00", ["06-01 08:30+0530"]),
        # days that are rare
        ("0 0 29 2 *", "UTC", "2024-02-29T00:00", ["02-29 00:00+0000"]),
        ("0 0 31 * *", "UTC", "2026-01-31T00:00", ["03-31 00:00+0000", "05-31 00:00+0000"]),
        ("59 23 31 12 *", "Asia/Kolkata", "2026-01-01T00:00", ["12-31 23:59+0530"]),
        ("0 0 13 * fri", "UTC", "2026-02-10T00:00", ["02-13 00:00+0000", "02-20 00:00+0000"]),
    ],
)  # fmt: skip
def test_entries_come_when_the_language_says(entry: str, zone: str, after: str, expected: list[str]):
    assert times(entry, zone, after, len(expected)) == expected


def test_the_next_time_is_strictly_later():
    cron = parse_cron("0 9 * * *")
    for zone, nine in (("UTC", "2026-06-01T09:00"), ("Europe/Berlin", "2026-06-01T07:00")):
        at = utc(nine)
        assert next_after(cron, ZoneInfo(zone), at - timedelta(microseconds=1)) == at
        assert next_after(cron, ZoneInfo(zone), at) == at + timedelta(days=1)
        assert next_after(cron, ZoneInfo(zone), at + timedelta(seconds=30)) == at + timedelta(days=1)


def test_rare_days_are_found_and_the_end_of_the_calendar_is_none():
    assert next_after(parse_cron("0 0 29 2 *"), ZoneInfo("UTC"), utc("2096-03-01")) == utc("2104-02-29")
    for entry in ("0 0 1 1 *", "0 * 1 1 *", "0 0 * * *", "* * * * *"):
        assert next_after(parse_cron(entry), ZoneInfo("Asia/Kolkata"), utc("9999-12-31T12:00")) is None


@pytest.mark.parametrize(("zone", "changes"), CHANGES_OF.items())
@pytest.mark.parametrize("entry", ["17 * * * *", "*/20 0-4 * * *", "30 */3 * * *"])
def test_two_days_around_a_change_are_as_the_walker_has_them(entry: str, zone: str, changes: list[str]):
    for change in changes:
        after, until = utc(change) - timedelta(hours=20), utc(change) + timedelta(hours=20)
        assert between(entry, zone, after, until) == walk(entry, zone, after, until)


def part(least: int, most: int) -> st.SearchStrategy[str]:
    value = st.integers(least, most)
    step = st.integers(1, most)
    span = st.tuples(value, value).map(sorted)
    return st.one_of(
        value.map(str),
        step.map("*/{}".format),
        st.tuples(value, step).map(lambda each: "{}/{}".format(*each)),
        span.map(lambda each: "{}-{}".format(*each)),
        st.tuples(span, step).map(lambda each: "{}-{}/{}".format(*each[0], each[1])),
    )


def field(least: int, most: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), st.lists(part(least, most), min_size=1, max_size=3).map(",".join))


def hours() -> st.SearchStrategy[str]:
    """The walker looks at the first character, as crontab does; the product at every part of a list."""
    fixed = st.lists(st.integers(0, 23).map(str), min_size=1, max_size=4).map(",".join)
    return st.one_of(fixed, part(0, 23), st.just("*"), st.just("0-4"))


entries = st.tuples(
    field(0, 59),
    hours(),
    st.one_of(st.just("*"), field(1, 28)),
    st.just("*"),
    st.one_of(st.just("*"), field(0, 6)),
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(
    entry=entries,
    around=st.sampled_from(AROUND),
    before=st.integers(0, 24 * 3600),
)
def test_any_entry_around_any_change_is_as_the_walker_has_it(
    entry: str, around: tuple[str, str], before: int
):
    zone, change = around
    after = utc(change) - timedelta(seconds=before)
    until = after + timedelta(hours=26)
    assert between(entry, zone, after, until) == walk(entry, zone, after, until)


@settings(max_examples=100, deadline=None)
@given(
    entry=st.tuples(
        field(0, 59), hours(), field(1, 28), field(1, 12), st.one_of(st.just("*"), field(0, 6))
    ).map(" ".join),
    zone=st.sampled_from(ZONES),
    days=st.integers(0, 40_000),
    seconds=st.integers(0, 86_399),
)
def test_nothing_lies_between_an_instant_and_the_next_time(entry: str, zone: str, days: int, seconds: int):
    after = datetime(1975, 1, 1, tzinfo=UTC) + timedelta(days=days, seconds=seconds)
    cron = parse_cron(entry)
    found = next_after(cron, ZoneInfo(zone), after)
    assert found is not None
    assert found > after
    # the walker agrees about the last day and a half before it, and that it is one
    begin = max(after, found - timedelta(hours=36))
    assert walk(entry, zone, begin, found) == [found]
