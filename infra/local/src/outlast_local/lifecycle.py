"""up, down, status: what people and programs ask for. The work is the supervisor's; here it is started and
awaited.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from outlast_local.layout import RunFolder, project_folder
from outlast_local.locks import exclusive, is_held
from outlast_local.postgres import end_leftovers
from outlast_local.processes import Identity, end_group
from outlast_local.services import system_secrets
from outlast_local.state import Condition, Phase, ProcessState, SystemState, read_state, write_state
from outlast_local.supervisor import tail
from outlast_local.system import run_folder

UP_TIMEOUT_SECONDS = 600.0
DOWN_TIMEOUT_SECONDS = 90.0
POLL_SECONDS = 0.05
DYING_SECONDS_MAX = 5.0


class UpFailedError(RuntimeError):
    """The system did not come up; the message names the process and shows the end of its log."""


@dataclass(frozen=True)
class Step:
    """One thing that happened while the system came up; `seconds` since the call."""

    name: str
    condition: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Running:
    """A system that is up."""

    kafka_bootstrap: str
    postgres_dsn: str
    urls: dict[str, str]
    logs: Path
    processes: dict[str, ProcessState] = field(default_factory=dict)
    admin_key: str = ""
    was_running: bool = False

    @property
    def platform_url(self) -> str:
        """Address of the platform's API; empty if only the servers run."""
        return self.urls.get("platform", "")

    @property
    def control_plane_url(self) -> str:
        """Address of the control plane's API; empty if only the servers run."""
        return self.urls.get("control_plane", "")


Progress = Callable[[Step], None]


def up(
    progress: Progress | None = None,
    *,
    servers_only: bool = False,
    run_dir: str | Path | None = None,
    owner_pid: int | None = None,
) -> Running:
    """Bring the system up, or find the one that runs; return when all of it is ready, else raise
    UpFailedError.

    A system of servers only is replaced by a whole one when one is asked for; its data stays. With
    `owner_pid` the system ends when that process does.
    """
    folder = run_folder(run_dir)
    folder.create()
    with exclusive(folder.command_lock):
        watch = _Watch(folder, progress)
        state = read_state(folder.state)
        if _is_supervised(folder):
            if servers_only or not state.servers_only:
                return _running(watch.until_up(None), folder, was_running=state.phase is Phase.READY)
            _stop(folder)
        _end_orphans(folder, state)
        with contextlib.suppress(FileNotFoundError):
            folder.state.unlink()
        supervisor = _spawn_supervisor(folder, servers_only=servers_only, owner_pid=owner_pid)
        return _running(watch.until_up(supervisor), folder, was_running=False)


def down(*, run_dir: str | Path | None = None) -> bool:
    """Stop everything in order and return when no process is left. Whether anything ran."""
    folder = run_folder(run_dir)
    if not folder.root.is_dir():
        return False
    with exclusive(folder.command_lock):
        state = read_state(folder.state)
        ran = _is_supervised(folder)
        if ran:
            _stop(folder)
            state = read_state(folder.state)
        orphans = _end_orphans(folder, state)
        if state.phase is not Phase.FAILED:
            write_state(folder.state, replace(state, phase=Phase.DOWN, supervisor=None))
        return ran or orphans > 0


def status(*, run_dir: str | Path | None = None) -> SystemState:
    """What runs now. A state file whose supervisor is dead counts as down."""
    folder = run_folder(run_dir)
    state = read_state(folder.state)
    if state.supervisor is not None and not _is_supervised(folder):
        return replace(state, phase=Phase.DOWN, supervisor=None)
    return state


def _is_supervised(folder: RunFolder) -> bool:
    """Whether a supervisor lives. A killed one's lock is free only when the last of its threads is gone."""
    deadline = time.monotonic() + DYING_SECONDS_MAX
    while is_held(folder.supervisor_lock):
        identity = read_state(folder.state).supervisor
        if identity is None or identity.is_alive() or time.monotonic() > deadline:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _running(state: SystemState, folder: RunFolder, *, was_running: bool) -> Running:
    return Running(
        kafka_bootstrap=state.kafka_bootstrap,
        postgres_dsn=state.postgres_dsn,
        urls=dict(state.urls),
        logs=folder.logs,
        processes=dict(state.processes),
        admin_key=system_secrets(folder)["OUTLAST_ADMIN_KEY"],
        was_running=was_running,
    )


def _spawn_supervisor(
    folder: RunFolder, *, servers_only: bool, owner_pid: int | None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "outlast_local", "supervise", "--run-dir", str(folder.root)]
    if servers_only:
        command.append("--servers-only")
    if owner_pid is not None:
        command += ["--owner-pid", str(owner_pid)]
    with open(folder.log_of("supervisor"), "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=project_folder(),
        )


def _stop(folder: RunFolder) -> None:
    identity = read_state(folder.state).supervisor
    deadline = time.monotonic() + DOWN_TIMEOUT_SECONDS
    asked = False
    while is_held(folder.supervisor_lock):
        identity = identity or read_state(folder.state).supervisor
        if not asked and identity is not None and identity.is_alive():
            os.kill(identity.pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            if identity is None:
                raise TimeoutError(
                    f"expected the supervisor of {folder.root} to stop, but it does not say who it is"
                )
            end_group(identity)
            return
        time.sleep(POLL_SECONDS)
    while identity is not None and identity.is_alive() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # the lock is free a moment before its holder is gone


def _end_orphans(folder: RunFolder, state: SystemState) -> int:
    """End what a killed supervisor left behind. How many processes lived."""
    alive = [p.identity for p in state.processes.values() if p.identity is not None and p.identity.is_alive()]
    for identity in alive:
        end_group(identity, grace_seconds=5)
    data = folder.data / "postgres"
    if data.exists():
        end_leftovers(data.resolve())
    return len(alive)


class _Watch:
    """Follows the state file and tells each change once."""

    def __init__(self, folder: RunFolder, progress: Progress | None) -> None:
        self._folder = folder
        self._progress = progress
        self._began = time.monotonic()
        self._told: dict[str, tuple[Condition, int]] = {}

    def until_up(self, supervisor: subprocess.Popen[bytes] | None) -> SystemState:
        """The state once it is ready; UpFailedError when it never will be."""
        while time.monotonic() - self._began < UP_TIMEOUT_SECONDS:
            gone = supervisor.poll() is not None if supervisor else not _is_supervised(self._folder)
            state = read_state(self._folder.state)
            self._tell(state)
            if state.phase is Phase.READY and not gone:
                return state
            if gone:
                raise UpFailedError(
                    state.problem or f"the supervisor ended\n{tail(self._folder.log_of('supervisor'))}"
                )
            time.sleep(POLL_SECONDS)
        raise UpFailedError(f"not up within {UP_TIMEOUT_SECONDS:.0f} s; see {self._folder.logs}")

    def _tell(self, state: SystemState) -> None:
        if self._progress is None:
            return
        for name, process in state.processes.items():
            seen = (process.condition, process.restarts)
            if self._told.get(name) != seen:
                self._told[name] = seen
                seconds = round(time.monotonic() - self._began, 1)
                self._progress(Step(name, process.condition.value, seconds, process.note))


def is_alive(process: ProcessState) -> bool:
    """Whether the process of this state still runs."""
    return process.identity is not None and process.identity.is_alive()


def family(process: ProcessState) -> list[Identity]:
    """The process and all its descendants, as the kill tests need them; empty if it is dead."""
    if process.identity is None or not process.identity.is_alive():
        return []
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(process.identity.pid)
        return [Identity(one.pid, one.create_time()) for one in (leader, *leader.children(recursive=True))]
    return []
