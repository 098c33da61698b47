"""What people do with the whole system, through the command, the API and Kafka's own console producer."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from confluent_kafka import Producer

from outlast.contracts.topics import DEFINITIONS
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.ports import Received
from outlast.messaging.topics import TopicAdmin
from outlast_cli.sample import allow_receiver, choose_receiver, receiver_log
from outlast_local import Running, down, up
from outlast_local.kafka import tool_command
from outlast_local.layout import RunFolder, project_folder

T = TypeVar("T")

SAMPLES = project_folder() / "samples"
CONTRACTS = project_folder() / "contracts"
WAIT_SECONDS_MAX = 60.0
SAMPLE_SECONDS_MAX = 240.0

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("journeys")]


@dataclass(frozen=True)
class Result:
    """How one command went."""

    status: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class System:
    """The whole system and the command, as one of its identities."""

    folder: RunFolder
    running: Running
    receiver: str

    def outlast(
        self,
        *arguments: str,
        profile: str = "acme",
        key: str = "",
        text: str | bytes = b"",
        seconds: float = 60,
    ) -> Result:
        """Run the command as a person would."""
        who = ["--key", key] if key else ["--profile", profile]
        done = subprocess.run(
            [sys.executable, "-m", "outlast_cli", *([] if arguments[0] == "up" else who), *arguments],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=os.environ | {"OUTLAST_RUN_DIR": str(self.folder.root), "COLUMNS": "200"},
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def apply(self, folder: Path, source: str, profile: str = "acme") -> None:
        """Save a runbook and switch it on."""
        path = folder / "runbook.yaml"
        path.write_text(source)
        before = self.runbooks_known()
        done = self.outlast("runbook", "apply", str(path), "--yes", "--activate", profile=profile)
        assert done.status == 0, done.error
        eventually(lambda: self.runbooks_known() > before, "the matcher to know one more runbook")

    def runbooks_known(self) -> float:
        """How many runbooks the matcher knows; an event that comes before its runbook fires nothing."""
        metrics = self.running.processes["trigger_matcher"].links["metrics"]
        text = httpx.get(metrics, trust_env=False, timeout=10).text
        found = re.search(r"^outlast_runbooks_known ([\d.e+]+)$", text, re.MULTILINE)
        assert found, "expected the matcher's metric of known runbooks"
        return float(found[1])

    def runs(self, runbook: str, profile: str = "acme") -> list[dict[str, Any]]:
        """The newest runs of a runbook."""
        return self.outlast("run", "list", "--runbook", runbook, "--json", profile=profile).json["items"]

    def run_of(self, runbook: str, event_id: str, profile: str = "acme") -> dict[str, Any]:
        """The finished run that an event caused."""

        def found() -> dict[str, Any] | None:
            runs = [run for run in self.runs(runbook, profile) if run["event"]["id"] == event_id]
            return runs[0] if runs and runs[0]["finished_at"] else None

        return eventually(found, f"a finished run of {runbook} for {event_id}")

    def received(self) -> list[dict[str, Any]]:
        """What the receiver got."""
        return [json.loads(line) for line in receiver_log(self.folder).read_text().splitlines()]


def eventually(ask: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS_MAX) -> T:
    """The first answer that is something; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"expected {what} within {seconds:.0f} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system for all journeys, with the samples in it."""
    root = Path(tempfile.mkdtemp(prefix="outlast-journeys-"))
    root.chmod(0o711)  # Postgres runs as another user if we are root, and must pass through
    folder = RunFolder(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.endswith("_DATABASE_URL") or n == "KAFKA_BOOTSTRAP_SERVERS"]:
            patch.delenv(name)
        for name in ("OUTLAST_API_URL", "OUTLAST_API_KEY", "OUTLAST_COMPANY", "OUTLAST_EGRESS_ALLOW"):
            patch.delenv(name, raising=False)
        receiver = choose_receiver(folder)
        patch.setenv("OUTLAST_EGRESS_ALLOW", "")
        patch.setenv("PMAP_RUNBOOK_ENGINE", "workflow")
        allow_receiver(receiver)
        try:
            running = up(run_dir=root, owner_pid=os.getpid())
            made = System(folder, running, receiver)
            done = made.outlast("up", "--sample", seconds=SAMPLE_SECONDS_MAX)
            assert done.status == 0, done.error
            (root / "first.txt").write_text(done.out)
            yield made
        finally:
            down(run_dir=root)
            shutil.rmtree(root, ignore_errors=True)


