"""What the language means, without a server: the same answers as the services give, and JSON lines that stay."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from outlast.testing.condition_oracle import holds
from outlast.testing.condition_strategies import NOW, random_object, random_tree
from outlast_cli.main import outlast

SEVERE = {"field": "finding.severity", "op": "gte", "value": "high"}
PAYLOAD = {"finding": {"id": "F-1", "severity": "critical"}, "event": {"time": "2026-03-14T09:26:53Z"}}
PAGE = """\
name: Page on call
rules:
  - event: finding_created
    condition: {field: finding.severity, op: gte, value: high}
  - event: scan_finished
  - event: finding_created
    condition: {field: event.data.tool, op: eq, value: trivy}
actions: [{type: of_a_third_party, config: {anything: 1}}]
"""
CLOUD_EVENT = {
    "specversion": "1.0", "id": "e-1", "source": "scanner", "type": "finding_created", "companyid": "acme",
    "time": "2026-03-14T09:26:53Z", "subject": "findings/F-1", "data": {"finding_id": "F-1", "tool": "trivy"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server, no key, no run folder."""
    for name in ("OUTLAST_API_URL", "OUTLAST_API_KEY", "OUTLAST_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTLAST_RUN_DIR", str(tmp_path / "none"))


@pytest.fixture
def page(tmp_path: Path) -> str:
    """A file with a runbook."""
    path = tmp_path / "page.yaml"
    path.write_text(PAGE)
    return str(path)


def run(*arguments: str, text: str | bytes = "") -> Result:
    return CliRunner().invoke(outlast, list(arguments), input=text)


