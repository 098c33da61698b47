"""The process that stays behind: it starts the servers, then the services, and starts again what dies.

Each process leads a session of its own and writes to a log of its own. The first restart is immediate; one
that dies again within seconds waits longer each time. A stop goes in reverse order: services first, then the
servers.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from outlast_local.layout import RunFolder
from outlast_local.processes import Identity, Program, end_group
from outlast_local.state import Condition, Phase, ProcessState, SystemState, write_state

READY_DEADLINE_SECONDS = 90.0
READY_POLL_SECONDS = 0.05
START_ATTEMPTS_MAX = 3
TRY_AGAIN_STATUS = os.EX_TEMPFAIL
"""How a service ends that found what it needs away, not broken: it is started again until START_SECONDS_MAX."""
START_SECONDS_MAX = 180.0
SHORT_LIFE_SECONDS = 3.0
PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
LOG_BYTES_MAX = 64 * 1024 * 1024


class StartError(RuntimeError):
    """A process did not become ready; the message says which and shows the end of its log."""


class Supervisor:
    """Runs the programs until `stop` is called. All state changes pass through `_note`, which writes the
    file.
    """

    def __init__(self, folder: RunFolder, state: SystemState) -> None:
        self._folder = folder
        self._state = state
        self._stopping = asyncio.Event()
        self._keepers: list[_Keeper] = []

    async def run(
        self,
        servers: Sequence[Program],
        between: Callable[[], Awaitable[None]],
        services: Callable[[], Sequence[Program]],
    ) -> int:
        """Servers, then `between` (topics), then services; then watch over them. The exit status."""
        status = 0
        try:
            await self._start(servers)
            self._write_servers()
            if not self._stopping.is_set():
                await between()
            if not self._stopping.is_set():
                await self._start(services())
            if not self._stopping.is_set():
                self._change(phase=Phase.READY)
                await self._stopping.wait()
        except (StartError, OSError, RuntimeError) as error:
            status = 1
            self._change(problem=str(error))
        if not status:
            self._change(phase=Phase.STOPPING)
        await self._stop_all()
        self._change(phase=Phase.FAILED if status else Phase.DOWN, supervisor=None)
        return status

    def stop(self) -> None:
        """Ask for an orderly end; a second call changes nothing."""
        self._stopping.set()

    async def _start(self, programs: Sequence[Program]) -> None:
        keepers = [_Keeper(program, self._folder, self._note) for program in programs]
        self._keepers += keepers
        for keeper in keepers:
            keeper.begin()
        stopping = asyncio.ensure_future(self._stopping.wait())
        started = asyncio.gather(*(keeper.until_ready() for keeper in keepers))
        try:
            await asyncio.wait((started, stopping), return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                started.result()
        finally:
            stopping.cancel()
            started.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartError):
                await started

    async def _stop_all(self) -> None:
        servers = [keeper for keeper in self._keepers if keeper.is_server]
        services = [keeper for keeper in self._keepers if not keeper.is_server]
        for wave in (services, servers):
            await asyncio.gather(*(keeper.end() for keeper in wave))

    def _note(self, process: ProcessState) -> None:
        self._change(processes=self._state.processes | {process.name: process})

    def _change(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # pyright: ignore[reportArgumentType] - names checked by replace
        write_state(self._folder.state, self._state)

    def _write_servers(self) -> None:
        content = {"kafka_bootstrap": self._state.kafka_bootstrap, "postgres_dsn": self._state.postgres_dsn}
        file = self._folder.servers
        file.touch(mode=0o600)  # it holds a password
        file.write_text(json.dumps(content) + "\n")


class _Keeper:
    """Keeps one program running. Its task ends by `end` only, or when the program never became ready."""

    def __init__(self, program: Program, folder: RunFolder, note: Callable[[ProcessState], None]) -> None:
        self._program = program
        self._folder = folder
        self._note = note
        self._log = folder.log_of(program.name)
        self._state = ProcessState(
            program.name, Condition.PREPARING, str(self._log), links=dict(program.links)
        )
        self._ready = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._ending = False

    @property
    def is_server(self) -> bool:
        """Kafka and Postgres outlive the services at a stop."""
        return self._program.health_port is None

    def begin(self) -> None:
        """Start to keep it running."""
        self._task = asyncio.create_task(self._keep(), name=self._program.name)

    async def until_ready(self) -> None:
        """Return when it is ready for the first time; StartError if it does not become ready."""
        await asyncio.shield(self._ready)

    async def end(self) -> None:
        """Stop it in order, or by force after its grace, and leave nothing of it behind."""
        self._ending = True
        child = self._child
        if child is not None and child.returncode is None:
            identity = Identity.of(child.pid)
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(self._program.stop_signal)
            try:
                await asyncio.wait_for(asyncio.shield(child.wait()), self._program.stop_grace_seconds)
            except TimeoutError:
                self._say(f"did not stop within {self._program.stop_grace_seconds:.0f} s: killed")
                if identity is not None:
                    await asyncio.to_thread(end_group, identity)
                await child.wait()
            self._kill_group(child.pid)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._state.condition is not Condition.FAILED:
            self._change(condition=Condition.STOPPED, pid=None, born=None)

    async def _keep(self) -> None:
        short_lives = 0
        starts = 0
        first_began = time.monotonic()
        while not self._ending:
            began = time.monotonic()
            starts += 1
            reason, status = await self._live_once()
            if self._ending:
                return
            short_lives = short_lives + 1 if time.monotonic() - began < SHORT_LIFE_SECONDS else 0
            is_away = status == TRY_AGAIN_STATUS and began - first_began < START_SECONDS_MAX
            if not self._ready.done() and starts >= START_ATTEMPTS_MAX and not is_away:
                self._fail(reason)
                return
            pause = PAUSES_SECONDS[min(max(short_lives - 1, 0), len(PAUSES_SECONDS) - 1)]
            self._say(f"{reason}; starting again{f' in {pause} s' if pause else ''}")
            self._change(
                condition=Condition.RESTARTING, pid=None, restarts=self._state.restarts + 1, note=reason
            )
            await asyncio.sleep(pause)

    async def _live_once(self) -> tuple[str, int | None]:
        """Prepare, start, wait until ready, wait until dead. How it ended, in words and by its exit status."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._program.prepare)
            child = await self._spawn()
        except (OSError, RuntimeError, psutil.Error) as error:
            return f"could not start: {error}", None
        exited = asyncio.create_task(child.wait())
        try:
            ready = asyncio.create_task(self._poll_ready(began))
            await asyncio.wait((exited, ready), return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if not exited.done() and not (ready.done() and not ready.cancelled() and ready.result()):
                identity = Identity.of(child.pid)
                if identity is not None:
                    await asyncio.to_thread(end_group, identity)
                await exited
                return f"not ready within {READY_DEADLINE_SECONDS:.0f} s", None
            status = await exited
        finally:
            exited.cancel()
        self._kill_group(child.pid)
        words = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        return words, status

    async def _poll_ready(self, began: float) -> bool:
        while time.monotonic() - began < READY_DEADLINE_SECONDS:
            if await asyncio.to_thread(self._program.ready):
                self._change(
                    condition=Condition.READY, seconds_to_ready=round(time.monotonic() - began, 2), note=""
                )
                if not self._ready.done():
                    self._ready.set_result(None)
                return True
            await asyncio.sleep(READY_POLL_SECONDS)
        return False

    async def _spawn(self) -> asyncio.subprocess.Process:
        program = self._program
        account = program.account
        self._say("starting")
        with open(self._log, "ab") as log:  # noqa: ASYNC230 - opening a local file does not block
            child = await asyncio.create_subprocess_exec(
                *program.command,
                env=dict(program.environment),
                cwd=program.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        self._child = child
        identity = Identity.of(child.pid)
        self._change(condition=Condition.STARTING, pid=child.pid, born=identity.born if identity else None)
        return child

    def _kill_group(self, pid: int) -> None:
        """What the dead leader's group still holds; its number cannot be given again while a member lives."""
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)

    def _fail(self, reason: str) -> None:
        self._change(condition=Condition.FAILED, pid=None, born=None, note=reason)
        text = f"{self._program.name} {reason}\n--- the end of {self._log}\n{tail(self._log)}"
        self._ready.set_exception(StartError(text))

    def _say(self, sentence: str) -> None:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".1.log"))
        with open(self._log, "a") as log:
            log.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} supervisor: {sentence}\n")

    def _change(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # pyright: ignore[reportArgumentType] - names checked by replace
        self._note(self._state)


def tail(log: Path, lines: int = 25) -> str:
    """The end of a log, as text."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