RUNBOOK = """\
name: {name}
rules: [{{event: {event}{condition}}}]
actions:
{actions}
"""


def runbook(name: str, actions: str, event: str = "finding_created", condition: str = "") -> str:
    indented = "\n".join(f"  {line}" for line in actions.strip().splitlines())
    return RUNBOOK.format(name=name, event=event, actions=indented, condition=condition)


def event(event_id: str, **changes: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "journeys",
        "type": "finding_created",
        "companyid": "acme",
        "data": {"finding_id": "F-1", "severity": "critical", "title": "from outside"},
    } | changes


# ---- make run


def test_the_sample_ends_with_a_table_of_runs_that_the_reports_caused(system: System) -> None:
    table = (system.folder.root / "first.txt").read_text()
    assert "success" in table
    assert "outlast run show" in table
    samples = {path.stem for path in (SAMPLES / "runbooks").iterdir()}
    page = system.outlast("run", "list", "--limit", "200", "--json").json
    assert set(page) == {"items", "next"}
    of_samples = [run for run in page["items"] if run["runbook"] in samples]
    assert {run["status"] for run in of_samples} == {"success"}
    assert {run["runbook"] for run in of_samples} == samples
    tickets = [call for call in system.received() if call["path"] == "/tickets"]
    assert len(tickets) == len({call["headers"]["idempotency-key"] for call in tickets}) > 0


def test_a_second_start_finds_what_runs_and_imports_nothing_twice(system: System) -> None:
    before = system.outlast(
        "run", "list", "--runbook", "triage-code-findings", "--limit", "200", "--json"
    ).json
    again = system.outlast("up", "--sample", seconds=SAMPLE_SECONDS_MAX)
    assert again.status == 0, again.error
    assert "running already" in again.error
    assert re.findall(r"(\d+) created, (\d+) updated, (\d+) closed", again.error) == [("0", "0", "0")] * 3
    after = system.outlast(
        "run", "list", "--runbook", "triage-code-findings", "--limit", "200", "--json"
    ).json
    assert len(after["items"]) == len(before["items"])


def test_show_explains_each_step_and_history_tells_every_event(system: System) -> None:
    run = system.runs("page-on-call-for-critical-findings")[0]
    whole = system.outlast("run", "show", run["id"], "--json").json
    opened, noted, marked = whole["steps"]
    assert opened["input"]["url"] == f"http://{system.receiver}/tickets"
    assert whole["payload"]["finding"]["title"] in opened["input"]["body"]["title"]
    ticket = opened["output"]["body"]["ticket"]
    assert noted["input"]["comment"] == f"On call was paged: {ticket}"
    assert f"ticket-{ticket.lower()}" in marked["output"]["tags"]
    text = system.outlast("run", "show", run["id"]).out
    assert all(
        word in text for word in ("open_ticket", "input", "output", "success", ticket, "finding_created")
    )
    history = system.outlast("run", "history", run["id"], "--json").json["items"]
    assert [item["seq"] for item in history] == list(range(1, len(history) + 1))
    assert history[0]["type"].startswith("workflow_started.")
    assert history[-1]["type"].startswith("workflow_completed.")


def test_a_step_whose_question_is_false_says_what_was_asked(system: System) -> None:
    runs = [run for run in system.runs("triage-code-findings") if run["steps"].get("skipped")]
    step = system.outlast("run", "show", runs[0]["id"], "--json").json["steps"][1]
    assert step["status"] == "skipped"
    assert step["reason"]
    assert step["when"] == {"field": "finding.severity", "op": "gte", "value": "high"}


# ---- apply, import, look


