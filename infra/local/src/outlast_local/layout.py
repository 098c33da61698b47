"""Where things lie: the run folder of one copy of the system, and the cache that all copies share.

The run folder holds what belongs to one running system: its data, logs, ports and state. The cache holds what
was fetched from outside and never changes: the broker's jars. Both exist on a machine whose HOME is empty or
unset.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


def project_folder() -> Path:
    """The clone this package was installed from, else the current folder."""
    clone = Path(__file__).resolve().parents[4]
    return clone if (clone / "Makefile").is_file() and (clone / "infra").is_dir() else Path.cwd()


def cache_folder() -> Path:
    """A folder that exists and is writable: OUTLAST_HOME, the user's cache, else one in the clone."""
    candidates: list[Path] = []
    if chosen := os.environ.get("OUTLAST_HOME"):
        candidates.append(Path(chosen).expanduser() / "cache")
    elif xdg := os.environ.get("XDG_CACHE_HOME"):
        candidates.append(Path(xdg) / "outlast")
    elif home := os.environ.get("HOME"):
        candidates.append(Path(home) / ".cache" / "outlast")
    candidates += [project_folder() / ".outlast" / "cache", Path(tempfile.gettempdir()) / "outlast-cache"]
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder.resolve()
    raise PermissionError(f"expected a writable cache folder, but none of these is: {candidates}")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one copy of the system. Nothing is made before `create`."""

    root: Path

    @classmethod
    def current(cls) -> "RunFolder":
        """OUTLAST_RUN_DIR if set, else `.outlast` in the clone."""
        chosen = os.environ.get("OUTLAST_RUN_DIR")
        return cls(Path(chosen).expanduser().resolve() if chosen else project_folder() / ".outlast")

    def create(self) -> None:
        """Make the folders; harmless when they exist."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)

    @property
    def logs(self) -> Path:
        """One file a process: NAME.log."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """The servers' data; outlives `down`."""
        return self.root / "data"

    @property
    def state(self) -> Path:
        """What runs, as JSON; written by the supervisor alone."""
        return self.root / "state.json"

    @property
    def servers(self) -> Path:
        """Kafka's bootstrap address and Postgres's DSN, as JSON, for other programs."""
        return self.root / "servers.json"

    @property
    def ports(self) -> Path:
        """The remembered first port."""
        return self.root / "ports.json"

    @property
    def password(self) -> Path:
        """The embedded Postgres's password; readable by its owner only."""
        return self.root / "postgres.password"

    @property
    def secrets(self) -> Path:
        """The first administrator's key and the services' token; readable by their owner only."""
        return self.root / "secrets.json"

    @property
    def command_lock(self) -> Path:
        """Held while an `up` or a `down` is at work: they never overlap."""
        return self.root / "command.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor for all its life: who can take it knows that none runs."""
        return self.root / "supervisor.lock"

    def log_of(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"
