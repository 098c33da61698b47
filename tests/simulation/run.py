"""One seed, from its first event to rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from outlast import limits
from outlast.testing.faults import Rates
from outlast.testing.invariants import Violation
from outlast_signal_delivery import agenda
from tests.simulation.invariants import ReplayCheck, check_invariants
from tests.simulation.poison import gate_poisons, poisons
from tests.simulation.schedules import STRETCHES
from tests.simulation.system import Parts, System
from tests.stores import memory_signals

WAVES = 6
WAVE_EVENTS_MAX = 40
WAVE_STEPS_MAX = 250


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed."""

    system: System
    violations: list[Violation]

    @property
    def executions(self) -> int:
        """How many there were."""
        return len(self.system.dispatch.dispatches)

    def explain(self) -> str:
        """The violations, the end of the trace, and how to see it again."""
        lines = [str(each) for each in self.violations]
        lines += ["", "the last of the trace:", *list(self.system.world.trace)[-60:], ""]
        lines.append(
            f"again: SEED={self.system.world.seed} .venv/bin/pytest -p no:randomly tests/simulation -k whatever"
        )
        return "\n".join(lines)


SMALL: dict[tuple[ModuleType, str], int] = {
    (limits, "OPEN_PAGE_MAX"): 2,
    (limits, "RECORDED_IDS_MAX"): 5,
    (limits, "UNFINISHED_MAX"): 12,
    (limits, "TIMERS_HELD_MAX"): 6,
    (limits, "TIMERS_FIRED_MAX"): 4,
    (limits, "CRON_FIRED_MAX"): 5,
    (limits, "CRON_FIRED_OF_ONE_MAX"): 3,
    (limits, "CRON_SETTLED_MAX"): 2,
    (agenda, "DUE_MAX"): 3,
    (memory_signals, "KEPT_FOR_A_WAIT_MAX"): 2,
}
"""Limits of the product that are made small, so that a world of a hundred runs comes up against them."""


@contextmanager
def small_limits() -> Iterator[None]:
    """While a world runs."""
    before = {at: getattr(*at) for at in SMALL}
    for (module, name), value in SMALL.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def simulate(seed: int, rates: Rates | None = None, parts: Parts | None = None) -> Outcome:
    """Waves of events and poison among faults, then a drain, then the invariants."""
    with small_limits():
        return _simulate(System(seed, rates, parts))


def _simulate(system: System) -> Outcome:
    world = system.world
    world.after_turn = ReplayCheck(system)
    bad = poisons() + (gate_poisons() if system.setting.has_guards else [])
    for _ in range(WAVES):
        system.send_events(world.random.randint(5, WAVE_EVENTS_MAX))
        if world.random.random() < 0.5:
            system.send_poison(world.random.choice(bad))
        _run(system, world.random.randint(30, WAVE_STEPS_MAX))
    is_at_rest = system.drain()
    return Outcome(system, check_invariants(system, is_at_rest))


def _run(system: System, steps: int) -> None:
    """So many steps; where something runs by the clock, minutes pass between some of them."""
    if not system.setting.has_schedules:
        system.world.run(steps)
        return
    for _ in range(STRETCHES):
        system.world.run(steps // STRETCHES)
        system.clockwork.leap()
