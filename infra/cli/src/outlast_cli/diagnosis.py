"""`outlast doctor`: what the system needs, whether it is there, and what to do where it is not."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from outlast_cli.profiles import ADMINISTRATOR, Profile, read_profiles
from outlast_local.layout import RunFolder, cache_folder
from outlast_local.lifecycle import status
from outlast_local.state import Phase, SystemState

DISK_BYTES_MIN = 2 * 1024**3
MEMORY_BYTES_MIN = 2 * 1024**3
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do if it is not fine."""

    check: str
    is_fine: bool
    found: str
    advice: str = ""


def diagnose() -> list[Finding]:
    """Every check, in the order in which they matter. The system need not run, but says so."""
    folder = RunFolder.current()
    state = status(run_dir=folder.root)
    return [_python(), _disk(folder), _memory(), _cache(), *_system(state, folder), *_api(state, folder)]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed")


def _disk(folder: RunFolder) -> Finding:
    root = next(path for path in (folder.root, *folder.root.parents) if path.exists())
    free = shutil.disk_usage(root).free
    is_writable = os.access(root, os.W_OK)
    found = f"{free / 1024**3:.1f} GB free at {folder.root}" + ("" if is_writable else ", not writable")
    advice = f"at least {DISK_BYTES_MIN // 1024**3} GB are needed; OUTLAST_RUN_DIR chooses another folder"
    return Finding("disk", free >= DISK_BYTES_MIN and is_writable, found, advice)


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    return Finding(
        "memory",
        free >= MEMORY_BYTES_MIN or _is_up(),
        f"{free / 1024**3:.1f} GB available",
        "about 2 GB are needed",
    )


def _is_up() -> bool:
    return status().phase is Phase.READY


def _cache() -> Finding:
    folder = cache_folder()
    jars = len(list(Path(folder).rglob("*.jar")))
    found = (
        f"{jars} files of the broker in {folder}" if jars else f"empty ({folder}); the first start fills it"
    )
    return Finding("broker's files", True, found)


def _system(state: SystemState, folder: RunFolder) -> list[Finding]:
    advice = f"start it: outlast up; logs: {folder.logs}"
    findings = [Finding("system", state.phase is Phase.READY, state.problem or state.phase.value, advice)]
    for process in state.processes.values():
        is_fine = process.condition.value == "ready"
        if state.phase is not Phase.DOWN and (not is_fine or process.restarts):
            found = f"{process.condition.value}, {process.restarts} restarts {process.note}".rstrip()
            findings.append(Finding(process.name, is_fine, found, f"see {process.log}"))
    return findings


def _api(state: SystemState, folder: RunFolder) -> list[Finding]:
    if state.phase is not Phase.READY or "control_plane" not in state.urls:
        return []
    profiles = read_profiles(folder)
    profile = profiles.items.get(profiles.default) or profiles.items.get(ADMINISTRATOR, Profile(""))
    url = f"{state.urls['control_plane']}/api/v1/actions"
    options: dict[str, Any] = {
        "headers": {"Authorization": f"Bearer {profile.key}"}, "timeout": TIMEOUT_SECONDS, "trust_env": False,
    }  # fmt: skip
    try:
        answer = httpx.get(url, **options)
        engine = httpx.get(f"{state.urls['control_plane']}/api/v1/engine", **options)
    except httpx.TransportError as fault:
        return [Finding("api", False, f"{url}: {fault}", "see the control plane's log")]
    match answer.status_code:
        case 200:
            api = Finding("api", True, f"answers; {len(answer.json()['items'])} actions in the catalogue")
            return [api, *([engine_finding(engine.json())] if engine.is_success else [])]
        case 401:
            advice = f"the key in {folder.root} is not valid: outlast up --sample makes new ones"
            return [Finding("api", False, "refuses the key", advice)]
        case other:
            return [Finding("api", False, f"answered {other}", "wait a moment; then see the executor's log")]


def engine_finding(engine: dict[str, Any]) -> Finding:
    """Whether the engine takes durable work, and so what becomes of new runs: `GET /engine`."""
    state, new_runs = engine.get("state"), engine.get("new_runs")
    since = f" since {engine['since']}" if engine.get("since") else ""
    becomes = {
        "inline": "new runs go inline, as the mode says",
        "durable": "new runs are durable",
        "waiting": "new runs wait for it",
        "degraded": "new runs go inline and are marked is_degraded; those that require durability wait",
    }.get(str(new_runs), str(new_runs))
    is_fine = new_runs in {"inline", "durable"}
    if engine.get("mode") == "shadow" and state != "up":
        is_fine, becomes = False, f"{becomes}; their durable doubles wait for it"
    return Finding(
        "engine", is_fine, f"{state}{since}; {becomes}", "is its database there? see the engine's log"
    )
