"""What runs, as one JSON file: written by the supervisor at each change, read by everybody else."""

import json
import os
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from outlast_local.processes import Identity


class Phase(StrEnum):
    """Where the whole system is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    DOWN = "down"
    FAILED = "failed"


class Condition(StrEnum):
    """Where one process is."""

    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessState:
    """One supervised process."""

    name: str
    condition: Condition
    log: str
    pid: int | None = None
    born: float | None = None
    restarts: int = 0
    seconds_to_ready: float | None = None
    note: str = ""
    links: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity | None:
        """The process itself, if it was started."""
        return None if self.pid is None or self.born is None else Identity(self.pid, self.born)


@dataclass(frozen=True)
class SystemState:
    """The whole system."""

    phase: Phase
    supervisor: Identity | None = None
    servers_only: bool = False
    kafka_bootstrap: str = ""
    postgres_dsn: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    processes: dict[str, ProcessState] = field(default_factory=dict)
    problem: str = ""


def write_state(path: Path, state: SystemState) -> None:
    """Replace the file in one step: a reader sees the old state or the new one, whole."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=1)
    draft.replace(path)


def read_state(path: Path) -> SystemState:
    """The last state written; `down` if there is none or it is not ours."""
    try:
        raw = json.loads(path.read_text())
        supervisor = raw["supervisor"]
        processes = {
            name: ProcessState(**(one | {"condition": Condition(one["condition"])}))
            for name, one in raw["processes"].items()
        }
        changed = {
            "phase": Phase(raw["phase"]),
            "supervisor": None if supervisor is None else Identity(**supervisor),
            "processes": processes,
        }
        return SystemState(**(raw | changed))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return SystemState(Phase.DOWN)
