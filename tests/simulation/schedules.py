"""Runbooks that run by the clock, in the first half hour of the world and then not for a year.

Beside each schedule stand its minutes and what becomes of those that were missed, in plain numbers that share no code
with cron entries or the scheduler. Some of the steps of such a world are long: over the minute, or over several.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from outlast.testing.world import BEGIN, World
from tests.simulation.workload import PlannedRunbook, planned

LAST_MINUTE = 29
JITTER_SECONDS_MAX = 40
OVER = BEGIN + timedelta(minutes=LAST_MINUTE, seconds=JITTER_SECONDS_MAX + 1)
"""All of it is due by then."""
STRETCHES = 4
"""Into so many parts a wave of events is cut, with a leap of the clock between them."""
WEEK_SECONDS = 7 * 24 * 3600
HOUR_SECONDS = 3600

RuleKey = tuple[str, str, int]
"""Company, runbook's id, and number of the rule."""


class Expected(NamedTuple):
    """What a rule's schedule promises."""

    minutes: range
    """Of the world's first hour."""
    policy: str
    window_seconds: int = HOUR_SECONDS
    may_overlap: bool = False
    jitter_seconds: int = 0

    @property
    def instants(self) -> list[datetime]:
        """All times of the schedule that a world sees. The one at which it begins is not after its beginning."""
        return [BEGIN + timedelta(minutes=each) for each in self.minutes if each]


class _Rule(NamedTuple):
    document: dict[str, object]
    expected: Expected


def _every(policy: str, window: str = "", **members: object) -> dict[str, object]:
    catch_up = {"policy": policy} | ({"window": window} if window else {})
    return {"event": "schedule", "catch_up": catch_up, **members}


_SAY: dict[str, object] = {"type": "say", "config": {"text": "{{ event.data.scheduled_at }}"}}
_SLOW = [_SAY, {"id": "nap", "type": "sleep", "config": {"duration": "70s"}}]
_RULES: dict[tuple[str, str], list[_Rule]] = {
    ("acme", "made-up"): [
        _Rule(
            _every("all", "7d", cron="0-29/2 0 5 1 *"),
            Expected(range(0, 30, 2), "all", WEEK_SECONDS, may_overlap=True),
        )
    ],
    ("acme", "strict"): [_Rule(_every("none", cron="0-29 0 5 1 *"), Expected(range(30), "none"))],
    ("acme", "latest"): [_Rule(_every("last", cron="0-29 0 5 1 *"), Expected(range(30), "last"))],
    ("zenith", "recent"): [
        _Rule(
            _every("all", "4m", cron="1-29/3 0 5 1 *", overlap="skip"),
            Expected(range(1, 30, 3), "all", 240),
        )
    ],
    ("zenith", "two"): [
        _Rule(
            _every("last", "2m", cron="3-29/5 0 5 1 *", jitter="40s", overlap="allow"),
            Expected(range(3, 30, 5), "last", 120, may_overlap=True, jitter_seconds=JITTER_SECONDS_MAX),
        ),
        _Rule(
            _every("last", cron="30-59/7 5 5 1 *", timezone="Asia/Kolkata"),
            Expected(range(0, 30, 7), "last"),
        ),
    ],
}
SLOW = ("latest", "recent")
"""Their runs are often under way when their next time comes."""
SCHEDULES: dict[RuleKey, Expected] = {
    (company, f"{company}-{name}", number): rule.expected
    for (company, name), rules in _RULES.items()
    for number, rule in enumerate(rules)
}


def runbooks() -> list[PlannedRunbook]:
    """Those of both companies; no event but their own fires them."""
    return [scheduled(company, name) for company, name in _RULES]


def scheduled(company: str, name: str, version: int = 1) -> PlannedRunbook:
    """The runbook; later versions say something else at the same times."""
    rules: Sequence[object] = [rule.document for rule in _RULES[company, name]]
    return planned(
        company,
        name,
        list(rules),
        _SLOW if name in SLOW else [_SAY],
        lambda _event: False,
        more={"description": f"version {version}"},
        version=version,
    )


class Clockwork:
    """Lets minutes pass: to just before one, just after, or over several, perhaps with nobody there."""

    def __init__(self, seed: int, world: World) -> None:
        self._random = Random(f"minutes of {seed}")
        self._world = world

    def leap(self) -> None:
        """Go on to some later minute."""
        random, clock = self._random, self._world.clock
        minute = clock.seconds // 60 + 1
        after = random.choice((random.uniform(-1.0, 3.0), random.uniform(10.0, 25.0)))
        if random.random() < 0.2:
            minute += random.randint(1, 4)
            if random.random() < 0.5:
                self._world.kill("timer_scheduler")
        clock.seconds = max(clock.seconds, minute * 60 + after)
