"""What people do with the whole system, through the command, the API and Kafka's own console producer."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.e2e.conftest import SAMPLE_SECONDS_MAX
from tests.e2e.journeys import WAIT_SECONDS_MAX, System, event, eventually, runbook

from outlast.contracts.topics import DEFINITIONS
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.ports import Received
from outlast.messaging.topics import TopicAdmin
from outlast_local.kafka import tool_command
from outlast_local.layout import project_folder

SAMPLES = project_folder() / "samples"
CONTRACTS = project_folder() / "contracts"
SLEEPER, ASKER = "escalate-critical-scans", "ask-before-rotating-keys"
SCHEDULED = "weekly-hygiene-sweep"

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("journeys")]


# ---- make run


def test_the_sample_ends_with_a_table_of_runs_that_the_reports_caused(system: System) -> None:
    table = (system.folder.root / "first.txt").read_text()
    assert "success" in table
    assert "outlast run show" in table
    samples = {path.stem for path in (SAMPLES / "runbooks").iterdir()}
    page = system.outlast("run", "list", "--json").json
    assert set(page) == {"items", "next"}
    of_samples = [run for name in sorted(samples) for run in system.runs(name)]
    statuses = {
        run["status"] for run in of_samples if run["runbook"] not in {SLEEPER, ASKER} or run["finished_at"]
    }
    assert statuses == {"success"}
    asking = [run for run in of_samples if run["runbook"] == ASKER]
    assert {wait["signal"] for run in asking for wait in run["waits"]} == {"approved"}
    assert f"outlast signal approved --run {asking[0]['id']}" in table
    assert {run["runbook"] for run in of_samples} | {SCHEDULED} == samples
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