def test_apply_then_import_then_the_run_explains_itself(system: System, tmp_path: Path) -> None:
    actions = f"""
- id: tell
  type: http_request
  config: {{url: "http://{system.receiver}/globex", body: {{rule: "{{{{ finding.rule_id }}}}"}}}}
- id: tag
  type: add_finding_tags
  config: {{finding_id: "{{{{ finding.id }}}}", tags: ["answered-{{{{ steps.tell.output.status }}}}"]}}
"""
    source = runbook(
        "Globex tells", actions, condition=", condition: {field: finding.severity, op: eq, value: high}"
    )
    system.apply(tmp_path, source, profile="globex")
    plan = system.outlast("runbook", "plan", str(tmp_path), "--json", profile="globex").json["items"]
    assert [(item["change"], item["is_active"]) for item in plan] == [("unchanged", True)]

    report = SAMPLES / "reports" / "bandit.sarif"
    first = system.outlast("import", str(report), "--json", profile="globex")
    assert first.status == 0, first.error
    counts = first.json["findings"]
    assert set(first.json) == {"tool", "findings", "created", "updated", "closed"}
    assert counts["total"] == sum(counts[each] for each in ("critical", "high", "medium", "low", "info")) > 0
    again = system.outlast("import", str(report), "--json", profile="globex").json
    assert (again["created"], again["updated"], again["closed"]) == (0, 0, 0)

    def finished() -> list[dict[str, Any]] | None:
        runs = system.runs("globex-tells", "globex")
        return runs if len(runs) == counts["high"] and all(run["finished_at"] for run in runs) else None

    runs = eventually(finished, f"{counts['high']} finished runs")
    whole = system.outlast("run", "show", runs[0]["id"], "--json", profile="globex").json
    assert [step["status"] for step in whole["steps"]] == ["success", "success"]
    assert "answered-200" in whole["steps"][1]["output"]["tags"]

    hidden = system.outlast("run", "show", runs[0]["id"], "--json", profile="acme")
    nothing = system.outlast("run", "show", "01a1fe02-037e-8003-8877-6ec7d850693e", "--json", profile="acme")
    assert (hidden.status, hidden.out) == (nothing.status, nothing.out) == (1, nothing.out)


def test_what_is_no_report_is_refused_and_nothing_is_imported(system: System, tmp_path: Path) -> None:
    for name, content in {
        "a.json": b"{",
        "b.json": b'{"hello": 1}',
        "c.sarif": b'{"version":"2.1.0","runs":3}',
    }.items():
        (tmp_path / name).write_bytes(content)
        done = system.outlast("import", str(tmp_path / name), "--json")
        assert done.status == 2, (name, done)
        assert done.json["error"]["message"]
        assert "error:" in done.error
    assert system.outlast("import", str(tmp_path / "absent"), "--json").status == 2


# ---- a producer that is not ours


def test_a_runbook_fires_on_what_kafkas_console_producer_sends_by_the_contract(
    system: System, tmp_path: Path
) -> None:
    examples = re.findall(r"^```text\n(.+)\n```$", (CONTRACTS / "README.md").read_text(), re.MULTILINE)
    system.apply(tmp_path, runbook("From nightly", f"""
- id: tell
  type: send_webhook
  config: {{url: "http://{system.receiver}/nightly", body: {{severity: "{{{{ event.data.severity }}}}"}}}}
""", condition=", condition: {field: event.source, op: eq, value: scanner/nightly}"))  # fmt: skip
    done = system.outlast("producer", "add", "nightly", "--for", "acme", profile="admin")
    assert done.status == 0, done.error
    command = tool_command(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", system.running.kafka_bootstrap, "--topic", "platform.nightly.events"),
        *("--reader-property", "parse.headers=true", "--reader-property", "parse.key=true"),
    )
    lines = [
        line.replace("→", "\t").replace("scan-81/F-1042", f"mode-{n}/F-1042")
        for n, line in enumerate(examples)
    ]
    sent = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=90, check=False
    )
    assert sent.returncode == 0, sent.stderr
    for number in range(len(lines)):
        run = system.run_of("from-nightly", f"mode-{number}/F-1042")
        assert run["status"] == "success"
    calls = [call["body"] for call in system.received() if call["path"] == "/nightly"]
    assert [call["data"] for call in calls] == [{"severity": "critical"}] * 2
    assert {call["event"]["source"] for call in calls} == {"scanner/nightly"}


