"""`outlast up --sample`: a system that has something to show. Every part finds what an earlier run left.

Two companies with a key each, a receiver on the loopback for the sample runbooks' calls, the runbooks of
samples/runbooks for the first company, the reports of samples/reports, and the wait until what they caused is done.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from outlast_cli.client import Client
from outlast_cli.commands.imports import import_report, sentence
from outlast_cli.commands.runbooks import Document, check_plan, plan_of, read_documents, save
from outlast_cli.failures import Failure
from outlast_cli.profiles import ADMINISTRATOR, Profile, Profiles, Target, read_profiles, write_profiles
from outlast_cli.receiver import mail_port
from outlast_local.layout import RunFolder, project_folder
from outlast_local.lifecycle import Running, status

TARGET = "vulnerable-app"
"""The asset that the sample reports are about, and the team that owns it."""
TEAM = ("shop-team", "Shop team")
COMPANIES = (("acme", "Acme Corporation"), ("globex", "Globex"))
RECEIVER_ADDRESS = "127.0.0.1:18990"
"""What the sample runbooks call. Another free port is taken, and laid into them, when this one is not free."""
CATALOGUE_TIMEOUT_SECONDS = 60.0
KEY_TIMEOUT_SECONDS = 30.0
MATCHER_TIMEOUT_SECONDS = 60.0
KNOWN_RUNBOOKS = re.compile(r"^outlast_runbooks_known ([\d.e+]+)$", re.MULTILINE)
RUNS_TIMEOUT_SECONDS = 120.0
QUIET_SECONDS = 2.0
"""No new run for so long, and none unfinished: what the reports caused is done."""
POLL_SECONDS = 0.25
PORT_TRIES_MAX = 20

Tell = Callable[[str], None]


def samples_folder() -> Path:
    """The samples of the clone; Failure where only the command is installed."""
    folder = project_folder() / "samples"
    if not folder.is_dir():
        raise Failure(
            "there are no samples here", next_step="run outlast up --sample in a clone of the project"
        )
    return folder


# ---- the receiver


def receiver_log(folder: RunFolder) -> Path:
    """The calls that the receiver got."""
    return folder.logs / "receiver.jsonl"


def choose_receiver(folder: RunFolder) -> str:
    """host:port of the receiver of this run folder: the remembered one, else the usual, else a free one."""
    kept = folder.root / "receiver.json"
    try:
        return str(json.loads(kept.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    host, _, port = RECEIVER_ADDRESS.partition(":")
    address = f"{host}:{free_port_pair(host, int(port))}"
    folder.create()
    kept.write_text(json.dumps({"address": address}))
    return address


def free_port_pair(host: str, wanted: int) -> int:
    """A port for calls whose next one, for mail, is free as well: the wanted one if that is so."""
    for port in (wanted, *(0,) * PORT_TRIES_MAX):
        with socket.socket() as calls, socket.socket() as mail:
            for each in (calls, mail):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                calls.bind((host, port))
                found = int(calls.getsockname()[1])
                mail.bind((host, mail_port(found)))
            except (OSError, OverflowError):
                continue
            return found
    raise Failure("no two free ports side by side were found", next_step="outlast up --sample, again")


def use_mail_receiver(address: str) -> None:
    """Let runbooks' mail go to the receiver at this address, unless a relay is set."""
    if os.environ.get("OUTLAST_ACTION_EXECUTOR_SMTP_URL"):
        return
    host, _, port = address.partition(":")
    relay = f"smtp://{host}:{mail_port(int(port))}"
    os.environ["OUTLAST_ACTION_EXECUTOR_SMTP_URL"] = f"{relay}?starttls=never"
    sender = "OUTLAST_ACTION_EXECUTOR_SMTP_FROM"
    os.environ[sender] = os.environ.get(sender) or "Outlast <outlast@example.org>"
    allow_receiver(relay)


def allow_receiver(address: str) -> None:
    """Let runbooks call it: tenants' requests to the loopback are refused unless the address is listed."""
    listed = [each for each in os.environ.get("OUTLAST_EGRESS_ALLOW", "").split(",") if each]
    if address not in listed:
        os.environ["OUTLAST_EGRESS_ALLOW"] = ",".join([*listed, address])


def ensure_receiver(folder: RunFolder, address: str) -> None:
    """A receiver listens afterwards; it ends with the system's supervisor."""
    if _listens(address):
        return
    supervisor = status(run_dir=folder.root).supervisor
    if supervisor is None:
        raise Failure("the system ended while the samples were set up", next_step="outlast up --sample")
    command = [
        sys.executable, "-m", "outlast_cli.receiver", "--port", address.rpartition(":")[2],
        "--log", str(receiver_log(folder)), "--with-pid", str(supervisor.pid),
    ]  # fmt: skip
    with open(folder.log_of("receiver"), "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 10
    while not _listens(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure(
                f"the receiver does not listen on {address}", next_step=f"see {folder.log_of('receiver')}"
            )
        time.sleep(0.05)


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, int(port))) == 0


# ---- companies and keys


def ensure_companies(folder: RunFolder, running: Running) -> Profiles:
    """The demonstration companies exist, and a valid key of each is in the run folder."""
    profiles = read_profiles(folder)
    administrator = client_of(running, profiles.items.get(ADMINISTRATOR, Profile("")))
    items = dict(profiles.items)
    for company_id, name in COMPANIES:
        administrator.put(f"/companies/{company_id}", {"name": name})
        if company_id not in items or not _is_valid(running, items[company_id]):
            made = administrator.post(
                "/identities",
                {"name": f"{company_id} engineer", "role": "security_engineer"},
                company=company_id,
            )
            items[company_id] = Profile(made["key"], company_id)
    kept = Profiles(COMPANIES[0][0], items)
    write_profiles(folder, kept)
    return kept


