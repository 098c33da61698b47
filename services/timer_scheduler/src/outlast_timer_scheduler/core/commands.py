"""What a batch of commands comes to: which timers are new, which are gone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

from outlast.contracts.messages import StartTimer, TimerCommand
from outlast_timer_scheduler.core.due import Timer

Key = tuple[str, str]
"""Execution and timer."""


@dataclass(slots=True)
class Changes:
    """Rows to write: first the ended ones go, then the started ones come."""

    cancelled: dict[Key, None] = field(default_factory=dict[Key, None])
    """Cancelled."""
    started: dict[Key, tuple[int, Timer]] = field(default_factory=dict[Key, tuple[int, Timer]])
    """With the partition whose owner fires them."""
    fired: Sequence[Timer] = ()
    """Said to be due, and acknowledged."""

    @property
    def ended(self) -> list[Key]:
        """Keys of rows to delete, in their order, so that two writers lock rows in the same one."""
        return sorted({*self.cancelled, *(timer.key for timer in self.fired)})

    def apply(self, command: TimerCommand, partition: int, traceparent: str) -> None:
        """One more command. The first start of a timer counts, until it is cancelled."""
        key = (command.execution_id, command.timer_id)
        if isinstance(command, StartTimer):
            timer = Timer(command.fire_at.astimezone(UTC), *key, traceparent)
            self.started.setdefault(key, (partition, timer))
        else:
            self.started.pop(key, None)
            self.cancelled[key] = None
