"""The supervisor with programs of a few lines: what it restarts, when it gives up, how it stops."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from outlast_local import supervisor
from outlast_local.layout import RunFolder
from outlast_local.processes import Program
from outlast_local.state import Condition, Phase, SystemState, read_state
from outlast_local.supervisor import Supervisor

SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(600)"
DEADLINE_SECONDS = 30


def program(name: str, code: str, **changes: object) -> Program:
    settings: dict[str, object] = {
        "name": name,
        "command": (sys.executable, "-S", "-c", code),
        "environment": dict(os.environ),
        "ready": lambda: True,
    }
    return Program(**(settings | changes))  # pyright: ignore[reportArgumentType] - a test's short form


async def nothing() -> None:
    return None


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


class Running:
    """A supervisor at work in a folder of its own."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.supervisor = Supervisor(folder, SystemState(Phase.STARTING))

    def begin(
        self,
        servers: list[Program],
        services: list[Program],
        between: Callable[[], Awaitable[None]] = nothing,
    ) -> "asyncio.Task[int]":
        return asyncio.create_task(self.supervisor.run(servers, between, lambda: services))

    @property
    def state(self) -> SystemState:
        return read_state(self.folder.state)

    def pid(self, name: str) -> int | None:
        process = self.state.processes.get(name)
        return process.pid if process and process.condition is Condition.READY else None


@pytest.fixture
def running(tmp_path: Path) -> Running:
    folder = RunFolder(tmp_path)
    folder.create()
    return Running(folder)


async def test_what_is_killed_is_started_again_at_once(running: Running) -> None:
    done = running.begin([], [program("sleeper", SLEEPS)])
    await until(lambda: running.state.phase is Phase.READY)
    first = running.pid("sleeper")
    assert first is not None

    os.killpg(first, signal.SIGKILL)
    await until(lambda: running.pid("sleeper") not in (None, first))

    assert running.state.processes["sleeper"].restarts == 1
    assert "killed by SIGKILL" in running.folder.log_of("sleeper").read_text()
    running.supervisor.stop()
    assert await done == 0
    assert running.state.phase is Phase.DOWN


async def test_a_program_that_never_becomes_ready_fails_the_start_with_the_end_of_its_log(
    running: Running,
) -> None:
    bad = program("bad", "print('setting X: expected a number'); raise SystemExit(1)", ready=lambda: False)
    assert await running.begin([], [bad, program("good", SLEEPS)]) == 1

    assert running.state.phase is Phase.FAILED
    assert "bad exited with status 1" in running.state.problem
    assert "setting X: expected a number" in running.state.problem
    assert running.state.processes["good"].pid is None


async def test_a_program_that_finds_what_it_needs_away_is_tried_until_it_is_there(
    running: Running, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    code = (
        f"file = open({str(lives)!r}, 'a+'); file.write('.'); file.flush(); file.seek(0)\n"
        f"if len(file.read()) <= {supervisor.START_ATTEMPTS_MAX}: raise SystemExit({os.EX_TEMPFAIL})\n"
    ) + SLEEPS
    patient = program("patient", code, ready=lambda: lives.exists() and len(lives.read_text()) > 3)
    done = running.begin([], [patient])
    await until(lambda: running.state.phase in {Phase.READY, Phase.FAILED})

    assert running.state.phase is Phase.READY
    running.supervisor.stop()
    assert await done == 0


async def test_services_start_after_the_servers_and_stop_before_them(
    running: Running, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    code = (
        "import signal, sys, time\n"
        "def say(word): open({diary!r}, 'a').write(word + ' {name}\\n')\n"
        "signal.signal(signal.SIGTERM, lambda *_: (say('stop'), sys.exit(0)))\n"
        "say('start'); time.sleep(600)"
    )

    def telling(name: str, *, is_service: bool) -> Program:
        text = code.format(diary=str(diary), name=name)
        started = f"start {name}"
        return program(
            name,
            text,
            ready=lambda: diary.exists() and started in diary.read_text(),
            health_port=1 if is_service else None,
        )

    async def between() -> None:
        with diary.open("a") as file:
            file.write("between\n")

    done = running.begin(
        [telling("server", is_service=False)], [telling("service", is_service=True)], between
    )
    await until(lambda: running.state.phase is Phase.READY)
    running.supervisor.stop()
    assert await done == 0

    assert diary.read_text().splitlines() == [
        "start server",
        "between",
        "start service",
        "stop service",
        "stop server",
    ]


async def test_a_program_that_ignores_the_stop_is_killed_after_its_grace(running: Running) -> None:
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    deaf = f"{ignore}; print('deaf', flush=True); time.sleep(600)"
    heard = running.folder.log_of("deaf")
    done = running.begin(
        [], [program("deaf", deaf, stop_grace_seconds=0.2, ready=lambda: "deaf" in heard.read_text())]
    )
    await until(lambda: running.state.phase is Phase.READY)
    pid = running.pid("deaf")
    assert pid is not None

    running.supervisor.stop()
    assert await done == 0

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_dies_again_and_again_waits_longer_each_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES_SECONDS", (0.0, 0.3, 0.6))
    starts: list[float] = []

    def prepare() -> None:
        starts.append(asyncio.run(_now()))

    done = running.begin([], [program("mayfly", "import time; time.sleep(0.05)", prepare=prepare)])
    await until(lambda: len(starts) >= 4)
    running.supervisor.stop()
    await done

    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[1] >= 0.3
    assert gaps[2] >= 0.6


async def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_stop_while_starting_ends_the_start(running: Running) -> None:
    done = running.begin([program("slow", SLEEPS, ready=lambda: False)], [program("never", SLEEPS)])
    await until(lambda: "slow" in running.state.processes and running.state.processes["slow"].pid)

    running.supervisor.stop()

    assert await done == 0
    assert "never" not in running.state.processes
    assert running.state.phase is Phase.DOWN


async def test_topics_that_cannot_be_made_fail_the_start_and_leave_nothing_running(running: Running) -> None:
    async def between() -> None:
        raise RuntimeError("expected topic engine.inbox, but the broker refused it")

    assert await running.begin([program("server", SLEEPS)], [program("service", SLEEPS)], between) == 1

    assert "engine.inbox" in running.state.problem
    assert running.state.processes["server"].pid is None
