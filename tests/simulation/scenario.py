"""A world in which only that goes wrong what a script says: for what chance would need thousands of seeds to do."""

from dataclasses import replace

from outlast.messaging.ports import Outgoing
from outlast.testing.faults import CALM
from outlast.testing.world import Process
from tests.simulation.invariants import check_invariants
from tests.simulation.run import small_limits
from tests.simulation.setting import PLAIN, Setting
from tests.simulation.system import Parts, System

FOR_EVER = float("inf")


class Scenario:
    """Calm but for what is asked of it. Rules broken at the end are those of the random worlds."""

    def __init__(self, parts: Parts | None = None, setting: Setting = PLAIN) -> None:
        plain = replace(parts or Parts(), setting=lambda _seed: setting)
        self.system = System(1, CALM, plain)
        self._lost, self._lost_on = b"", ""
        self.system.faults.copies = lambda message: 0 if self._is_lost(message) else 1
        self.system.faults.is_early = lambda _message: False

    def run(self, steps: int = 600) -> None:
        """So many steps of the world."""
        with small_limits():
            self.system.world.run(steps)

    def lose(self, kind: str, topic: str = "") -> None:
        """From now on every message of this type (to this topic) is lost on its way; its sender is told so."""
        self._lost, self._lost_on = f'"type":"{kind}"'.encode(), topic

    def lose_nothing(self) -> None:
        """What is sent arrives again."""
        self._lost = b""

    def _is_lost(self, message: Outgoing) -> bool:
        is_there = self._lost_on in ("", message.topic)
        return bool(self._lost) and is_there and self._lost in (message.value or b"")

    def stop(self, service: str) -> None:
        """Its processes stand still until everybody works to the end."""
        for process in self._processes(service):
            process.rests_until = FOR_EVER

    def go_on(self, service: str) -> None:
        """They go on."""
        for process in self._processes(service):
            process.rests_until = 0.0

    def kill(self, service: str) -> None:
        """Its processes die; others of their names begin where they were."""
        self.system.world.kill(service)

    def lose_topic(self, name: str) -> None:
        """It is empty and new; the others are as they were."""
        self.system.world.broker.delete_topic(name)
        self.system.world.broker.ensure_topic(name)

    def lose_broker(self) -> None:
        """All topics are empty and new."""
        self.system.world.lose_everything()

    def broken_rules(self) -> set[str]:
        """Everybody works to the end; what is broken then."""
        self.lose_nothing()
        with small_limits():
            is_at_rest = self.system.drain()
        return {violation.rule for violation in check_invariants(self.system, is_at_rest)}

    def _processes(self, service: str) -> list[Process]:
        return [each for each in self.system.world.processes if each.service == service]