def _is_valid(running: Running, profile: Profile) -> bool:
    try:
        client_of(running, profile).get("/runbooks", limit=1)
    except Failure as failure:
        if failure.code in {"unauthenticated", "not_found"}:
            return False  # the database is a new one
        raise
    return True


def client_of(running: Running, profile: Profile) -> Client:
    """The local system as this identity."""
    return Client(Target(running.control_plane_url, running.platform_url, profile.key, profile.company))


def ensure_asset(client: Client) -> None:
    """The asset that the reports are about exists and has an owner; first the platform has to know the key."""
    deadline = time.monotonic() + KEY_TIMEOUT_SECONDS
    while True:
        try:
            client.platform("PUT", f"/teams/{TEAM[0]}", body={"name": TEAM[1]})
            break
        except Failure as failure:
            if failure.code not in {"unauthenticated", "unavailable"} or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)
    asset = {"name": TARGET, "class": "repository", "criticality": "high", "owning_team_id": TEAM[0]}
    client.platform("PUT", f"/assets/{TARGET}", body=asset)


# ---- runbooks, reports, runs


def apply_runbooks(client: Client, folder: Path, receiver: str, tell: Tell) -> int:
    """The sample runbooks are there and active; returns how many there are."""
    documents = [_with_receiver(each, receiver) for each in read_documents([str(folder / "runbooks")])]
    plan = _plan_when_ready(client, documents, tell)
    check_plan(documents, plan)
    for document, item in zip(documents, plan, strict=True):
        if item["change"] != "unchanged" or not item["is_active"]:
            save(client, document, item["id"], activate=True)
    return len(documents)


def await_matcher(running: Running, count: int) -> None:
    """The matcher knows the runbooks: what is imported before that fires nothing."""
    metrics = running.processes["trigger_matcher"].links["metrics"]
    deadline = time.monotonic() + MATCHER_TIMEOUT_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(metrics, trust_env=False, timeout=5)
            known = KNOWN_RUNBOOKS.search(answer.text)
            if known and float(known[1]) >= count:
                return
        if time.monotonic() > deadline:
            raise Failure(
                f"the matcher does not know the {count} runbooks", next_step="look at its log: outlast status"
            )
        time.sleep(POLL_SECONDS)


def _with_receiver(document: Document, receiver: str) -> Document:
    return Document(
        document.path, document.source.replace(RECEIVER_ADDRESS, receiver), document.source_format
    )


def _plan_when_ready(client: Client, documents: Sequence[Document], tell: Tell) -> list[dict[str, Any]]:
    """The executors say which actions exist only when they are up; until then definitions cannot be checked."""
    deadline = time.monotonic() + CATALOGUE_TIMEOUT_SECONDS
    is_told = False
    while True:
        try:
            return plan_of(client, documents)
        except Failure as failure:
            if failure.code != "unavailable" or time.monotonic() > deadline:
                raise
        if not is_told:
            tell("waiting for the catalogue of actions")
            is_told = True
        time.sleep(POLL_SECONDS)


def import_reports(client: Client, folder: Path, tell: Tell) -> int:
    """Import every sample report; returns how many findings were created or changed."""
    reports = sorted(
        path for path in (folder / "reports").iterdir() if path.name.endswith((".sarif", ".json"))
    )
    if not reports:
        raise Failure(f"{folder / 'reports'} holds no report", next_step="expected *.sarif and *.json")
    changes = 0
    for report in reports:
        outcome = import_report(client, report.read_bytes(), TARGET)
        tell(f"{report.name}: {sentence(outcome)}")
        changes += outcome["created"] + outcome["updated"] + outcome["closed"]
    return changes


def await_runs(
    client: Client, expects_new: bool, known: int, tell: Tell
) -> tuple[list[dict[str, Any]], bool]:
    """The newest runs once each is finished or waits and no new ones appear; and whether that was reached."""
    deadline = time.monotonic() + RUNS_TIMEOUT_SECONDS
    told = (-1, -1)
    changed_at = time.monotonic()
    while True:
        runs = newest_runs(client)
        waiting = sum(run["status"] == "waiting" for run in runs)
        open_count = sum(run["finished_at"] is None for run in runs) - waiting
        if (len(runs), open_count) != told:
            told, changed_at = (len(runs), open_count), time.monotonic()
            tell(f"{len(runs)} runs, {open_count} unfinished, {waiting} waiting")
        is_started = bool(runs) and (not expects_new or len(runs) > known)
        is_quiet = time.monotonic() - changed_at >= (QUIET_SECONDS if expects_new else 0)
        if is_started and open_count == 0 and is_quiet:
            return runs, True
        if time.monotonic() > deadline:
            return runs, False
        time.sleep(POLL_SECONDS)


def signal_hints(runs: Sequence[dict[str, Any]]) -> list[str]:
    """For each signal that some run waits for, the command that sends it to the newest of them."""
    hints: dict[str, str] = {}
    for run in runs:
        for wait in run.get("waits") or ():
            if wait["kind"] == "signal":
                hints.setdefault(wait["signal"], f"outlast signal {wait['signal']} --run {run['id']}")
    return list(hints.values())


def newest_runs(client: Client) -> list[dict[str, Any]]:
    """Up to 200 runs, newest first; none while the records are not there yet."""
    try:
        return client.get("/executions", limit=200)["items"]
    except Failure as failure:
        if failure.code == "unavailable":
            return []
        raise
