"""Schedules in definitions: read, refused with their place, and pinned."""

from datetime import timedelta
from typing import Any

import pytest

from outlast.runbooks.catalogue import Catalogue
from outlast.runbooks.definition import Rule
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.pinned import load_pinned, load_rules, pin, to_document
from outlast.runbooks.reading import parse_runbook

EVERYTHING = {
    "event": "schedule",
    "cron": "0 9 * * mon-fri",
    "timezone": "Europe/Berlin",
    "catch_up": {"window": "2h", "policy": "all"},
    "overlap": "skip",
    "jitter": "30s",
    "condition": {"field": "event.data.is_catch_up", "op": "eq", "value": False},
}


def document(*rules: Any) -> dict[str, Any]:
    return {"name": "nightly", "rules": list(rules), "actions": [{"type": "resolve_owner"}]}


def read(rule: Any) -> Rule:
    return parse_runbook(document(rule), Catalogue([])).rules[0]


def test_a_schedule_needs_no_more_than_a_cron_entry():
    schedule = read({"event": "schedule", "cron": "*/5 * * * *"}).schedule
    assert schedule is not None
    assert schedule.cron.text == "*/5 * * * *"
    assert (schedule.timezone, str(schedule.zone)) == ("UTC", "UTC")
    assert (schedule.catch_up_window, schedule.catch_up_policy) == (timedelta(hours=1), "last")
    assert (schedule.overlap, schedule.jitter) == ("skip", timedelta())


def test_all_of_a_schedule_is_read_pinned_and_exported():
    runbook = parse_runbook(document(EVERYTHING), Catalogue([]))
    schedule = runbook.rules[0].schedule
    assert schedule is not None
    assert (schedule.catch_up_window, schedule.catch_up_policy) == (timedelta(hours=2), "all")
    assert (schedule.overlap, schedule.jitter) == ("skip", timedelta(seconds=30))
    pinned = pin(runbook)
    for rule in (load_pinned(pinned).rules[0], load_rules(pinned).rules[0]):
        assert rule.schedule == schedule
        assert rule.condition is not None
    assert pin(load_pinned(pinned)) == pinned
    assert to_document(runbook)["rules"] == [EVERYTHING]


def test_what_is_made_up_for_one_by_one_may_overlap_unless_the_author_says_otherwise():
    rule = {"event": "schedule", "cron": "@daily", "catch_up": {"policy": "all"}}
    for said, overlap in (({}, "allow"), ({"overlap": "skip"}, "skip"), ({"overlap": "allow"}, "allow")):
        runbook = parse_runbook(document(rule | said), Catalogue([]))
        for each in (runbook, load_pinned(pin(runbook))):
            assert each.rules[0].schedule is not None
            assert each.rules[0].schedule.overlap == overlap


def test_what_is_as_by_default_is_no_part_of_the_version():
    said = {
        "event": "schedule", "cron": "0  9 * * *", "timezone": "UTC", "overlap": "skip", "jitter": "0s",
        "catch_up": {"window": "60m", "policy": "last"},
    }  # fmt: skip
    silent = {"event": "schedule", "cron": "0 9 * * *"}
    assert pin(parse_runbook(document(said), Catalogue([]))) == pin(
        parse_runbook(document(silent), Catalogue([]))
    )


@pytest.mark.parametrize(
    ("members", "path", "said"),
    [
        ({"cron": None}, "rules[0].cron", "expected cron, got none"),
        ({"cron": 5}, "rules[0].cron", "expected text, got a number"),
        ({"cron": "0 9 * *"}, "rules[0].cron", "expected five fields"),
        ({"cron": "0 0 30 2 *"}, "rules[0].cron", "expected days that come"),
        ({"cron": "0 " * 300}, "rules[0].cron", "expected at most 200 characters"),
        ({"timezone": "Europe/Berln"}, "rules[0].timezone", "expected a time zone"),
        ({"timezone": "../Berlin"}, "rules[0].timezone", "expected a time zone"),
        ({"timezone": "localtime"}, "rules[0].timezone", "name the place"),
        ({"timezone": None}, "rules[0].timezone", "expected text, got null"),
        ({"catch_up": "none"}, "rules[0].catch_up", "expected an object such as {policy: none}"),
        ({"catch_up": {"policy": "first"}}, "rules[0].catch_up.policy", "expected one of last, all, none"),
        ({"catch_up": {"window": "8d"}}, "rules[0].catch_up.window", "expected a duration from 1s"),
        ({"catch_up": {"windows": "1h"}}, "rules[0].catch_up.windows", 'did you mean "window"?'),
        ({"overlap": "queue"}, "rules[0].overlap", "expected one of skip, allow"),
        ({"jitter": "2h"}, "rules[0].jitter", "expected a duration from 0s to 3600s"),
        ({"jitter": 30}, "rules[0].jitter", 'expected a duration such as "30s"'),
        ({"croon": "* * * * *"}, "rules[0].croon", 'did you mean "cron"?'),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_with_its_place(members: dict[str, Any], path: str, said: str):
    with pytest.raises(DefinitionRefused) as refused:
        read({"event": "schedule", "cron": "0 9 * * *"} | members)
    assert [fault.path for fault in refused.value.faults] == [path]
    assert said in refused.value.faults[0].message


@pytest.mark.parametrize("key", ["cron", "timezone", "catch_up", "overlap", "jitter"])
def test_other_events_have_no_schedule(key: str):
    with pytest.raises(DefinitionRefused) as refused:
        read({"event": "finding_created", key: EVERYTHING[key]})
    assert [fault.path for fault in refused.value.faults] == [f"rules[0].{key}"]
    assert (
        refused.value.faults[0].message
        == f"expected {key} beside event: schedule, not beside event: finding_created"
    )
