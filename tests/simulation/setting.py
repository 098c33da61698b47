"""What kind of world a seed is: what runs there, in which mode, under which limits."""

from dataclasses import dataclass
from random import Random

from outlast_trigger_matcher.engines import Mode

UNLIMITED = 1_000_000
WATCHED_SHARE = 0.4
SCHEDULED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Setting:
    """Chosen once for a world."""

    has_guards: bool = False
    """Guarded and inline runbooks, chains, people who order things."""
    mode: Mode = "workflow"
    company_runs_max: int = UNLIMITED
    may_degrade: bool = False
    """Engines say for a while that they cannot take runs."""
    has_schedules: bool = False
    """Runbooks that run by the clock, which takes long steps now and then."""

    has_watchdog: bool = False
    """Runs that are silent for a while are asked about."""

    @property
    def has_waits(self) -> bool:
        """Whether runs await signals. Not where doubles are compared: a signal makes another run of them."""
        return self.mode == "workflow"


PLAIN = Setting()
GUARDED = Setting(has_guards=True)
SHADOW = Setting(has_guards=True, mode="shadow")
INLINE = Setting(has_guards=True, mode="inline")
WATCHED = Setting(has_guards=True, mode="inline", has_watchdog=True)
SCHEDULED = Setting(has_schedules=True)


def setting_of(seed: int) -> Setting:
    """Half of the worlds have guards; a few of these run everything twice, or allow few runs at a time."""
    random = Random(f"setting of {seed}")
    if random.random() < 0.4:
        return SCHEDULED if random.random() < SCHEDULED_SHARE else PLAIN
    return Setting(
        has_guards=True,
        mode=random.choice(("workflow", "workflow", "workflow", "shadow", "inline")),
        company_runs_max=random.choice((*[UNLIMITED] * 6, 12)),
        may_degrade=random.random() < 0.4,
        has_schedules=random.random() < SCHEDULED_SHARE,
        has_watchdog=random.random() < WATCHED_SHARE,
    )
