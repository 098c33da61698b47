"""The cron language: what is read, what is refused and with which sentence."""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from outlast.runbooks.cron import Cron, parse_cron
from outlast.runbooks.cron_times import next_after

EVERY = tuple(range(60))


def days(cron: Cron) -> list[int]:
    return sorted(cron.days)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("*", EVERY),
        ("5", (5,)),
        ("05", (5,)),
        ("1,2,40", (1, 2, 40)),
        ("40,1,1", (1, 40)),
        ("10-13", (10, 11, 12, 13)),
        ("*/15", (0, 15, 30, 45)),
        ("5/15", (5, 20, 35, 50)),
        ("10-30/10", (10, 20, 30)),
        ("10-29/10", (10, 20)),
        ("58-1", (0, 1, 58, 59)),
        ("1-2,*/30", (0, 1, 2, 30)),
    ],
)
def test_values_ranges_steps_and_lists_are_read(field: str, values: tuple[int, ...]):
    assert parse_cron(f"{field} * * * *").minutes == values


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("mon-fri", {1, 2, 3, 4, 5}),
        ("MON,Wed", {1, 3}),
        ("fri-sun", {5, 6, 0}),
        ("5-7", {5, 6, 0}),
        ("7", {0}),
        ("7-2", {0, 1, 2}),
        ("sat-mon", {6, 0, 1}),
        ("0-7", {0, 1, 2, 3, 4, 5, 6}),
        ("7-7", {0}),
        ("1/2", {1, 3, 5}),
        ("sun/3", {0, 3, 6}),
    ],
)
def test_weekdays_have_names_and_sunday_is_0_and_7(field: str, values: set[int]):
    assert parse_cron(f"0 0 * * {field}").weekdays == values


def test_months_have_names_and_ranges_go_past_the_end():
    assert parse_cron("0 0 1 nov-feb *").months == {11, 12, 1, 2}
    assert parse_cron("0 0 1 Jan,JUL *").months == {1, 7}
    assert parse_cron("0 22-2/2 * * *").hours == (0, 2, 22)
    assert days(parse_cron("0 0 30-2 * *")) == [1, 2, 30, 31]


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
    ],
)
def test_five_words_stand_for_entries(word: str, same: str):
    cron, written = parse_cron(word), parse_cron(same)
    assert cron.text == word
    start = datetime(2026, 3, 1, tzinfo=UTC)
    assert next_after(cron, ZoneInfo("UTC"), start) == next_after(written, ZoneInfo("UTC"), start)


@pytest.mark.parametrize(
    ("hours", "is_elapsed"),
    [("*", True), ("*/2", True), ("1,*/6", True), ("0-23", False), ("9", False), ("0/2", False)],
)
def test_a_wildcard_among_the_hours_means_elapsed_time(hours: str, is_elapsed: bool):
    assert parse_cron(f"0 {hours} * * *").is_elapsed == is_elapsed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected five fields, minute hour"),
        ("* * * *", "got 4"),
        ("0 0 9 * * mon", "got 6; leave out the seconds"),
        ("60 * * * *", "minute: expected 0 to 59, got 60"),
        ("* 24 * * *", "hour: expected 0 to 23, got 24"),
        ("* * 0 * *", "day of the month: expected 1 to 31, got 0"),
        ("* * * 13 *", "month: expected 1 to 12, got 13"),
        ("* * * * 8", "weekday: expected 0 to 7, got 8"),
        ("*/0 * * * *", "minute: expected a step from 1 to 59, got 0"),
        ("*/90 * * * *", "minute: expected a step from 1 to 59, got 90"),
        ("* * L * *", "L is not part of this language: name a day"),
        ("* * L-3 * *", "L is not part of this language"),
        ("* * * * 5L", "L is not part of this language"),
        ("* * * * friL", "L is not part of this language"),
        ("* * LW * *", "L is not part of this language"),
        ("* * 15W * *", "W is not part of this language"),
        ("* * * * mon#2", "# is not part of this language"),
        ("* * ? * *", "? is not part of this language: write *"),
        ("H * * * *", "H is not part of this language"),
        ("H/15 * * * *", "H is not part of this language"),
        ("H(0-29)/10 * * * *", "H is not part of this language"),
        ("* * * * mno", 'weekday: unknown name "mno"; did you mean "mon"?'),
        ("* * * jnu *", 'month: unknown name "jnu"'),
        ("* * * * jul", 'weekday: unknown name "jul"'),
        ("mon * * * *", "minute: expected *, a value"),
        ("1-2-3 * * * *", "minute: expected *, a value"),
        ("1,,2 * * * *", "minute: expected *, a value"),
        (", * * * *", "minute: expected *, a value"),
        ("*-5 * * * *", "minute: expected *, a value"),
        ("+5 * * * *", "minute: expected *, a value"),
        ("٥ * * * *", "minute: expected *, a value"),
        ("1.5 * * * *", "minute: expected *, a value"),
        ("@dayly", 'unknown word "@dayly"; did you mean "@daily"?'),
        ("@reboot", 'unknown word "@reboot"'),
        ("0 0 30 2 *", "expected days that come, but no such month has a day 30"),
        ("0 0 31 apr,jun,sep,nov *", "no such month has a day 31"),
        ("0 0 31 4 */2", "no such month has a day 31"),
        ("0 " * 200, "expected at most 200 characters"),
    ],
)
def test_what_is_no_entry_is_refused_with_what_to_write_instead(text: str, said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_cron(text)


def test_two_restricted_day_fields_mean_either_and_a_star_in_one_means_both():
    either = parse_cron("0 0 13 * fri")
    assert [either.on(date(2026, 2, day)) for day in (6, 12, 13)] == [True, False, True]
    both = parse_cron("0 0 */2 * mon")
    assert [both.on(date(2026, 6, day)) for day in (1, 3, 8, 15)] == [True, False, False, True]
    # 30 February never comes, and every Monday of February does
    assert parse_cron("0 0 30 2 mon").on(date(2026, 2, 2))


def test_white_space_is_no_part_of_an_entry():
    assert parse_cron("  0\t9 * *   mon-fri ").text == "0 9 * * mon-fri"
