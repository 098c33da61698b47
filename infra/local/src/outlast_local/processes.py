"""One supervised process: how it is prepared, started, known to be ready, stopped and cleaned up after."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

Ready = Callable[[], bool]


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Account:
    """The operating system's user that a process runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What the supervisor needs to know of one process.

    `prepare` runs before every start and leaves the ground clean: it makes the data if there is none, and
    ends what the last run left behind. `ready` answers within about a second. Both may block; neither runs on
    the event loop.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Ready
    prepare: Callable[[], None] = _nothing
    account: Account | None = None
    folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 15.0
    health_port: int | None = None
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """A process beyond doubt: a number is given again, number and birth together are not."""

    pid: int
    born: float

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process that has this number now."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.born) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def end_group(identity: Identity, grace_seconds: float = 0.0) -> None:
    """End a process that leads its own group, and all its descendants: asked first if there is a grace, then
    killed.

    Descendants in sessions of their own (Postgres gives each backend one) are found as children, not by the
    group.
    """
    if not identity.is_alive():
        return
    try:
        leader = psutil.Process(identity.pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return
    if grace_seconds:
        with contextlib.suppress(psutil.Error):
            leader.terminate()
        psutil.wait_procs([leader], timeout=grace_seconds)
    if os.getpgrp() != identity.pid:
        with contextlib.suppress(OSError):
            os.killpg(identity.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()  # psutil compares the time of birth first
    psutil.wait_procs(family, timeout=10)
