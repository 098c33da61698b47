"""Schedules: when they begin, fire, are edited and end, and what becomes of the times when nothing ran."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from outlast import limits
from outlast.contracts import codec, topics
from outlast.contracts.messages import StartTimer
from outlast.messaging.ports import Outgoing
from outlast_timer_scheduler import metrics
from outlast_timer_scheduler.cron_store import CronChanges

from .cron_world import START, CronWorld, clock, every_minute
from .world import execution


class Death(BaseException):
    """The process ends here."""


def skipped() -> float:
    return next(iter(metrics.CRON_SKIPPED.collect())).samples[0].value


@pytest.fixture
async def world() -> CronWorld:
    made = CronWorld()
    await made.at(START, turns=8)  # partitions that are new are walked for what is to be said again
    return made


async def test_a_saved_schedule_fires_at_its_time_and_not_before(world: CronWorld):
    world.save(every_minute())
    assert await world.at(clock("08:00:59.999")) == []
    assert await world.at(clock("08:01:00")) == ["08:01"]
    assert await world.at(clock("08:01:59")) == ["08:01"]
    assert await world.at(clock("08:02:01")) == ["08:01", "08:02"]


async def test_a_firing_names_its_rule_its_instant_and_its_company(world: CronWorld):
    rule = {"event": "schedule", "cron": "5 9 * * mon", "timezone": "Europe/Berlin"}
    world.save({"event": "finding_created"}, rule, runbook="rb-1", company="globex")
    await world.at(clock("08:00:31"))
    await world.at(clock("08:05:00.2"))
    (event,) = world.events()
    assert event["id"] == "cron:rb-1:1:2026-01-05T08:05:00Z"
    assert (event["source"], event["type"]) == ("outlast/timer_scheduler", "schedule")
    assert (event["companyid"], event["subject"]) == ("globex", "runbooks/rb-1/rules/1")
    assert event["time"] == "2026-01-05T08:05:00Z"
    assert event["data"] == {
        "scheduled_at": "2026-01-05T08:05:00Z", "cron": "5 9 * * mon", "timezone": "Europe/Berlin",
        "runbook_id": "rb-1", "rule": 1, "is_catch_up": False,
    }  # fmt: skip
    (message,) = world.broker.messages(topics.SCHEDULE_FIRED)
    assert message.key == b"globex/rb-1"


async def test_the_loop_knows_when_to_wake(world: CronWorld):
    await world.at(START)
    assert world.work.due_seconds(world.loop.owned) is None
    world.save(every_minute())
    assert world.work.due_seconds(world.loop.owned) == 0  # to be compared with its rows
    await world.at(START)
    assert world.work.due_seconds(world.loop.owned) == 30
    world.go_to(clock("08:01:07"))
    assert world.work.due_seconds(world.loop.owned) == 0


async def test_a_schedule_begins_when_it_is_published_though_nothing_ran_then(world: CronWorld):
    world.save(every_minute(catch_up={"policy": "all"}))
    world.start()
    assert await world.at(clock("08:02:40")) == ["08:01+", "08:02+"]


async def test_nothing_is_decided_before_every_definition_is_known(world: CronWorld):
    world.save(every_minute())
    world.start(is_ready=False)
    assert await world.at(clock("08:01:00")) == []
    world.is_ready = True
    assert await world.at(clock("08:01:01")) == ["08:01"]


@pytest.mark.parametrize(
    ("catch_up", "expected", "passed_over"),
    [
        ({"policy": "last"}, ["08:01", "08:04+"], 2),
        ({"policy": "all"}, ["08:01", "08:02+", "08:03+", "08:04+"], 0),
        ({"policy": "none"}, ["08:01"], 3),
        ({"policy": "all", "window": "100s"}, ["08:01", "08:03+", "08:04+"], 1),
        ({"policy": "last", "window": "20s"}, ["08:01"], 3),
    ],
)
async def test_a_process_down_over_three_firings_makes_up_for_them_by_policy(
    world: CronWorld, catch_up: dict[str, Any], expected: list[str], passed_over: int
):
    before = skipped()
    world.save(every_minute(catch_up=catch_up))
    await world.at(START)
    await world.at(clock("08:01:00"))
    world.start()  # another process, three and a half minutes later
    assert await world.at(clock("08:04:30")) == expected
    assert skipped() - before == passed_over
    assert await world.at(clock("08:05:00")) == [*expected, "08:05"]


async def test_a_little_late_is_on_time_whatever_the_policy(world: CronWorld):
    world.save(every_minute(catch_up={"policy": "none"}))
    await world.at(START)
    world.start()
    assert await world.at(clock("08:01:15")) == ["08:01"]
    assert await world.at(clock("08:02:15.1")) == ["08:01"]


async def test_making_up_for_many_is_done_in_turns_oldest_first(world: CronWorld):
    world.save(every_minute(catch_up={"policy": "all", "window": "1d"}))
    await world.at(START)
    world.start()
    said = await world.at(clock("13:00:30"), turns=2)
    assert said[:2] == ["08:01+", "08:02+"]
    assert 100 <= len(said) < 300
    said = await world.at(clock("13:00:40"), turns=3)
    assert len(said) == len(set(said)) == 300


async def test_a_long_absence_is_passed_over_without_being_walked_through(world: CronWorld):
    world.save(every_minute(), {"event": "schedule", "cron": "0 9 1 6 *", "catch_up": {"window": "7d"}})
    await world.at(START)
    world.start()
    assert await world.at(START + timedelta(days=3650)) == ["08:00+"]


async def test_a_clock_set_back_fires_nothing_twice(world: CronWorld):
    world.save(every_minute())
    await world.at(START)
    assert await world.at(clock("08:01:00")) == ["08:01"]
    assert await world.at(clock("08:02:00")) == ["08:01", "08:02"]
    assert await world.at(clock("07:30:00")) == ["08:01", "08:02"]
    world.start()
    assert await world.at(clock("07:31:00")) == ["08:01", "08:02"]
    assert await world.at(clock("08:02:30")) == ["08:01", "08:02"]
    assert await world.at(clock("08:03:00")) == ["08:01", "08:02", "08:03"]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", ["03:00", "00:00"]),
        ("Europe/Berlin", "2026-10-25", ["02:30", "00:00"]),
        ("America/New_York", "2026-03-08", ["03:00", "00:00"]),
        ("America/New_York", "2026-11-01", ["02:30", "00:00"]),
        ("Asia/Kolkata", "2026-03-29", ["02:30", "00:00"]),
        ("Africa/Casablanca", "2026-03-22", ["03:00", "00:00"]),
        ("Pacific/Auckland", "2026-04-05", ["02:30", "00:00"]),
    ],
)
async def test_a_schedule_fires_once_on_a_day_when_clocks_are_changed(
    zone: str, day: str, expected: list[str]
):
    midnight = datetime.fromisoformat(f"{day}T00:01").replace(tzinfo=ZoneInfo(zone))
    world = CronWorld(midnight)
    await world.at(midnight, turns=8)
    world.save(every_minute(cron="30 2 * * *", timezone=zone), every_minute(cron="0 0 * * *", timezone=zone))
    for minutes in range(0, 25 * 60, 5):
        await world.at(midnight + timedelta(minutes=minutes), turns=2)
    fired = [datetime.fromisoformat(each["time"]).astimezone(ZoneInfo(zone)) for each in world.events()]
    assert [f"{each:%H:%M}" for each in fired][:2] == expected[: len(fired)]
    assert len(fired) == 2 - (fired[-1].hour != 0)


async def test_an_edit_of_the_schedule_begins_anew_and_another_edit_changes_nothing(world: CronWorld):
    world.save(every_minute(catch_up={"policy": "all"}))
    await world.at(START)
    await world.at(clock("08:01:00"))
    world.save({"event": "finding_created"}, every_minute(catch_up={"policy": "all"}))  # it is rule 1 now
    world.start()
    assert await world.at(clock("08:02:20")) == ["08:01", "08:02+"]
    assert world.events()[-1]["subject"] == "runbooks/rb/rules/1"
    world.save({"event": "schedule", "cron": "*/2 * * * *", "catch_up": {"policy": "all"}})
    assert await world.at(clock("08:03:30")) == ["08:01", "08:02+"]
    assert await world.at(clock("08:04:00")) == ["08:01", "08:02+", "08:04"]
    assert list(world.store.rows) == [("acme", "rb", 0)]


async def test_nothing_is_made_up_for_from_before_an_edit_of_the_schedule(world: CronWorld):
    world.save(every_minute(cron="0 12 * * *"))
    await world.at(START)
    world.go_to(clock("08:10:00"))
    world.save(every_minute(cron="5 8 * * *", catch_up={"policy": "all"}))
    assert await world.at(clock("08:10:30")) == []
    world.save(every_minute(cron="5 8 * * *", timezone="Africa/Abidjan", catch_up={"policy": "all"}))
    assert await world.at(clock("08:11:30")) == []


@pytest.mark.parametrize("members", [{"is_active": False}, {"is_deleted": True}])
async def test_an_inactive_or_deleted_runbook_fires_no_more_and_begins_anew_when_it_is_back(
    world: CronWorld, members: dict[str, Any]
):
    world.save(every_minute(catch_up={"policy": "all"}))
    await world.at(START)
    assert await world.at(clock("08:01:00")) == ["08:01"]
    world.save(every_minute(catch_up={"policy": "all"}), **members)
    assert await world.at(clock("08:04:00")) == ["08:01"]
    assert world.store.rows == {}
    world.save(every_minute(catch_up={"policy": "all"}))
    assert await world.at(clock("08:05:00")) == ["08:01", "08:05"]


async def test_an_older_record_of_a_runbook_changes_nothing(world: CronWorld):
    world.save(every_minute())
    old = world.records[("acme", "rb")]
    world.save(every_minute(cron="0 * * * *"))
    world.definitions.apply(old)
    await world.at(START)
    assert await world.at(clock("08:02:00")) == []


async def test_killed_between_saying_and_storing_it_says_the_same_event_again(world: CronWorld):
    world.save(every_minute())
    await world.at(START)

    def die(changes: CronChanges) -> None:
        raise Death

    world.store.before_commit = die
    with pytest.raises(Death):
        await world.at(clock("08:01:00"))
    world.store.before_commit = lambda _changes: None
    world.start()
    await world.at(clock("08:01:10"))
    assert [event["id"] for event in world.events()] == ["cron:rb:0:2026-01-05T08:01:00Z"] * 2
    assert world.events()[0] == world.events()[1]


async def test_jitter_is_bounded_always_the_same_and_another_for_each_rule(world: CronWorld):
    rules = [every_minute(cron="5 8 * * *", jitter="50s") for _ in range(20)]
    world.save(*rules)
    await world.at(START)
    for second in range(60):
        await world.at(clock("08:05:00") + timedelta(seconds=second), turns=2)
    messages = world.broker.messages(topics.SCHEDULE_FIRED)
    seconds = {(message.timestamp_ms // 1000) % 60 for message in messages}
    assert len(messages) == 20
    assert max(seconds) <= 50
    assert len(seconds) > 10
    assert {event["time"] for event in world.events()} == {"2026-01-05T08:05:00Z"}


async def test_two_processes_share_the_schedules_and_the_survivor_takes_over(world: CronWorld):
    for number in range(30):
        world.save(every_minute(), runbook=f"rb-{number}")
    await world.at(START)
    first = world.loop
    world.start("b")
    for _ in range(4):
        await world.loop.turn()
        await first.turn()
    world.go_to(clock("08:01:00"))
    for _ in range(3):
        await world.loop.turn()
    by_second = len(world.events())
    assert 0 < by_second < 30
    for _ in range(3):
        await first.turn()
    assert len({event["id"] for event in world.events()}) == len(world.events()) == 30


async def test_a_herd_of_timers_does_not_hold_up_a_schedule(world: CronWorld):
    world.save(every_minute())
    due = clock("08:01:00")
    for number in range(4 * limits.TIMERS_FIRED_MAX):
        command = StartTimer(execution_id=execution(number), timer_id="t", fire_at=due)
        world.broker.append(
            Outgoing(topics.TIMER_COMMANDS, codec.encode(command), execution(number).encode())
        )
    await world.at(START, turns=8)
    assert await world.at(due, turns=2) == ["08:01"]
    assert 0 < len(world.broker.messages(topics.ENGINE_INBOX)) < 4 * limits.TIMERS_FIRED_MAX


async def test_partitions_that_come_back_are_read_anew(world: CronWorld):
    for number in range(20):
        world.save(every_minute(), runbook=f"rb-{number}")
    await world.at(START)
    first = world.loop
    world.start("b")
    for _ in range(4):
        await world.loop.turn()
        await first.turn()
    await world.at(clock("08:01:00"))
    by_second = len(world.events())
    assert 0 < by_second < 20
    world.broker.end_session("timers", "b")
    for _ in range(4):
        await first.turn()
    assert len({event["id"] for event in world.events()}) == len(world.events()) == 20


async def test_after_the_loss_of_the_brokers_data_the_last_day_is_said_again(world: CronWorld):
    world.save(every_minute(cron="0 */6 * * *", catch_up={"policy": "none"}))
    await world.at(START)
    for hours in (4, 10, 16, 22, 28):
        await world.at(clock("08:00:00") + timedelta(hours=hours))
    assert world.said() == ["12:00", "18:00", "00:00", "06:00", "12:00"]
    world.broker.lose_everything()
    world.make_topics()
    world.start()
    said = await world.at(clock("13:00:00") + timedelta(days=1), turns=12)
    assert said == ["18:00", "00:00", "06:00", "12:00"]


async def test_definitions_that_cannot_be_read_hide_no_others(world: CronWorld):
    world.save(every_minute(), runbook="other")
    record = world.records[("acme", "other")]
    for value in (
        b"{",
        (record.value or b"").replace(b"* * * * *", b"* * * * 9").replace(b"other", b"third"),
    ):
        world.definitions.apply(type(record)(record.topic, 0, 9, record.timestamp_ms, b"k", value))
    await world.at(START)
    assert await world.at(clock("08:01:00")) == ["08:01"]
