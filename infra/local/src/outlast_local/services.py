"""Every service of the product: its command, its settings, its ports."""

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from outlast_local.layout import RunFolder
from outlast_local.ports import Ports
from outlast_local.processes import Program

READY_TIMEOUT_SECONDS = 1.0
SECRETS = ("OUTLAST_ADMIN_KEY", "OUTLAST_SERVICE_TOKEN")
LAUNCHER_SETTINGS = {"OUTLAST_TEST_SERVERS", "OUTLAST_TEST_RUN_DIR"}


@dataclass(frozen=True)
class Service:
    """One deployable. The number gives its ports and never changes."""

    name: str
    number: int
    has_api: bool = False
    has_database: bool = True

    @property
    def database_variable(self) -> str:
        """The setting that holds its DSN, if it has a database."""
        return f"{self.name.upper()}_DATABASE_URL"


SERVICES = (
    Service("platform", 0, has_api=True),
    Service("control_plane", 1, has_api=True),
    Service("trigger_matcher", 2),
    Service("engine", 3),
    Service("action_executor", 4),
    Service("finalizer", 5),
    Service("timer_scheduler", 6),
    Service("signal_delivery", 7, has_api=True),
    Service("gate", 8, has_database=False),
)


@dataclass(frozen=True)
class Servers:
    """Where Kafka and Postgres are: embedded, or the user's own. No DSN for a service means: not chosen."""

    kafka_bootstrap: str
    databases: dict[str, str]


def system_secrets(folder: RunFolder) -> dict[str, str]:
    """The first administrator's key and the token by which services know each other: the user's own from the
    environment, else drawn once for this run folder.
    """
    try:
        kept = json.loads(folder.secrets.read_text())
    except (OSError, ValueError):
        kept = {name: secrets.token_urlsafe(32) for name in SECRETS}
        write_private(folder.secrets, json.dumps(kept))
    return {name: os.environ.get(name) or kept[name] for name in SECRETS}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def api_urls(ports: Ports) -> dict[str, str]:
    """Service name -> the address of its API."""
    return {s.name: f"http://127.0.0.1:{ports.api(s.number)}" for s in SERVICES if s.has_api}


def service_programs(folder: RunFolder, ports: Ports, servers: Servers) -> tuple[Program, ...]:
    """Every service as the supervisor runs it."""
    return tuple(_program(service, folder, ports, servers) for service in SERVICES)


def _program(service: Service, folder: RunFolder, ports: Ports, servers: Servers) -> Program:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_SETTINGS}
    environment.setdefault("PMAP_RUNBOOK_ENGINE", "workflow")
    environment |= system_secrets(folder)
    environment |= {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
        "OUTLAST_HEALTH_PORT": str(ports.health(service.number)),
        "OUTLAST_INSTANCE": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if service.has_database:
        environment[service.database_variable] = servers.databases[service.name]
    for name, url in api_urls(ports).items():
        environment[f"{name.upper()}_URL"] = url
    if service.has_api:
        environment["OUTLAST_HTTP_PORT"] = str(ports.api(service.number))
    if service.name == "control_plane":  # it reads two views of others, wherever these keep them
        environment.setdefault("CONTROL_PLANE_RECORDS_URL", servers.databases["finalizer"])
        environment.setdefault("CONTROL_PLANE_ENGINE_URL", servers.databases["engine"])
    if service.name == "signal_delivery":
        environment.setdefault("SIGNAL_DELIVERY_RECORDS_URL", servers.databases["finalizer"])
    health = f"http://127.0.0.1:{ports.health(service.number)}"
    links = {"health": health, "metrics": f"{health}/metrics"}
    if service.has_api:
        links["api"] = api_urls(ports)[service.name]
    return Program(
        name=service.name,
        command=(sys.executable, "-m", f"outlast_{service.name}"),
        environment=environment,
        ready=lambda: answers_ready(f"{health}/readyz"),
        folder=folder.root,
        stop_grace_seconds=30,
        health_port=ports.health(service.number),
        links=links,
    )


def answers_ready(url: str) -> bool:
    """Whether the address answers 200 within a second; no proxy of the user's stands between."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=READY_TIMEOUT_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False
