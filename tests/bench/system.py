"""The system under test: embedded servers and every service, in a run folder of its own, with the bench's action."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import httpx

from outlast_local import down, up
from tests.bench.load import COMPANY, FINDINGS, PRODUCER, RUNBOOKS, System, client, runbook

HERE = Path(__file__).parent
ACTION = "outlast_bench_noop"
IMPORT_PAGE = 5_000
WAIT_SECONDS = 180.0


def install_action(into: Path) -> None:
    """Install the no-op action as a distribution: the package, and metadata with its entry point."""
    metadata = into / f"{ACTION}-0.1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "noop" / ACTION, into / ACTION, dirs_exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outlast-bench-noop\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[outlast.actions]\nnoop = {ACTION}:NOOP\n")


def bring_up(
    folder: Path, mode: str = "workflow", company_runs_max: int | None = FINDINGS
) -> tuple[System, str]:
    """Start everything in `folder`; returns the system and the Postgres DSN.

    The load is one company's: its limit of runs at the same time is set so high that none of them is deferred, since
    what is measured is the path and not the limit. None leaves the product's own.
    """
    install_action(folder / "actions")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(folder / "actions"), os.environ.get("PYTHONPATH")])
    )
    os.environ["PMAP_RUNBOOK_ENGINE"] = mode
    os.environ.pop("OUTLAST_TRIGGER_MATCHER_COMPANY_RUNS_MAX", None)
    if company_runs_max is not None:
        os.environ["OUTLAST_TRIGGER_MATCHER_COMPANY_RUNS_MAX"] = str(company_runs_max)
    os.environ["OUTLAST_EGRESS_ALLOW"] = "127.0.0.0/8"
    os.environ["OUTLAST_LOG_LEVEL"] = "warning"
    running = up(run_dir=folder / "run")
    system = System(
        running.kafka_bootstrap, running.control_plane_url, running.platform_url, running.admin_key
    )
    return system, running.postgres_dsn


def take_down(folder: Path) -> None:
    """Stop everything and remove the folder."""
    down(run_dir=folder / "run")
    shutil.rmtree(folder, ignore_errors=True)


def report(first: int, count: int) -> dict[str, object]:
    """A Trivy report with that many secrets, each a finding of its own."""
    secrets = [
        {
            "RuleID": f"bench-{number}",
            "Category": "general",
            "Severity": "HIGH",
            "Title": f"Match {number}",
            "StartLine": 1,
            "EndLine": 1,
            "Code": {"Lines": None},
            "Match": "x" * 60,
        }
        for number in range(first, first + count)
    ]
    results = [{"Target": f"bench-{first}", "Class": "secret", "Secrets": secrets}]
    return {
        "SchemaVersion": 2,
        "ArtifactName": f"bench-{first}",
        "ArtifactType": "filesystem",
        "Results": results,
    }


def prepare(system: System, url: str | None, name: str, is_calm: bool = False) -> None:
    """Company, producer, and 100 active runbooks of which one matches: with POSTs to `url`, or with no-ops."""
    with client(system, system.control_plane) as api:
        ok(api.put(f"/companies/{COMPANY}", json={"name": "Bench"}))
        ok(api.put(f"/producers/{PRODUCER}", json={"companies": [COMPANY]}))
        for number in range(RUNBOOKS):
            wanted = "bench-" if number == 0 else f"other-{number}-"
            document = {**runbook(f"bench-{number}", wanted, url, is_calm), "active": True}
            ok(until_there(lambda d=document, n=number: api.put(f"/runbooks/bench-{n}", json=d)))
    print(f"bench: {RUNBOOKS} runbooks with {name} actions are saved", file=sys.stderr, flush=True)


def import_findings(system: System) -> list[str]:
    """The findings, through the product's own import; returns their ids."""
    with client(system, system.platform) as api:
        for first in range(0, FINDINGS, IMPORT_PAGE):
            ok(api.post("/imports", content=json.dumps(report(first, IMPORT_PAGE)).encode()))
        ids: list[str] = []
        after = ""
        while True:
            page = ok(
                api.get("/findings", params={"limit": 500, **({"after": after} if after else {})})
            ).json()
            ids += [item["id"] for item in page["items"]]
            after = page.get("next") or ""
            if not after:
                break
    if len(ids) < FINDINGS:
        raise SystemExit(f"bench: expected {FINDINGS} findings, the platform lists {len(ids)}")
    return ids


def until_there(call: "object") -> httpx.Response:
    """Repeat while the service says 503 (it is still learning the catalogue)."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        response = call()  # type: ignore[operator]
        if response.status_code != 503 or time.monotonic() > deadline:
            return response
        time.sleep(0.2)


def ok(response: httpx.Response) -> httpx.Response:
    """The response, or the end of the bench with what the API said."""
    if response.status_code >= 400:
        raise SystemExit(f"bench: {response.request.method} {response.request.url}: "
                         f"{response.status_code} {response.text[:500]}")  # fmt: skip
    return response