def answers(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def batch(*arguments: str, lines: list[object]) -> tuple[int, list[dict[str, Any]]]:
    done = run(*arguments, "--batch", "-", text="".join(json.dumps(line) + "\n" for line in lines))
    return done.exit_code, answers(done)


# ---- rule eval


def test_each_leaf_says_why_it_is_true_or_false() -> None:
    tree = {
        "all": [
            SEVERE,
            {"any": [{"field": "finding.owner", "op": "neq", "value": "x"}, {"field": "b", "op": "gt", "value": 3}]},
            {"field": "at", "op": "older_than", "value": "7d"},
        ]
    }  # fmt: skip
    payload = PAYLOAD | {"b": "7", "at": "2026-03-12T09:26:53Z"}
    done = run("rule", "eval", "--conditions", json.dumps(tree), "--payload", json.dumps(payload), "--json")
    assert done.exit_code == 1, done.output
    answer = json.loads(done.stdout)
    assert (answer["matched"], answer["now"]) == (False, "2026-03-14T09:26:53+00:00")
    assert [(leaf["path"], leaf["result"], leaf["why"]) for leaf in answer["leaves"]] == [
        ("all[0]", True, 'finding.severity is "critical"'),
        ("all[1].any[0]", True, "finding.owner is absent; neq is true of what is absent"),
        ("all[1].any[1]", False, 'b is "7", text; it is not ordered with a number'),
        ("all[2]", False, 'at is "2026-03-12T09:26:53Z", 2.0 d ago'),
    ]
    shown = run("rule", "eval", "--conditions", json.dumps(tree), "--payload", json.dumps(payload)).stdout
    assert shown.splitlines()[0] == "false"
    assert "2.0 d ago" in shown


@pytest.mark.parametrize(
    ("leaf", "found", "why"),
    [
        ({"op": "older_than", "value": "1d"}, "2026-01-01T00:00:00", ", which has no zone"),
        ({"op": "within_last", "value": "1d"}, "2027-01-01T00:00:00Z", "in the future"),
        ({"op": "eq", "value": 1}, True, "a boolean; a number is never equal to it"),
        ({"op": "gt", "value": "low"}, "urgent", ", which is no severity"),
        ({"op": "exists", "value": True}, 1, "x is there"),
    ],
)
def test_a_leaf_that_is_false_for_no_visible_reason_names_it(
    leaf: dict[str, Any], found: object, why: str
) -> None:
    _, (answer,) = batch(
        "rule", "eval",
        lines=[{"conditions": leaf | {"field": "x"}, "payload": {"x": found}, "now": "2026-03-14T00:00:00Z"}],
    )  # fmt: skip
    assert why in answer["leaves"][0]["why"]


def test_now_is_what_is_given_else_the_events_time() -> None:
    recent = {"field": "at", "op": "within_last", "value": "1h"}
    payload = PAYLOAD | {"at": "2026-03-14T09:00:00Z"}
    line = {"conditions": recent, "payload": payload}
    _, results = batch("rule", "eval", lines=[line, line | {"now": "2026-03-15T00:00:00Z"}])
    assert [each["matched"] for each in results] == [True, False]
    given = ("--conditions", json.dumps(recent), "--payload", json.dumps(payload), "--json")
    for now, holds_then in (((), True), (("--now", "2026-03-15T00:00:00Z"), False)):
        done = run("rule", "eval", *given, *now)
        assert (json.loads(done.stdout)["matched"], done.exit_code) == (holds_then, 0 if holds_then else 1)


def test_a_batch_agrees_with_the_naive_evaluator() -> None:
    rng = random.Random(7)
    pairs = [(random_tree(rng), random_object(rng)) for _ in range(400)]
    lines = [
        {"id": number, "conditions": tree, "payload": payload, "now": NOW.isoformat()}
        for number, (tree, payload) in enumerate(pairs)
    ]
    status, results = batch("rule", "eval", lines=list(lines))
    judged = {each["id"]: each["matched"] for each in results if "error" not in each}
    assert len(results) == len(pairs)
    assert len(judged) > 200
    assert status == 0
    for number, result in judged.items():
        tree, payload = pairs[number]
        assert result == holds(tree, payload, NOW), pairs[number]


def test_a_condition_of_the_command_line_judges_lines_of_payloads(tmp_path: Path) -> None:
    path = tmp_path / "condition.yaml"
    path.write_text("field: finding.severity\nop: gte\nvalue: high\n")
    low = {"finding": {"severity": "low"}}
    status, results = batch(
        "rule", "eval", "--conditions", str(path), lines=[{"payload": PAYLOAD}, {"payload": low}]
    )
    assert (status, [each["matched"] for each in results]) == (0, [True, False])
    _, (both,) = batch(
        "rule", "eval", "--conditions", f"@{path}", lines=[{"payload": {}, "conditions": SEVERE}]
    )
    assert "unknown member conditions" in both["error"]["message"]


def test_every_line_has_its_answer_and_a_bad_one_stops_none(tmp_path: Path) -> None:
    good = json.dumps({"id": "last", "conditions": SEVERE, "payload": PAYLOAD}).encode()
    wrong = {"id": 3, "conditions": {"all": [{"field": "a", "op": "eqq", "value": 1}]}, "payload": {}}
    lines = [
        b"{", b"[]", json.dumps(wrong).encode(), b"", b'{"conditions": {}, "payload": {}, "pay": 1}', b"\xff",
        b'{"payload": NaN}', b"[" * 100_000, b'{"conditions": ' + json.dumps(SEVERE).encode() + b"}",
        b'{"a": "' + b"x" * (8 * 1024 * 1024) + b'"}', b'{"a": "\\ud800"}', good,
    ]  # fmt: skip
    path = tmp_path / "cases.jsonl"
    path.write_bytes(b"\n".join(lines))
    done = run("rule", "eval", "--batch", str(path))
    assert run("rule", "eval", "--batch", "-", text=path.read_bytes()).stdout == done.stdout
    results = answers(done)
    assert done.exit_code == 0
    assert len(results) == len(lines)
    assert all(isinstance(each["error"][name], str) for each in results[:-1] for name in ("path", "message"))
    assert results[-1]["id"] == "last"
    assert results[-1]["matched"] is True
    assert results[2]["id"] == 3
    assert results[2]["error"]["path"] == "all[0].op"
    assert 'unknown operator "eqq"' in results[2]["error"]["message"]
    assert [results[n]["error"]["code"] for n in (0, 1, 9)] == ["invalid_json", "refused", "too_large"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("rule", "eval"),
        ("rule", "eval", "--conditions", "{}"),
        ("rule", "eval", "--conditions", "-", "--payload", "-"),
        ("rule", "eval", "--conditions", "{}", "--payload", "{}"),
        ("rule", "eval", "--conditions", "{field: a, op: eq, value: 1}", "--payload", "[]"),
        ("rule", "eval", "--conditions", "{field: a, op: eq, value: 1}", "--payload", "{a: 2026-03-14}"),
        ("rule", "eval", "--conditions", "{field: a, op: eq, value: 1}", "--payload", "{}", "--now", "noon"),
        ("rule", "eval", "--conditions", "absent", "--payload", "{}"),
        ("rule", "eval", "--payload", "{}", "--batch", "-"),
        ("rule", "eval", "--batch", "absent"),
        ("template", "render", "{{ a"),
        ("template", "render", "{{ a", "--payload", "{}"),
        ("template", "render", "{% if a %}", "--payload", "{}"),
        ("template", "render", "x", "--payload", "{}", "--batch", "-"),
        ("event", "match"),
        ("event", "match", "{}", "--runbooks", "absent.yaml"),
    ],
)
def test_wrong_use_and_wrong_content_are_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.strip()


