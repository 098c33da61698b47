"""Fixtures for tests on real servers: one Kafka and one Postgres for a whole test run, all xdist workers
included.

Where they come from: addresses in the environment; else containers, where a Docker engine answers; else the
embedded pair. OUTLAST_TEST_SERVERS=embedded or containers decides it. With OUTLAST_TEST_RUN_DIR the pair of
that run folder is used, and left running: start it once with `python -m outlast_local up --servers-only
--run-dir FOLDER`.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest

from outlast_local import containers
from outlast_local.layout import RunFolder
from outlast_local.lifecycle import down, up
from outlast_local.locks import exclusive

RUN_DIR = "OUTLAST_TEST_RUN_DIR"
OWNER = "OUTLAST_TEST_OWNER_PID"
CHOICE = "OUTLAST_TEST_SERVERS"
P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True)
class TestServers:
    """Where the servers of this test run are. `postgres_dsn`'s role may create databases."""

    __test__ = False
    kafka_bootstrap: str
    postgres_dsn: str


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the run names the folder; workers inherit the name. Nothing is started here."""
    if hasattr(config, "workerinput") or os.environ.get(RUN_DIR):
        return
    folder = tempfile.mkdtemp(prefix="outlast-test-")
    os.chmod(folder, 0o711)  # Postgres runs as another user if we are root, and must pass through
    os.environ[RUN_DIR] = folder
    os.environ[OWNER] = str(os.getpid())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Whoever named the folder ends what runs in it."""
    if hasattr(config, "workerinput") or os.environ.get(OWNER) != str(os.getpid()):
        return
    folder = Path(os.environ.pop(RUN_DIR))
    del os.environ[OWNER]
    containers.stop(folder)
    down(run_dir=folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> TestServers:
    """Kafka and Postgres, started by the first test that asks and shared by all workers."""
    folder = RunFolder(Path(os.environ[RUN_DIR]))
    choice = os.environ.get(CHOICE, "")
    if choice not in {"", "embedded", "containers"}:
        raise pytest.UsageError(f"expected {CHOICE} to be embedded or containers, got {choice!r}")
    external = bool(os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    ours = OWNER in os.environ
    if choice != "embedded" and not external and ours and containers.docker_answers():
        try:
            with exclusive(folder.root / "containers.lock"):
                found = _elsewhere(containers.start, folder.root)
            return TestServers(found.kafka_bootstrap, found.postgres_dsn)
        except Exception as error:  # any failure of a foreign engine has the same remedy
            if choice == "containers":
                raise
            warnings.warn(f"containers did not start, taking the embedded servers: {error}", stacklevel=1)
    owner_pid = int(os.environ[OWNER]) if ours else None
    running = up(servers_only=True, run_dir=folder.root, owner_pid=owner_pid)
    return TestServers(running.kafka_bootstrap, running.postgres_dsn)


@pytest.fixture(scope="session")
def kafka(servers: TestServers) -> str:
    """The bootstrap address. The broker is shared: use `topic_prefix`."""
    return servers.kafka_bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for names of topics and groups that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def new_database(servers: TestServers) -> Iterator[Callable[[], str]]:
    """Call it for the DSN of a new, empty database; all of them are dropped at the end of the session."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        _execute(servers.postgres_dsn, f"create database {name} template template0")
        made.append(name)
        return _database_of(servers.postgres_dsn, name)

    yield make
    for name in made:
        with contextlib.suppress(OSError):
            _execute(servers.postgres_dsn, f"drop database if exists {name} with (force)")


@pytest.fixture
def postgres(new_database: Callable[[], str]) -> str:
    """The DSN of an empty database of this test's own."""
    return new_database()


@pytest.fixture(scope="module")
def module_postgres(new_database: Callable[[], str]) -> str:
    """The DSN of a database that the tests of one module share."""
    return new_database()


def _database_of(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def _execute(dsn: str, statement: str) -> None:
    _elsewhere(asyncio.run, _execute_async(dsn, statement))


async def _execute_async(dsn: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _elsewhere(work: Callable[[P], T], argument: P) -> T:
    """Run it in a thread of its own, where it may have an event loop: the tests' loop stays as it is."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, argument).result()
