"""Time as a parameter: shells are given a clock, pure code is given instants."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time. Wall time for records, monotonic seconds for waiting."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        import time

        return time.monotonic()


def from_milliseconds(milliseconds: int) -> datetime:
    """A broker timestamp (milliseconds since 1970) as a UTC instant."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