# ---- template render


@pytest.mark.parametrize(
    ("template", "value", "kind"),
    [
        ("{{ n + 1 }}", 3, int),
        ("{{ n > 1 }}", True, bool),
        ("{{ n }} ", "2 ", str),
        ("{{ tags }}", ["a"], list),
        ("{{ finding }}", {"id": "F-1"}, dict),
        ("{{ nothing }}", None, type(None)),
        ({"url": "x/{{ finding.id }}", "n": 1}, {"url": "x/F-1", "n": 1}, dict),
        ("{{ now }}", "2026-03-14T09:26:53Z", str),
    ],
)
def test_a_value_keeps_its_type(template: object, value: object, kind: type) -> None:
    payload = {
        "n": 2, "tags": ["a"], "finding": {"id": "F-1"}, "nothing": None, "event": {"time": "2026-03-14T09:26:53Z"},
    }  # fmt: skip
    status, (answer,) = batch("template", "render", lines=[{"template": template, "payload": payload}])
    assert status == 0, answer
    assert answer == {"value": value}
    assert isinstance(answer["value"], kind)


def test_what_has_no_value_is_an_error_with_its_path() -> None:
    lines: list[object] = [
        {"id": 1, "template": "{{ finding.owner.name }}", "payload": PAYLOAD},
        {"id": 2, "template": {"a": ["{{ finding.id | nosuch }}"]}, "payload": PAYLOAD},
        {"id": 3, "template": "{{ 1 / 0 }}", "payload": {}},
        {"id": 4, "payload": {}},
        {"id": 5, "template": "{{ finding.id }}", "payload": PAYLOAD},
    ]
    status, results = batch("template", "render", lines=lines)
    assert status == 0
    assert [each["id"] for each in results] == [1, 2, 3, 4, 5]
    assert [each.get("error", {}).get("code") for each in results] == [
        "template_failed", "refused", "template_failed", "refused", None,
    ]  # fmt: skip
    assert [results[n]["error"]["path"] for n in (0, 1, 3)] == ["finding.owner.name", "a[0]", ""]
    single = run("template", "render", "{{ finding.owner.name }}", "--payload", json.dumps(PAYLOAD))
    assert single.exit_code == 2
    assert "at finding.owner.name" in single.stderr


