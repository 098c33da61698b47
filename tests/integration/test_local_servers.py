"""The embedded Kafka and Postgres: what survives their death, a second start, and a stop."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from outlast_local import Running, Step, down, status, up
from outlast_local.kafka import tool_command
from outlast_local.layout import RunFolder
from outlast_local.lifecycle import family
from outlast_local.ports import choose_ports
from outlast_local.postgres import cluster_processes, kill_cluster
from outlast_local.state import Condition, Phase

RECOVERY_SECONDS_MAX = 60.0

pytestmark = pytest.mark.xdist_group("local_servers")


def wait_until(condition: Callable[[], object], what: str, seconds: float = RECOVERY_SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected {what} within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="outlast-local-"))
    folder.chmod(0o711)
    yield folder
    down(run_dir=folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def own_pair(run_dir: Path) -> Running:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.endswith("_DATABASE_URL") or n == "KAFKA_BOOTSTRAP_SERVERS"]:
            patch.delenv(name)
        return up(servers_only=True, run_dir=run_dir, owner_pid=os.getpid())


async def query(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def make_topic(bootstrap: str) -> str:
    name = f"kept-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1)])[name].result(30)
    return name


def read_one(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"g-{topic}", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                return message.value()
        return None
    finally:
        consumer.close()


def has_restarted(run_dir: Path, name: str, old_pid: int | None) -> bool:
    process = status(run_dir=run_dir).processes[name]
    return process.condition is Condition.READY and process.pid not in (None, old_pid)


def test_a_killed_broker_comes_back_with_its_messages(own_pair: Running, run_dir: Path) -> None:
    topic = make_topic(own_pair.kafka_bootstrap)
    producer = Producer({"bootstrap.servers": own_pair.kafka_bootstrap, "acks": "all"})
    producer.produce(topic, b"before the kill")
    assert producer.flush(30) == 0

    pid = status(run_dir=run_dir).processes["kafka"].pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    wait_until(lambda: has_restarted(run_dir, "kafka", pid), "a new broker")

    assert read_one(own_pair.kafka_bootstrap, topic) == b"before the kill"


async def test_a_killed_postgres_comes_back_with_its_rows_though_a_session_was_open(
    own_pair: Running, run_dir: Path
) -> None:
    table = f"kept_{uuid.uuid4().hex[:8]}"
    await query(own_pair.postgres_dsn, f"create table {table} as select 7 as n")
    session = await asyncpg.connect(own_pair.postgres_dsn)
    busy = asyncio.create_task(session.execute("select pg_sleep(600)"))
    pid = status(run_dir=run_dir).processes["postgres"].pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)  # the postmaster alone: its backends live on for a while
    await asyncio.to_thread(wait_until, lambda: has_restarted(run_dir, "postgres", pid), "a new postmaster")

    assert await query(own_pair.postgres_dsn, f"select n from {table}") == 7
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await busy


async def test_a_postgres_killed_with_all_its_children_comes_back(own_pair: Running, run_dir: Path) -> None:
    process = status(run_dir=run_dir).processes["postgres"]
    data = (run_dir / "data" / "postgres").resolve()
    assert {one.pid for one in cluster_processes(data)} >= {one.pid for one in family(process)} != set()

    assert kill_cluster(data) > 1
    await asyncio.to_thread(
        wait_until, lambda: has_restarted(run_dir, "postgres", process.pid), "a new server"
    )

    assert await query(own_pair.postgres_dsn, "select 1") == 1


def test_the_database_promises_durability_and_its_role_is_no_superuser(own_pair: Running) -> None:
    def ask(statement: str) -> object:
        return asyncio.run(query(own_pair.postgres_dsn, statement))

    assert ask("show fsync") == "on"
    assert ask("show synchronous_commit") == "on"
    assert ask("select rolsuper or rolbypassrls from pg_roles where rolname = current_user") is False


def test_a_topic_that_nobody_created_is_not_made_by_asking_for_it(own_pair: Running) -> None:
    admin = AdminClient({"bootstrap.servers": own_pair.kafka_bootstrap})
    admin.list_topics("never-created", timeout=10)
    assert "never-created" not in admin.list_topics(timeout=10).topics


def test_a_second_up_finds_what_runs(own_pair: Running, run_dir: Path) -> None:
    steps: list[Step] = []
    before = {name: process.pid for name, process in status(run_dir=run_dir).processes.items()}

    again = up(steps.append, servers_only=True, run_dir=run_dir)

    assert again.was_running
    assert (again.kafka_bootstrap, again.postgres_dsn) == (own_pair.kafka_bootstrap, own_pair.postgres_dsn)
    assert {name: process.pid for name, process in again.processes.items()} == before


def test_kafkas_own_console_producer_runs_on_the_resolved_jars(own_pair: Running) -> None:
    topic = make_topic(own_pair.kafka_bootstrap)
    command = tool_command(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", own_pair.kafka_bootstrap, "--topic", topic),
        *("--reader-property", "parse.headers=true"),
    )
    done = subprocess.run(
        command, input="a:1\tfrom outside\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert read_one(own_pair.kafka_bootstrap, topic) == b"from outside"


def test_two_copies_run_side_by_side_and_down_leaves_no_process_of_the_one_it_ends(own_pair: Running) -> None:
    folder = Path(tempfile.mkdtemp(prefix="outlast-second-"))  # mode 700: reachable by its owner alone
    try:
        second = up(servers_only=True, run_dir=folder, owner_pid=os.getpid())
        assert second.kafka_bootstrap != own_pair.kafka_bootstrap
        assert asyncio.run(query(second.postgres_dsn, "select 1")) == 1
        state = status(run_dir=folder)
        supervisor = state.supervisor
        assert supervisor is not None
        members = [one for process in state.processes.values() for one in family(process)]
        assert len(members) > 2

        assert down(run_dir=folder)

        assert not [one for one in (*members, supervisor) if one.is_alive()]
        assert not cluster_processes((folder / "data" / "postgres").resolve())
        assert status(run_dir=folder).phase is Phase.DOWN
        assert not down(run_dir=folder)
        assert asyncio.run(query(own_pair.postgres_dsn, "select 1")) == 1
    finally:
        down(run_dir=folder)
        shutil.rmtree((folder / "data" / "postgres").resolve().parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_up_after_a_killed_supervisor_ends_the_orphans_and_keeps_ports_and_data(
    own_pair: Running, run_dir: Path
) -> None:
    asyncio.run(
        query(own_pair.postgres_dsn, "create table if not exists outlives_supervisor as select 9 as n")
    )
    state = status(run_dir=run_dir)
    supervisor = state.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not supervisor.is_alive(), "the supervisor's death")
    assert status(run_dir=run_dir).phase is Phase.DOWN
    orphans = [process.identity for process in state.processes.values() if process.identity]
    assert all(one.is_alive() for one in orphans)

    again = up(servers_only=True, run_dir=run_dir, owner_pid=os.getpid())

    assert not again.was_running
    assert not [one for one in orphans if one.is_alive()]
    assert (again.kafka_bootstrap, again.postgres_dsn) == (own_pair.kafka_bootstrap, own_pair.postgres_dsn)
    assert asyncio.run(query(again.postgres_dsn, "select n from outlives_supervisor")) == 9


def test_the_shared_servers_of_a_test_run_give_each_test_an_empty_database(
    postgres: str, new_database: Callable[[], str], kafka: str, topic_prefix: str
) -> None:
    assert postgres != new_database()
    assert asyncio.run(query(postgres, "select count(*) from pg_tables where schemaname = 'public'")) == 0
    assert make_topic(kafka)
    assert topic_prefix.endswith(".")


def test_ports_can_be_fixed_and_a_wrong_base_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    monkeypatch.setenv("OUTLAST_PORT_BASE", "23456")
    ports = choose_ports(folder)
    used = [ports.kafka, ports.kafka_controller, ports.postgres, *(ports.api(n) for n in range(14))]
    used += [ports.health(n) for n in range(14)]
    assert len(set(used)) == len(used)
    assert min(used) == 23456
    monkeypatch.setenv("OUTLAST_PORT_BASE", "eighty")
    with pytest.raises(ValueError, match="OUTLAST_PORT_BASE"):
        choose_ports(folder)


def test_a_test_run_that_dies_takes_its_servers_along(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="outlast-owned-"))
    folder.chmod(0o711)
    owner = psutil.Popen(["sleep", "600"])
    try:
        up(servers_only=True, run_dir=folder, owner_pid=owner.pid)
        supervisor = status(run_dir=folder).supervisor
        assert supervisor is not None
        owner.kill()
        owner.wait()
        wait_until(lambda: not supervisor.is_alive(), "the end of the servers")
        assert not cluster_processes((folder / "data" / "postgres").resolve())
    finally:
        down(run_dir=folder)
        shutil.rmtree(folder, ignore_errors=True)
