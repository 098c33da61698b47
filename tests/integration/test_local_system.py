"""Every service as a process of its own under the supervisor, on the embedded servers."""

import os
import shutil
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlast_local import Running, down, status, up
from outlast_local.lifecycle import family
from outlast_local.services import SERVICES
from outlast_local.state import Condition, Phase

RECOVERY_SECONDS_MAX = 90.0


@pytest.fixture(scope="module")
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="outlast-whole-"))
    folder.chmod(0o711)
    yield folder
    down(run_dir=folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def system(run_dir: Path) -> Running:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.endswith("_DATABASE_URL") or n == "KAFKA_BOOTSTRAP_SERVERS"]:
            patch.delenv(name)
        return up(run_dir=run_dir, owner_pid=os.getpid())


def fetch(url: str) -> tuple[int, str]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_each_service_is_a_process_of_its_own_with_health_metrics_and_a_log(
    system: Running, run_dir: Path
) -> None:
    processes = status(run_dir=run_dir).processes
    for name in (service.name for service in SERVICES):
        process = processes[name]
        assert process.condition is Condition.READY
        assert process.pid is not None
        assert os.getsid(process.pid) == process.pid
        assert fetch(f"{process.links['health']}/livez")[0] == 200
        assert "# TYPE" in fetch(process.links["metrics"])[1]
        assert Path(process.log).stat().st_size > 0
    assert set(system.urls) == {"platform", "control_plane", "signal_delivery"}


def test_all_services_killed_at_once_come_back_ready(system: Running, run_dir: Path) -> None:
    names = [service.name for service in SERVICES]
    before = {name: status(run_dir=run_dir).processes[name].pid for name in names}
    for pid in before.values():
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)

    deadline = time.monotonic() + RECOVERY_SECONDS_MAX
    missing = set(names)
    while missing:
        assert time.monotonic() < deadline, f"expected {missing} ready again; {status(run_dir=run_dir)}"
        now = status(run_dir=run_dir).processes
        missing = {n for n in missing if now[n].condition is not Condition.READY or now[n].pid == before[n]}
        time.sleep(0.05)

    assert status(run_dir=run_dir).phase is Phase.READY


def test_down_stops_every_process_in_order_and_up_brings_the_same_addresses_back(
    system: Running, run_dir: Path
) -> None:
    members = [one for process in status(run_dir=run_dir).processes.values() for one in family(process)]
    assert len(members) > len(SERVICES) + 2

    assert down(run_dir=run_dir)

    assert not [one for one in members if one.is_alive()]
    again = up(run_dir=run_dir, owner_pid=os.getpid())
    assert (again.kafka_bootstrap, again.urls) == (system.kafka_bootstrap, system.urls)