# ---- bad input: a clear error or a dead letter, and the flow goes on

LONE_SURROGATE = json.dumps(event("surrogate")).replace("from outside", "\\ud800").encode()
NUL = json.dumps(event("nul")).replace("from outside", "a\\u0000b").encode()

BAD_EVENTS: dict[str, tuple[bytes, str]] = {
    "malformed": (b'{"specversion": "1.0",', ""),
    "not a CloudEvent": (b'{"hello": "world"}', "specversion"),
    "unknown type": (json.dumps(event("t", type="finding_exploded")).encode(), "type"),
    "wrong schema": (json.dumps(event("s", data={"finding_id": 7})).encode(), "data.finding_id"),
    "foreign company": (json.dumps(event("c", companyid="globex")).encode(), "companyid"),
    "huge": (json.dumps(event("h", data={"finding_id": "F", "pad": "x" * 300_000})).encode(), "at most"),
    "NUL": (NUL, "data.title"),
    "lone surrogate": (LONE_SURROGATE, "data.title"),
}


@pytest.mark.parametrize("name", list(BAD_EVENTS))
def test_a_bad_event_over_http_is_refused_with_its_reason(system: System, name: str) -> None:
    content, clue = BAD_EVENTS[name]
    done = system.outlast("events", "emit", "-", "--json", text=content)
    assert done.status == (1 if name == "foreign company" else 2), done
    faults = done.json["error"]["errors"]
    assert clue in f"{faults[0]['path']} {faults[0]['message']}"
    assert "error:" in done.error


def test_bad_events_on_kafka_are_dead_letters_and_the_good_one_behind_them_fires(
    system: System, tmp_path: Path
) -> None:
    system.apply(tmp_path, runbook("After the flood", f"""
- {{id: tell, type: http_request, config: {{url: "http://{system.receiver}/flood"}}}}
""", condition=", condition: {field: event.source, op: eq, value: journeys}"))  # fmt: skip
    assert system.outlast("producer", "add", "flood", "--for", "acme", profile="admin").status == 0
    producer = Producer({"bootstrap.servers": system.running.kafka_bootstrap, "enable.idempotence": True})
    for content, _ in BAD_EVENTS.values():
        producer.produce("platform.flood.events", content, b"one key", 0)
    producer.produce("platform.flood.events", None, b"one key", 0)
    producer.produce("platform.flood.events", json.dumps(event("good")).encode(), b"one key", 0)
    assert producer.flush(30) == 0

    assert system.run_of("after-the-flood", "good")["status"] == "success"

    def buried() -> dict[str, Any] | None:
        items = system.outlast("dlq", "list", "--service", "trigger_matcher", "--json").json["items"]
        found = {item["id"]: item for item in items if item["topic"] == "platform.flood.events"}
        return found if len(found) == len(BAD_EVENTS) + 1 else None

    letters = eventually(buried, "a dead letter for every bad event")
    for offset, (name, (_, clue)) in enumerate(BAD_EVENTS.items()):
        assert clue in letters[f"platform.flood.events-0-{offset}"]["error"], name
    shown = system.outlast("dlq", "show", "platform.flood.events-0-2")
    assert "finding_exploded" in shown.out


def test_a_wrong_condition_tree_is_refused_with_the_path_of_the_fault(system: System, tmp_path: Path) -> None:
    leaves = "{field: finding.severity, op: eq, value: high}, {any: [{field: x, op: eqq, value: 1}]}"
    tree = f", condition: {{all: [{leaves}]}}"
    actions = '- {type: http_request, config: {url: "http://example.org"}}'
    (tmp_path / "bad.yaml").write_text(runbook("Wrong tree", actions, condition=tree))
    done = system.outlast("runbook", "apply", str(tmp_path / "bad.yaml"), "--yes", "--json")
    assert done.status == 2
    assert done.json["error"]["errors"][0]["path"].endswith("rules[0].condition.all[1].any[0].op")
    assert system.outlast("runbook", "show", "wrong-tree").status == 1


