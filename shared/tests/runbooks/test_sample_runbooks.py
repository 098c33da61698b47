"""samples/runbooks: every file may be saved, and those that wait do what they say."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml

from outlast.execution.state import StepStatus
from outlast.execution.waits import waits
from outlast.runbooks.catalogue import ActionKind, Catalogue
from outlast.runbooks.cron_times import next_after
from outlast.runbooks.definition import Action, Runbook, all_steps
from outlast.runbooks.documents import Json
from outlast.runbooks.reading import parse_runbook
from outlast.testing.spec import EVENT_TIME, Spec

SAMPLES = sorted((Path(__file__).parents[3] / "samples" / "runbooks").glob("*.yaml"))
OUTSIDE = {
    "http_request": "notify",
    "send_webhook": "notify",
    "send_email": "notify",
    "send_slack_message": "notify",
    "change_finding_status": "finding",
    "assign_finding": "finding",
    "change_finding_severity": "finding",
    "add_finding_tags": "finding",
    "append_comment": "finding",
}
CATALOGUE = Catalogue(
    ActionKind(type=name, action_class=kind, config_schema={"type": "object"})  # pyright: ignore[reportArgumentType]
    for name, kind in OUTSIDE.items()
)
PAYLOAD: dict[str, Json] = {
    "event": {
        "type": "scan_finished",
        "id": "e-1",
        "time": EVENT_TIME.isoformat(),
        "data": {"tool": "Trivy", "severity_counts": {"critical": 5}},
    },
    "company": {"id": "acme"},
    "finding": {"id": "F-7", "rule_id": "aws-access-key-id", "location": {"path": "deploy/shop.env"}},
    "asset": {"id": "a-1", "name": "shop"},
}


def read(path: Path) -> Runbook:
    return parse_runbook(yaml.safe_load(path.read_text(encoding="utf-8")), CATALOGUE)


def begun(name: str) -> Spec:
    """A run of this sample, decided up to where it has to wait for somebody."""
    (path,) = [each for each in SAMPLES if each.stem == name]
    spec = Spec(read(path), PAYLOAD)
    spec.start()
    return spec


def scheduled(spec: Spec) -> list[str]:
    return [name for name, step in spec.state.steps.items() if step.status is StepStatus.SCHEDULED]


def given(spec: Spec, step: str) -> str:
    """The input of a step, as JSON text."""
    event = spec.state.steps[step].scheduled
    assert event is not None
    return bytes(event.input).decode()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_may_be_saved_under_the_name_of_its_file(path: Path) -> None:
    assert read(path).name.lower().replace(" ", "-") == path.stem


def test_the_samples_sleep_and_await_the_signal_approved() -> None:
    types = {
        step.type for path in SAMPLES for step in all_steps(read(path).actions) if isinstance(step, Action)
    }
    assert {"sleep", "await_signal"} <= types


def test_the_sample_that_sleeps_escalates_afterwards() -> None:
    spec = begun("escalate-critical-scans")
    (wait,) = waits(spec.state)
    assert (wait.kind, scheduled(spec)) == ("sleep", [])
    spec.fire("grace")
    assert scheduled(spec) == ["escalate"]
    assert "Trivy found 5 critical findings on shop at 12:00." in given(spec, "escalate")


def test_the_sample_that_hands_over_writes_to_the_owner_of_the_finding() -> None:
    finding = {
        "id": "F-7",
        "title": "A key <in>\na file",
        "severity": "critical",
        "status": "open",
        "tool": "Trivy",
    }
    asset: dict[str, Json] = {
        "id": "a-1",
        "name": "shop",
        "owning_team": {"id": "shop-team", "name": "Shop team"},
    }
    (path,) = [each for each in SAMPLES if each.stem == "hand-over-critical-findings"]
    payload = dict(PAYLOAD)
    payload["finding"], payload["asset"] = finding, asset
    spec = Spec(read(path), payload)
    spec.start()
    assert msgspec.json.decode(given(spec, "give")) == {"finding_id": "F-7", "team_ids": ["shop-team"]}
    changed: dict[str, Json] = {"status": "assigned", "teams": ["shop-team"]}
    spec.succeed("give", changed, folded={"finding": changed})
    spec.succeed("channel")
    mail = msgspec.json.decode(given(spec, "mail"))
    assert mail["to"] == "Shop team <shop-team@example.org>"
    assert mail["subject"] == "[CRITICAL] A key <in> a file"
    assert "assigned to shop-team." in mail["body"]
    receipt: dict[str, Json] = {"message_id": "<m@example.org>"}
    spec.succeed("mail", receipt)
    assert "Shop team was written to (mail <m@example.org>)." in given(spec, "begin")


def asked() -> Spec:
    """The sample that asks, when it has asked."""
    spec = begun("ask-before-rotating-keys")
    assert "May the key in deploy/shop.env be rotated? Finding F-7." in given(spec, "ask")
    spec.succeed("ask")
    (wait,) = waits(spec.state)
    assert (wait.signal, wait.key) == ("approved", "F-7")
    return spec


@pytest.mark.parametrize("payload", [None, {"comment": "go ahead"}])
def test_the_sample_that_asks_orders_the_rotation_when_it_is_approved(payload: Json) -> None:
    spec = asked()
    spec.signal("approved", payload=payload)
    assert scheduled(spec) == ["rotate"]
    sent = msgspec.json.decode(given(spec, "rotate"))["body"]
    assert sent == {"finding": "F-7", "approved_by": "ana", "word": payload}
    spec.succeed("rotate", {"status": 200, "body": {"ticket": "DEMO-3"}})
    assert "ana approved at 2026-01-05 12:00; rotation DEMO-3." in given(spec, "note")
    spec.succeed("note")
    assert spec.state.is_ended


def test_the_sample_that_asks_tags_the_finding_when_nobody_answers() -> None:
    spec = asked()
    spec.fire("approval:timeout")
    assert scheduled(spec) == ["silence"]
    spec.succeed("silence")
    assert spec.state.is_ended


def test_the_sample_with_a_schedule_comes_on_mondays_and_says_the_week() -> None:
    spec = begun("weekly-hygiene-sweep")
    assert msgspec.json.decode(given(spec, "sweep"))["body"] == {
        "week": "2026-W02",
        "since": "2025-12-29T12:00:00Z",
    }
    spec.succeed("sweep", {"status": 200, "body": {"ticket": "DEMO-9"}})
    assert "Hygiene sweep DEMO-9:" in given(spec, "remind")
    (path,) = [each for each in SAMPLES if each.stem == "weekly-hygiene-sweep"]
    (rule,) = read(path).rules
    assert rule.schedule is not None
    saturday = datetime(2026, 3, 28, tzinfo=UTC)  # the clocks are changed on Sunday
    assert next_after(rule.schedule.cron, rule.schedule.zone, saturday) == datetime(
        2026, 3, 30, 6, tzinfo=UTC
    )


def test_the_sample_with_guardrails_asks_before_it_starts_and_reports_what_is_critical() -> None:
    spec = begun("compare-with-the-last-scan")
    (path,) = [each for each in SAMPLES if each.stem == "compare-with-the-last-scan"]
    guardrails = read(path).guardrails
    assert (guardrails.asks, guardrails.breaker_threshold) == (True, 3)
    assert guardrails.concurrency is not None
    assert guardrails.concurrency.on_conflict == "queue"
    spec.succeed("compare")
    assert "shop: 5 critical findings in Trivy" in given(spec, "report")
