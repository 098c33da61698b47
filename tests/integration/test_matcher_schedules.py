"""Schedules in the matcher, in memory and in Postgres: a firing is for one rule, once, and not beside its last run."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.integration.matcher_world import EVENTS, Make, Matcher, Said, matchers

from outlast.contracts import topics
from outlast.contracts.domain_events import TIMER_SCHEDULER
from outlast.contracts.messages import Finished, Start, Withheld
from outlast.contracts.topics import Claim, TopicPartition
from outlast.errors import ContractError
from outlast.messaging import cloudevents
from outlast.messaging.cloudevents import CloudEvent
from outlast.messaging.ports import Outgoing, Received
from outlast_timer_scheduler.core.firings import Fired, message
from outlast_trigger_matcher import inbound
from outlast_trigger_matcher.definitions import Producers

FIRINGS = TopicPartition(topics.SCHEDULE_FIRED, 0)
BEGIN = datetime.fromisoformat("2026-01-05T09:00:00+00:00")
HOURLY = {"event": "schedule", "cron": "0 * * * *"}


@pytest.fixture(params=["memory", "postgres"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    async with matchers(request.param, lambda: request.getfixturevalue("postgres")) as made:
        yield made


async def scheduled(make: Make, *rules: dict[str, Any], **more: object) -> Matcher:
    """A matcher that reads firings, and knows a runbook with these rules."""
    matcher = await make()
    matcher.define(rules=list(rules or [HOURLY]), **more)
    (owned,) = await matcher.intake_fence.acquire([Claim(FIRINGS, "id")])
    matcher._owned[FIRINGS] = (owned.epoch, owned.next_offset)
    return matcher


def firing(
    hours: int = 0, rule: int = 0, cron: str = "0 * * * *", runbook: str = "rb", company: str = "acme"
) -> Outgoing:
    """As the timer scheduler says it."""
    at = BEGIN + timedelta(hours=hours)
    return message(Fired(company, runbook, rule, at, cron, "UTC", False, at))


async def fire(matcher: Matcher, *firings: Outgoing) -> Said:
    return await matcher._turn(
        matcher.intake_work, [matcher._received(FIRINGS, each.value or b"", each.headers) for each in firings]
    )


async def test_a_firing_starts_its_runbook_with_the_instant_as_now(make: Make):
    matcher = await scheduled(make)
    (start,) = (await fire(matcher, firing())).of(Start)
    assert (start.runbook.id, start.event.type, start.event.source) == ("rb", "schedule", TIMER_SCHEDULER)
    assert start.event.time == BEGIN
    assert start.event.subject == "runbooks/rb/rules/0"
    payload = msgspec.json.decode(start.payload)
    assert payload["company"] == {"id": "acme"}
    assert payload["event"]["data"] == {
        "scheduled_at": "2026-01-05T09:00:00Z", "cron": "0 * * * *", "timezone": "UTC", "runbook_id": "rb",
        "rule": 0, "is_catch_up": False,
    }  # fmt: skip


async def test_a_firing_that_comes_twice_is_one_event(make: Make):
    matcher = await scheduled(make, HOURLY | {"overlap": "allow"})
    assert len((await fire(matcher, firing(), firing())).of(Start)) == 1
    assert len(await fire(matcher, firing())) == 0


async def test_a_firing_can_match_the_rule_that_it_names_and_no_other(make: Make):
    daily = {"event": "schedule", "cron": "0 9 * * *"}
    matcher = await scheduled(make, {"event": "finding_created"}, daily)
    matcher.define("other", rules=[daily])
    matcher.define("rb", company="globex", rules=[{"event": "finding_created"}, daily])
    (start,) = (await fire(matcher, firing(rule=1, cron="0 9 * * *"))).of(Start)
    assert (start.company_id, start.runbook.id) == ("acme", "rb")
    assert len(await fire(matcher, firing(1, rule=0, cron="0 9 * * *"), firing(2, rule=7))) == 0
    assert len(await fire(matcher, firing(3, runbook="unknown"))) == 0
    assert [start.runbook.id for start in (await matcher.events("e1")).of(Start)] == ["rb"]


async def test_a_firing_of_a_schedule_that_was_edited_meanwhile_starts_nothing(make: Make):
    matcher = await scheduled(make)
    assert len(await fire(matcher, firing(cron="5 * * * *"))) == 0
    matcher.define(rules=[HOURLY | {"timezone": "Europe/Berlin"}])
    assert len(await fire(matcher, firing())) == 0


async def test_a_firing_is_subject_to_its_condition_and_to_the_runbook_being_active(make: Make):
    eight = {"field": "event.data.scheduled_at", "op": "lt", "value": "2026-01-05T09:30:00Z"}
    matcher = await scheduled(make, HOURLY | {"condition": eight, "overlap": "allow"})
    assert len((await fire(matcher, firing(0), firing(1))).of(Start)) == 1
    matcher.define(rules=[HOURLY], is_active=False)
    assert len(await fire(matcher, firing(2))) == 0
    matcher.define(rules=[HOURLY])
    matcher.trip()
    assert (await fire(matcher, firing(3))).of(Start) == []


async def test_a_firing_is_skipped_while_the_last_run_of_its_rule_has_not_ended(make: Make):
    matcher = await scheduled(make, HOURLY, HOURLY)
    (first,) = (await fire(matcher, firing(0))).of(Start)
    (word,) = (await fire(matcher, firing(1))).of(Withheld)
    assert (word.status, word.reason) == ("skipped", "overlap")
    assert len((await fire(matcher, firing(1, rule=1))).of(Start)) == 1  # another rule of the runbook
    await matcher.comes_to(Finished, first.execution_id)
    await matcher.records(first.execution_id)
    assert len((await fire(matcher, firing(2))).of(Start)) == 1


async def test_of_several_firings_at_once_the_first_starts_unless_they_may_overlap(make: Make):
    matcher = await scheduled(make, HOURLY, HOURLY | {"catch_up": {"policy": "all"}})
    said = await fire(matcher, *(firing(hours, rule) for rule in (0, 1) for hours in (0, 1, 2)))
    assert [start.event.subject[-1] for start in said.of(Start)] == ["0", "1", "1", "1"]
    assert [word.reason for word in said.of(Withheld)] == ["overlap", "overlap"]


async def test_a_firing_that_is_said_again_beside_the_next_one_is_no_run_that_it_overlaps(make: Make):
    """As after the loss of the broker's data, when the last day is said once more."""
    matcher = await scheduled(make)
    (first,) = (await fire(matcher, firing(0))).of(Start)
    await matcher.comes_to(Finished, first.execution_id)
    await matcher.records(first.execution_id)
    said = await fire(matcher, firing(0), firing(1), firing(2))
    assert [start.event.time.hour for start in said.of(Start)] == [10]
    assert [word.reason for word in said.of(Withheld)] == ["overlap"]