def test_an_undefined_template_name_fails_its_step_with_the_path_and_the_run_goes_on(
    system: System, tmp_path: Path
) -> None:
    system.apply(tmp_path, runbook("Undefined name", f"""
- id: wrong
  type: http_request
  config: {{url: "http://{system.receiver}/undefined", body: {{who: "{{{{ nobody.name }}}}"}}}}
- id: right
  type: http_request
  config: {{url: "http://{system.receiver}/defined"}}
""", condition=", condition: {field: event.source, op: eq, value: undefined-names}"))  # fmt: skip
    done = system.outlast(
        "events", "emit", "-", "--json", text=json.dumps(event("u1", source="undefined-names"))
    )
    assert done.status == 0, done.error
    run = system.run_of("undefined-name", "u1")
    assert run["status"] == "partial"
    wrong, right = system.outlast("run", "show", run["id"], "--json").json["steps"]
    assert (wrong["status"], right["status"]) == ("failed", "success")
    assert wrong["error"]["path"] == "nobody.name"
    assert not [call for call in system.received() if call["path"] == "/undefined"]


def test_a_revoked_key_is_refused_by_every_api_and_others_go_on(system: System) -> None:
    made = system.outlast("identity", "create", "leaver", "--role", "security_engineer", "--json").json
    key = made["key"]
    report = str(SAMPLES / "reports" / "bandit.sarif")
    eventually(
        lambda: system.outlast("import", report, "--json", key=key).status == 0,
        "the platform to know the key",
    )
    assert system.outlast("run", "list", "--json", key=key).status == 0
    assert system.outlast("identity", "revoke", made["id"]).status == 0
    refused = system.outlast("run", "list", "--json", key=key)
    assert (refused.status, refused.json["error"]["code"]) == (1, "unauthenticated")
    eventually(
        lambda: system.outlast("import", report, "--json", key=key).status == 1,
        "the platform to refuse the key",
    )
    assert system.outlast("run", "list", "--json").status == 0


def test_sending_an_event_twice_fires_once(system: System, tmp_path: Path) -> None:
    system.apply(tmp_path, runbook("Once", f"""
- {{id: tell, type: http_request, config: {{url: "http://{system.receiver}/once"}}}}
""", condition=", condition: {field: event.source, op: eq, value: doubles}"))  # fmt: skip
    body = json.dumps(event("d1", source="doubles"))
    answers = [system.outlast("events", "emit", "-", "--json", text=body).json["items"][0] for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["accepted", "duplicate"]
    system.run_of("once", "d1")
    assert len([call for call in system.received() if call["path"] == "/once"]) == 1


def test_a_lost_topic_of_definitions_is_said_again_and_runbooks_go_on_firing(
    system: System, tmp_path: Path
) -> None:
    admin = TopicAdmin(system.running.kafka_bootstrap)
    before = admin.describe([DEFINITIONS])[DEFINITIONS].topic_id
    admin.delete([DEFINITIONS])

    def reborn() -> bool:
        found = admin.describe([DEFINITIONS])
        return DEFINITIONS in found and found[DEFINITIONS].topic_id != before

    eventually(reborn, "the topic to be made again")
    wanted = {f"acme/{item['id']}" for item in system.outlast("runbook", "list", "--json").json["items"]}
    assert wanted <= asyncio.run(keys_of(system.running.kafka_bootstrap))
    system.apply(tmp_path, runbook("After the loss", f"""
- {{id: tell, type: http_request, config: {{url: "http://{system.receiver}/loss"}}}}
""", condition=", condition: {field: event.source, op: eq, value: after-loss}"))  # fmt: skip
    done = system.outlast("events", "emit", "-", text=json.dumps(event("l1", source="after-loss")))
    assert done.status == 0, done.error
    assert system.run_of("after-the-loss", "l1")["status"] == "success"


async def keys_of(bootstrap: str) -> set[str]:
    """Every runbook on the topic, read to its head."""
    keys: set[str] = set()

    def note(received: Received) -> None:
        keys.add((received.key or b"").decode())

    reader = CompactedReader(bootstrap, [DEFINITIONS], note, client_id="journeys", headed=[DEFINITIONS])
    reading = asyncio.create_task(reader.run())
    try:
        await asyncio.wait_for(reader.ready(), WAIT_SECONDS_MAX)
    finally:
        await reader.close()
        await reading
    return keys
