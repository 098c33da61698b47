"""Kafka and Postgres as containers, for the tests on machines where a Docker engine answers.

Started once a test run by whoever holds the lock, written down in the run folder, stopped by the run's
controller.
"""

import contextlib
import json
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from outlast_local.kafka import BROKER_SETTINGS, broker_answers
from outlast_local.postgres import database_answers

KAFKA_IMAGE = "apache/kafka:4.3.0"
POSTGRES_IMAGE = "postgres:18"
START_TIMEOUT_SECONDS = 120
ENGINE_TIMEOUT_SECONDS = 3
POLL_SECONDS = 0.2
CONTROLLER_PORT = 19093


@dataclass(frozen=True)
class ContainerServers:
    """Where they are, and the containers' ids."""

    kafka_bootstrap: str
    postgres_dsn: str
    containers: list[str]


def docker_answers() -> bool:
    """Whether a Docker engine can be reached."""
    if shutil.which("docker") is None and not Path("/var/run/docker.sock").exists():
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT_SECONDS)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, OSError):
        return False


def start(folder: Path) -> ContainerServers:
    """The containers of this run folder, started if they are not yet. Call it under a lock."""
    note = folder / "containers.json"
    if note.exists():
        return ContainerServers(**json.loads(note.read_text()))
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # the first worker's end must not end what the others use
    port, password = _free_port(), secrets.token_hex(16)
    broker = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in _broker_settings(port).items():
        broker = broker.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    database = DockerContainer(POSTGRES_IMAGE).with_exposed_ports(5432)
    for name, value in (("USER", "outlast"), ("DB", "outlast"), ("PASSWORD", password)):
        database = database.with_env(f"POSTGRES_{name}", value)
    ids: list[str] = []
    try:
        for container in (broker, database):
            container.start()
            ids.append(container.get_wrapped_container().id or "")
        bootstrap = f"{broker.get_container_host_ip()}:{port}"
        address = f"{database.get_container_host_ip()}:{database.get_exposed_port(5432)}"
        dsn = f"postgresql://outlast:{password}@{address}/outlast"
        _await("Kafka", lambda: broker_answers(bootstrap))
        _await("Postgres", lambda: database_answers(dsn))
        found = ContainerServers(bootstrap, dsn, ids)
    except BaseException:
        _remove(ids)
        raise
    note.write_text(json.dumps(asdict(found)))
    return found


def stop(folder: Path) -> None:
    """Remove the containers of this run folder, if there are any."""
    note = folder / "containers.json"
    if note.exists():
        _remove(ContainerServers(**json.loads(note.read_text())).containers)
        note.unlink()


def _broker_settings(port: int) -> dict[str, str]:
    own = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://localhost:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://localhost:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@localhost:{CONTROLLER_PORT}",
    }
    return own | {name: str(value) for name, value in BROKER_SETTINGS.items()}


def _await(name: str, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {name} to answer within {START_TIMEOUT_SECONDS} s")
        time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _remove(ids: list[str]) -> None:
    import docker
    from docker.errors import DockerException

    client = docker.from_env()
    for one in ids:
        with contextlib.suppress(DockerException):
            client.containers.get(one).remove(force=True, v=True)
    client.close()
