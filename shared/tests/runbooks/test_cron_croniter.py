"""Where the dialects agree, croniter reads an entry as we do; where they part is written down, so that we notice."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from outlast.runbooks.cron import Cron, parse_cron
from outlast.runbooks.cron_times import next_after

BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
NAMES = {
    3: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


@st.composite
def parts(draw: st.DrawFn, number: int) -> str:
    """A value, a name, a range that goes up, with or without a step, or a step alone."""
    least, most = BOUNDS[number]
    step = f"/{draw(st.integers(1, most))}" if draw(st.booleans()) else ""
    if draw(st.integers(0, 4)) == 0:
        return f"*{step or '/2'}"
    first = draw(st.integers(least, most))
    if number in NAMES and draw(st.booleans()):
        return NAMES[number][first - least]
    if first == most:
        return str(first)
    if draw(st.booleans()):
        return f"{first}{step}"
    return f"{first}-{draw(st.integers(first + 1, most))}{step}"


def fields(number: int) -> st.SearchStrategy[str]:
    return st.just("*") | st.lists(parts(number), min_size=1, max_size=3).map(",".join)


@st.composite
def entries(draw: st.DrawFn) -> str:
    """Not with a star before a step in a day field beside another day field: there croniter takes either day."""
    minute, hour, day, month, weekday = (draw(fields(number)) for number in range(5))
    if "*/" in day + weekday:
        day, weekday = draw(st.sampled_from([(day, "*"), ("*", weekday)]))
    return f"{minute} {hour} {day} {month} {weekday}"


def read(entry: str) -> Cron | None:
    try:
        return parse_cron(entry)
    except ValueError:
        return None


@given(entries())
def test_croniter_reads_the_same_values(entry: str):
    ours = read(entry)
    if ours is None:
        return
    expanded, _ = croniter.expand(entry)
    theirs = [
        set(range(least, most + 1)) if values == ["*"] else set(values)
        for values, (least, most) in zip(expanded, BOUNDS, strict=True)
    ]
    assert theirs == [set(ours.minutes), set(ours.hours), ours.days, ours.months, ours.weekdays]


@given(entries(), st.integers(0, 10 * 366 * 24 * 60))
def test_where_no_clock_is_changed_croniter_has_the_same_times(entry: str, minutes: int):
    ours, at = read(entry), datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    if ours is None:
        return
    theirs = croniter(entry, at, max_years_between_matches=50)
    for _ in range(3):
        following = next_after(ours, ZoneInfo("UTC"), at)
        assert following is not None
        if following - at > timedelta(days=40 * 366):
            return
        assert theirs.get_next(datetime) == following
        at = following


@pytest.mark.parametrize(
    ("field", "theirs", "ours"),
    [
        ("5-5", ["*"], (5,)),
        ("59/1", ["*"], (59,)),
        ("50-10/15", [6, 50], (5, 50)),
        ("*,5", ["*", 5], tuple(range(60))),
    ],
)
def test_what_croniter_misreads_is_why_it_is_not_our_parser(field: str, theirs: object, ours: object):
    assert croniter.expand(f"{field} * * * *")[0][0] == theirs
    assert parse_cron(f"{field} * * * *").minutes == ours


@pytest.mark.parametrize("entry", ["* * l * *", "* * * * mon#2", "* * ? * *", "0 0 9 * * 1", "0 0 30 2 *"])
def test_what_croniter_takes_and_we_refuse(entry: str):
    assert croniter.is_valid(entry)
    assert read(entry) is None
