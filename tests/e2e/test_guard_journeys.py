"""Runbooks that hold themselves back, other modes, and people who start, stop and mend by hand."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.journeys import System, eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("journeys")]

POST = '{{id: tell, type: http_request, config: {{url: "http://{receiver}/{path}"}}}}'


def apply(system: System, folder: Path, name: str, guardrails: str, *actions: str, more: str = "") -> str:
    """Switch on a guarded runbook that fires on events of the source of its name; returns that."""
    lines = [
        f"name: {name}",
        f"rules: [{{event: finding_created, condition: {{field: event.source, op: eq, value: {name}}}}}]",
        f"guardrails: {{{guardrails}}}",
        more,
        "actions:",
        *(f"- {action}" for action in actions),
    ]
    system.apply(folder, "\n".join(line for line in lines if line) + "\n")
    return name


def finding(finding_id: str) -> dict[str, str]:
    return {"finding_id": finding_id, "severity": "high", "title": "guarded"}


def run_of(system: System, name: str, event_id: str, *, status: str = "") -> dict[str, Any]:
    """The run that an event caused, once it has ended, or has this status."""
    if status:
        return system.started(name, event_id, status)
    return system.run_of(name, event_id)


def reason(system: System, run: dict[str, Any]) -> str:
    return system.outlast("run", "show", run["id"], "--json").json["reason"]


# ---- windows and slots


def test_a_throttled_firing_is_on_record_beside_those_that_ran(system: System, tmp_path: Path) -> None:
    name = apply(
        system, tmp_path, "once-a-finding", 'throttle_seconds: 3600, throttle_key: "{{ event.data.finding_id }}"',
        POST.format(receiver=system.receiver, path="once-a-finding"),
    )  # fmt: skip
    for number, about in enumerate(("F-a", "F-a", "F-b")):
        system.emit(f"once-{number}", source=name, data=finding(about))
        run_of(system, name, f"once-{number}")
    found = [run_of(system, name, f"once-{number}") for number in range(3)]
    assert [each["status"] for each in found] == ["success", "skipped", "success"]
    assert reason(system, found[1]) == "throttled"
    assert "throttl" in system.outlast("run", "show", found[1]["id"]).out
    listed = system.outlast("run", "list", "--reason", "throttled", "--runbook", name, "--json").json["items"]
    assert [each["id"] for each in listed] == [found[1]["id"]]
    assert len([call for call in system.received() if call["path"] == "/once-a-finding"]) == 2


def test_runs_with_one_key_follow_each_other_in_the_order_of_their_firings(
    system: System, tmp_path: Path
) -> None:
    name = apply(
        system, tmp_path, "one-at-a-time", 'concurrency_key: "{{ event.data.finding_id }}"',
        '{id: ok, type: await_signal, config: {signal: approved, key: "{{ event.id }}"}}',
    )  # fmt: skip
    for number in range(3):
        system.emit(f"slot-{number}", source=name, data=finding("F-slot"))
        system.started(name, f"slot-{number}", "queued" if number else "waiting")
    queued = system.started(name, "slot-2", "queued")
    assert reason(system, queued) == "slot_taken"
    for number in range(3):
        system.started(name, f"slot-{number}", "waiting")
        assert system.outlast("signal", "approved", "--key", f"slot-{number}", "--wait", "20s").status == 0
    ended = [run_of(system, name, f"slot-{number}") for number in range(3)]
    assert [each["status"] for each in ended] == ["success"] * 3
    for before, after in itertools.pairwise(ended):
        assert before["finished_at"] <= after["started_at"]


def test_a_run_that_waits_can_give_its_slot_to_another_and_takes_one_again(
    system: System, tmp_path: Path
) -> None:
    name = apply(
        system, tmp_path, "gives-way", "concurrency_limit: 1, release_while_waiting: true",
        "{id: ok, type: await_signal, config: {signal: approved, key: '{{ event.data.finding_id }}'}}",
        POST.format(receiver=system.receiver, path="gives-way"),
    )  # fmt: skip
    for number in range(2):
        system.emit(f"gives-{number}", source=name, data=finding(f"F-gives-{number}"))
        system.started(name, f"gives-{number}", "waiting")
    for number in (1, 0):
        sent = system.outlast("signal", "approved", "--key", f"F-gives-{number}", "--wait", "20s")
        assert sent.status == 0, sent
        assert run_of(system, name, f"gives-{number}")["status"] == "success"


def test_a_firing_that_its_own_run_caused_is_held_back(system: System, tmp_path: Path) -> None:
    name = apply(
        system, tmp_path, "feeds-itself", "chain_depth: 3", POST.format(receiver=system.receiver, path="loop")
    )
    system.emit("loop-1", source=name)
    first = run_of(system, name, "loop-1")
    system.emit("loop-2", source=name, outlastchain=first["id"])
    second = run_of(system, name, "loop-2")
    assert (second["status"], reason(system, second)) == ("skipped", "loop")


# ---- the breaker


def test_a_breaker_trips_holds_back_outlives_an_edit_and_is_reset_with_what_it_held_back(
    system: System, tmp_path: Path
) -> None:
    broken = (
        f'{{id: tell, type: http_request, config: {{url: "http://{system.receiver}/gone",'
        " accepted_status_codes: [410]}}"
    )
    name = apply(system, tmp_path, "trips", "breaker_threshold: 3", broken)
    for number in range(3):
        system.emit(f"trip-{number}", source=name)
        assert run_of(system, name, f"trip-{number}")["status"] == "failed"

    def tripped() -> bool:
        return not system.outlast("runbook", "show", name, "--json").json["is_active"]

    eventually(tripped, "the breaker to trip")

    def held() -> dict[str, Any] | None:
        """The matcher hears of the trip a moment after the record."""
        event_id = f"held-{len(system.runs(name))}"
        system.emit(event_id, source=name)
        run = run_of(system, name, event_id)
        return run if run["status"] == "skipped" else None

    held_back = eventually(held, "a firing that is held back")
    assert reason(system, held_back) == "breaker_open"
    mended = f'{{id: tell, type: http_request, config: {{url: "http://{system.receiver}/mended"}}}}'
    path = tmp_path / "edited.yaml"
    path.write_text((tmp_path / "runbook.yaml").read_text().replace(broken, mended))
    edited = system.outlast("runbook", "apply", str(path), "--yes", "--activate")
    assert edited.status == 0, edited.error
    assert tripped(), "an edit does not close the breaker"
    reset = system.outlast("runbook", "reset-breaker", name, "--reason", "mended", "--run-suppressed")
    assert reset.status == 0, reset
    eventually(lambda: not tripped(), "the breaker to close")

    def run_after_all() -> dict[str, Any] | None:
        found = [run for run in system.runs(name) if run.get("instead_of") == held_back["id"]]
        return found[0] if found and found[0]["finished_at"] else None

    assert eventually(run_after_all, "the suppressed firing to run")["status"] == "success"
    system.emit("after-reset", source=name)
    assert run_of(system, name, "after-reset")["status"] == "success"


# ---- by hand


def test_a_runbook_is_triggered_by_hand_and_says_who_did_it(system: System, tmp_path: Path) -> None:
    name = apply(
        system, tmp_path, "by-hand", "chain_depth: 3",
        f'{{id: tell, type: http_request, config: {{url: "http://{system.receiver}/by-hand",'
        ' body: {why: "{{ event.data.why }}"}}}',
    )  # fmt: skip
    done = system.outlast("trigger", name, "--data", json.dumps({"why": "drill"}), "--wait", seconds=90)
    assert done.status == 0, done
    assert [call["body"] for call in system.received() if call["path"] == "/by-hand"] == [{"why": "drill"}]
    assert system.runs(name)[0]["started_by"]


def test_a_run_that_waits_and_one_that_queues_behind_it_are_cancelled(system: System, tmp_path: Path) -> None:
    name = apply(
        system, tmp_path, "cancelled", "concurrency_limit: 1",
        "{id: nap, type: sleep, config: {duration: 1h}}",
        POST.format(receiver=system.receiver, path="never"),
    )  # fmt: skip
    system.emit("cancel-1", source=name)
    waiting = system.started(name, "cancel-1", "waiting")
    system.emit("cancel-2", source=name)
    queued = system.started(name, "cancel-2", "queued")
    for run in (queued, waiting):
        done = system.outlast("run", "cancel", run["id"], "--reason", "false positive")
        assert done.status == 0, done
    for number in (1, 2):
        assert run_of(system, name, f"cancel-{number}")["status"] == "cancelled"
    assert "false positive" in system.outlast("run", "show", waiting["id"]).out
    again = system.outlast("run", "cancel", waiting["id"], "--reason", "again")
    assert again.status != 0
    assert not [call for call in system.received() if call["path"] == "/never"]


# ---- modes


def test_a_runbook_that_never_waits_may_run_inline_and_one_that_waits_skips_its_waits(
    system: System, tmp_path: Path
) -> None:
    name = apply(
        system, tmp_path, "inline", "chain_depth: 3",
        "{id: nap, type: sleep, config: {duration: 1h}}",
        POST.format(receiver=system.receiver, path="inline"),
        more="engine: inline",
    )  # fmt: skip
    system.emit("inline-1", source=name)
    run = run_of(system, name, "inline-1")
    assert (run["status"], run["mode"]) == ("success", "inline")
    steps = {step["id"]: step for step in system.outlast("run", "show", run["id"], "--json").json["steps"]}
    assert (steps["nap"]["status"], steps["nap"]["reason"]) == ("skipped", "inline")
    assert len([call for call in system.received() if call["path"] == "/inline"]) == 1
