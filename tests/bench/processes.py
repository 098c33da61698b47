"""Where the CPU-seconds went: every process of the system under test by name, before and after a run.

A backend of Postgres goes by the service that it works for; what the server does itself (its log, checkpoints,
vacuum, sessions that have ended) is `postgres`. `driver` is this process. What is missing to the whole machine is
the receiver's and other people's: on a machine that is shared, compare these lines rather than the whole.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from outlast_local import status


def cpu_by_process(folder: Path) -> dict[str, float]:
    """CPU-seconds of every process of the system in this run folder since it began."""
    state = status(run_dir=folder)
    spent = defaultdict[str, float](float, driver=_seconds(psutil.Process()))
    for name, process in state.processes.items():
        if process.pid is None:
            continue
        if name == "postgres":
            spent |= _of_postgres(process.pid, asyncio.run(_applications(state.postgres_dsn)))
        else:
            spent[name] += _seconds(psutil.Process(process.pid))
    return spent


class Spending:
    """What every process spends from here on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = cpu_by_process(folder)

    def line(self, executions: int) -> str:
        """CPU-seconds until now for a thousand of so many executions (see `line`)."""
        return line(self._before, cpu_by_process(self._folder), executions)


def line(before: Mapping[str, float], after: Mapping[str, float], executions: int) -> str:
    """CPU-seconds for a thousand executions: together, then the largest first; those below a hundredth unnamed."""
    spent = {name: (after[name] - before.get(name, 0.0)) / executions * 1000 for name in after}
    largest = sorted(spent.items(), key=lambda each: -each[1])
    named = ", ".join(f"{name} {seconds:.2f}" for name, seconds in largest if seconds >= 0.005)
    return f"{sum(spent.values()):.2f} = {named}"


async def _applications(dsn: str) -> dict[int, str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select pid, application_name from pg_stat_activity")
    finally:
        await connection.close()
    return {row["pid"]: row["application_name"].removeprefix("outlast_") for row in rows}


def _of_postgres(postmaster: int, applications: Mapping[int, str]) -> dict[str, float]:
    server = psutil.Process(postmaster)
    ended = server.cpu_times()
    own = _seconds(server) + ended.children_user + ended.children_system
    spent = defaultdict[str, float](float, postgres=own)
    for child in server.children():
        application = applications.get(child.pid, "")
        try:
            spent[f"postgres/{application}" if application else "postgres"] += _seconds(child)
        except psutil.Error:
            continue  # it has just ended, and is counted as such the next time
    return spent


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
