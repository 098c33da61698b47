"""`outlast cron next`: the times as the timer scheduler has them, one a line, and JSON lines that stay."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from outlast_cli.main import outlast


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(outlast, ["cron", "next", *arguments], input=text)


def test_times_are_printed_one_a_line_with_the_zones_offset():
    done = run("30 2 * * *", "--zone", "Europe/Berlin", "--from", "2026-03-28T12:00:00Z", "--count", "2")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_without_more_it_is_five_times_from_now_on_in_utc():
    done = run("* * * * *", "--json")
    times = json.loads(done.stdout)["times"]
    assert len(times) == 5
    assert all(each.endswith(":00+00:00") for each in times)


def test_a_time_is_strictly_after_the_one_that_is_given():
    done = run("0 9 * * *", "--tz", "Asia/Kolkata", "--from", "2026-01-05T09:00:00+05:30", "--count", "1")
    assert done.stdout == "2026-01-06T09:00:00+05:30\n"


@pytest.mark.parametrize(
    ("arguments", "path", "said"),
    [
        (["0 0 30 2 *"], "expr", "expected days that come"),
        (["* * L * *"], "expr", "L is not part of this language"),
        (["@daily", "--zone", "Europe/Berln"], "tz", "expected a time zone"),
        (["@daily", "--from", "2026-01-05T09:00:00"], "from", "expected an instant with its offset from UTC"),
        (["@daily", "--from", "0001-01-01T00:00:00+14:00"], "from", "within the years 1 to 9999"),
        (["@daily", "--count", "0"], "count", "expected a whole number from 1 to"),
    ],
)
def test_what_is_refused_is_named_with_what_to_write_instead(arguments: list[str], path: str, said: str):
    done = run(*arguments, "--json")
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert done.exit_code == 2
    assert (error["path"], said in error["message"]) == (path, True)
    assert error["next_step"]


@pytest.mark.parametrize("arguments", [[], ["0", "9", "*", "*", "*"], ["@daily", "--batch", "-"]])
def test_an_entry_is_one_argument_in_quotes(arguments: list[str]):
    assert run(*arguments).exit_code == 2


def test_a_batch_answers_every_line_in_its_order(tmp_path: Path):
    lines = [
        {
            "expr": "@hourly",
            "tz": "Europe/Berlin",
            "from": "2026-10-25T00:30:00Z",
            "count": 2,
            "id": "overlap",
        },
        {"expr": "60 * * * *", "id": "bad"},
        {"expr": "@daily", "form": "2026-10-25T00:30:00Z"},
        {"expr": "0 0 29 2 *", "from": "2097-01-01T00:00:00Z", "count": 1},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file = tmp_path / "cases.jsonl"
    file.write_text(text)
    for done in (run("--batch", "-", text=text), run("--batch", str(file))):
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.exit_code == 0
        assert answers[0] == {
            "id": "overlap",
            "times": ["2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        }
        assert (answers[1]["id"], answers[1]["error"]["path"]) == ("bad", "expr")
        assert answers[2]["error"]["path"] == ""
        assert "unknown member form" in answers[2]["error"]["message"]
        assert answers[3] == {"times": ["2104-02-29T00:00:00+00:00"]}
    assert run("--batch", str(file) + ".none").exit_code == 2


def test_the_calendar_ends():
    done = run("@yearly", "--from", "9998-06-01T00:00:00Z")
    assert (done.exit_code, done.stdout) == (0, "9999-01-01T00:00:00+00:00\n")