def test_a_template_of_a_file_or_a_config_is_rendered_for_people(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("{{ finding.id }}\x1b[31m\n")
    done = run("template", "render", f"@{path}", "--payload", "-", text=json.dumps(PAYLOAD))
    assert done.stdout == "F-1\N{REPLACEMENT CHARACTER}[31m\n"
    config = run(
        "template", "render", "--config", "{url: 'x/{{ finding.id }}'}", "--payload", json.dumps(PAYLOAD)
    )
    assert json.loads(config.stdout) == {"url": "x/F-1"}


# ---- event match


def test_an_event_in_each_of_its_forms_fires_by_the_same_rules(page: str) -> None:
    finding = {"id": "F-1", "severity": "high"}
    payload = {
        "event": {**{name: CLOUD_EVENT[name] for name in ("id", "source", "type", "subject", "time", "data")}},
        "company": {"id": "acme"}, "finding": finding,
    }  # fmt: skip
    status, results = batch(
        "event",
        "match",
        "--runbooks",
        page,
        lines=[CLOUD_EVENT, {"event": CLOUD_EVENT, "finding": finding}, payload],
    )
    assert status == 0, results
    rules = [[each["rules"] for each in result["matches"]] for result in results]
    assert rules == [[[2]], [[0, 2]], [[0, 2]]]
    assert results[1]["fires"] == ["page-on-call"]
    assert results[1]["matches"][0] == {
        "runbook": "page-on-call", "name": "Page on call", "file": page, "rules": [0, 2],
    }  # fmt: skip
    assert {result["now"] for result in results} == {"2026-03-14T09:26:53+00:00"}
    options = (json.dumps(CLOUD_EVENT), "--runbooks", page, "--finding", json.dumps(finding))
    single = run("event", "match", *options, "--json")
    assert json.loads(single.stdout) == results[1]
    shown = run("events", "match", *options).stdout
    assert "page-on-call by rules[0], rules[2]" in shown
    assert 'finding.severity is "high"' in shown


def test_what_fires_nothing_is_judged_and_what_is_no_event_is_an_error(page: str) -> None:
    other = CLOUD_EVENT | {"type": "asset_created", "data": {"asset_id": "A"}}
    lines: list[object] = [
        other, CLOUD_EVENT | {"type": "exploded"}, CLOUD_EVENT | {"data": {"severity": 3}}, {"finding": {}},
        {"event": CLOUD_EVENT, "findings": {}}, {"event": {"type": "manual"}},
    ]  # fmt: skip
    status, results = batch("event", "match", "--runbooks", page, lines=lines)
    assert status == 0
    assert ["error" in each for each in results] == [False, True, True, True, True, False]
    assert results[0]["fires"] == results[5]["fires"] == []
    assert results[2]["error"]["path"].startswith("data")
    shown = run("event", "match", json.dumps(other), "--runbooks", page).stdout
    assert shown.startswith("nothing fires\nnot page-on-call")
    assert "no rule of it is for asset_created" in shown
    low = {"event": CLOUD_EVENT | {"data": {"finding_id": "F-1"}}, "finding": {"severity": "low"}}
    shown = run("event", "match", json.dumps(low), "--runbooks", page).stdout
    assert "rules[0]: false" in shown
    assert 'finding.severity is "low"' in shown


def test_a_schedules_event_fires_the_one_rule_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    rules = "".join(f"  - {{event: schedule, cron: '0 {hour} * * *'}}\n" for hour in (9, 17))
    path.write_text(f"name: Sweep\nrules:\n{rules}actions: [{{type: x, config: {{}}}}]\n")
    lines: list[object] = [
        {"event": {"type": "schedule", "subject": f"runbooks/{name}/rules/1"}} for name in ("sweep", "other")
    ]
    _, results = batch("event", "match", "--runbooks", str(path), lines=lines)
    assert [[each["rules"] for each in result["matches"]] for result in results] == [[[1]], []]


def test_every_fault_of_every_file_is_named(tmp_path: Path) -> None:
    for name, text in (
        ("a.yaml", PAGE.replace("op: gte", "op: gteq")),
        ("b.yaml", "name: ["),
        ("c.json", "{"),
    ):
        (tmp_path / name).write_text(text)
    done = run("event", "match", "{}", "--runbooks", str(tmp_path), "--json")
    assert done.exit_code == 2
    errors = json.loads(done.stdout)["error"]["errors"]
    assert [error["path"].removeprefix(f"{tmp_path}/") for error in errors] == [
        "a.yaml: rules[0].condition.op", "b.yaml", "c.json",
    ]  # fmt: skip


def test_the_samples_can_be_matched_and_every_tool_explains_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("event", "match", json.dumps(CLOUD_EVENT), "--json")
    assert done.exit_code == 0, done.output
    for name in (("rule", "eval"), ("template", "render"), ("event", "match")):
        shown = run(*name, "--help").stdout
        assert "--batch" in shown
        assert "Exit status" in shown
