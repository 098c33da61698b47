"""One whole system from the environment: which servers are embedded, which topics exist, what runs on top.

This is what the supervisor process executes; `lifecycle` starts that process and talks to it.
"""

import asyncio
import os
import signal
from pathlib import Path

from outlast_local.kafka import kafka_program
from outlast_local.layout import RunFolder
from outlast_local.locks import exclusive
from outlast_local.ports import choose_ports
from outlast_local.postgres import postgres_cluster, postgres_program
from outlast_local.processes import Identity, Program
from outlast_local.services import SERVICES, Servers, api_urls, service_programs
from outlast_local.state import Phase, SystemState, write_state
from outlast_local.supervisor import Supervisor

OWNER_POLL_SECONDS = 1.0


def supervise(folder: RunFolder, *, servers_only: bool, owner_pid: int | None) -> int:
    """Run the system until SIGTERM or SIGINT, or until the owner process is gone. The exit status."""
    folder.create()
    with exclusive(folder.supervisor_lock, wait=False):
        me = Identity.of(os.getpid())
        state = SystemState(Phase.STARTING, supervisor=me, servers_only=servers_only)
        write_state(folder.state, state)
        try:
            return asyncio.run(_supervise(folder, state, owner_pid))
        except (OSError, RuntimeError, ValueError) as error:
            write_state(
                folder.state, SystemState(Phase.FAILED, servers_only=servers_only, problem=str(error))
            )
            return 1


async def _supervise(folder: RunFolder, state: SystemState, owner_pid: int | None) -> int:
    loop = asyncio.get_running_loop()
    ports = choose_ports(folder)
    embedded: list[Program] = []
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    owners = [service for service in SERVICES if service.has_database]
    databases = {s.name: dsn for s in owners if (dsn := os.environ.get(s.database_variable))}
    if not bootstrap:
        kafka = await asyncio.to_thread(kafka_program, folder, ports, _print)
        bootstrap = kafka.links["bootstrap"]
        embedded.append(kafka)
    dsn = next(iter(databases.values()), "")
    if len(databases) < len(owners):
        cluster = await asyncio.to_thread(postgres_cluster, folder, ports)
        dsn = cluster.dsn
        embedded.append(postgres_program(cluster))
        databases = {service.name: dsn for service in owners} | databases
    servers = Servers(bootstrap, databases)
    urls = {} if state.servers_only else api_urls(ports)
    whole = SystemState(
        Phase.STARTING,
        supervisor=state.supervisor,
        servers_only=state.servers_only,
        kafka_bootstrap=bootstrap,
        postgres_dsn=dsn,
        urls=urls,
    )
    supervisor = Supervisor(folder, whole)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    owner = asyncio.create_task(_stop_with(owner_pid, supervisor)) if owner_pid else None

    async def between() -> None:
        if not state.servers_only:
            await asyncio.to_thread(ensure_topics, bootstrap)

    def services() -> tuple[Program, ...]:
        return () if state.servers_only else service_programs(folder, ports, servers)

    try:
        return await supervisor.run(embedded, between, services)
    finally:
        if owner is not None:
            owner.cancel()


async def _stop_with(owner_pid: int, supervisor: Supervisor) -> None:
    """End the system with its owner: no test run, however it dies, leaves servers behind."""
    owner = Identity.of(owner_pid)
    while owner is not None and owner.is_alive():  # noqa: ASYNC110 - another process sets no event of ours
        await asyncio.sleep(OWNER_POLL_SECONDS)
    supervisor.stop()


def ensure_topics(bootstrap: str) -> None:
    """Create the missing topics of contracts/: a consumer that subscribes first finds them minutes later."""
    from outlast.messaging import topics

    topics.ensure_topics(bootstrap)


def _print(sentence: str) -> None:
    print(sentence, flush=True)


def run_folder(path: str | Path | None) -> RunFolder:
    """The run folder at this path, or the one of the environment."""
    return RunFolder(Path(path).expanduser().resolve()) if path else RunFolder.current()