def received(topic: str, **changed: Any) -> Received:
    """An event that pretends to be of the timer scheduler, or not quite."""
    outgoing = firing()
    event = cloudevents.parse(Received(topic, 0, 0, 0, b"k", outgoing.value, outgoing.headers))
    fields = {name: getattr(event, name) for name in event.__struct_fields__} | changed
    headers, value = cloudevents.to_structured(CloudEvent(**fields))
    return Received(topic, 0, 0, 0, b"k", value, headers)


@pytest.mark.parametrize(
    ("topic", "changed", "path", "said"),
    [
        (EVENTS.topic, {}, "source", "not the timer scheduler's"),
        (EVENTS.topic, {"source": "scanner"}, "type", "schedule is synthesized by the timer scheduler"),
        (
            topics.SCHEDULE_FIRED,
            {"source": "scanner"},
            "type",
            "expected schedule from outlast/timer_scheduler",
        ),
        (topics.SCHEDULE_FIRED, {"type": "finding_created"}, "type", "got 'finding_created'"),
        (topics.SCHEDULE_FIRED, {"subject": "runbooks/other/rules/0"}, "subject", "the rule that data names"),
        (topics.SCHEDULE_FIRED, {"data": Raw(b"{}")}, "data", "scheduled_at"),
    ],
)
def test_nobody_else_speaks_of_schedules_and_the_timer_scheduler_of_nothing_else(
    topic: str, changed: dict[str, Any], path: str, said: str
):
    producers = Producers(frozenset({EVENTS.topic, topics.SCHEDULE_FIRED}))
    assert inbound.read(received(topics.SCHEDULE_FIRED), producers).scheduled is not None
    with pytest.raises(ContractError, match=said) as refused:
        inbound.read(received(topic, **changed), producers)
    assert refused.value.path == path
