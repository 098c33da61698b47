"""Runs that wait, and the people and programs that bring them on: sleep, signals, retries, watching."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.journeys import Result, System, eventually, runbook

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("journeys")]

NOBODY = "01a1fe02-037e-8003-8877-6ec7d850693e"
"""The id of no run."""
AWAIT = '- {id: ok, type: await_signal, config: {signal: approved, key: "{{ event.data.finding_id }}"}}\n'


def apply(system: System, folder: Path, name: str, actions: str) -> str:
    """Switch on a runbook that fires on events of the source of its name; returns that."""
    source = name.lower().replace(" ", "-")
    condition = f", condition: {{field: event.source, op: eq, value: {source}}}"
    system.apply(folder, runbook(name, actions, condition=condition))
    return source


def finding(finding_id: str) -> dict[str, str]:
    return {"finding_id": finding_id, "severity": "high", "title": "waits"}


def verdicts(answer: Result) -> dict[str, str]:
    return {each["execution_id"]: each["verdict"] for each in answer.json["deliveries"]}


def step(system: System, run_id: str, step_id: str) -> dict[str, Any]:
    steps = system.outlast("run", "show", run_id, "--json").json["steps"]
    return next(each for each in steps if each["id"] == step_id)


# ---- sleep, await_signal


def test_a_run_sleeps_then_waits_until_somebody_sends_what_it_waits_for(
    system: System, tmp_path: Path
) -> None:
    source = apply(system, tmp_path, "Asks first", f"""
- {{id: nap, type: sleep, config: {{duration: 1s}}}}
{AWAIT}
- id: tell
  type: http_request
  config: {{url: "http://{system.receiver}/asks", body: {{who: "{{{{ steps.ok.output.payload.by }}}}"}}}}
""")  # fmt: skip
    system.emit("asks-1", source=source, data=finding("F-asks"))

    def asking() -> dict[str, Any] | None:
        listed = system.outlast("run", "list", "--runbook", source, "--status", "waiting", "--json").json[
            "items"
        ]
        waits = [wait for run in listed for wait in run["waits"] if wait["kind"] == "signal"]
        return {"run": listed[0]["id"], "wait": waits[0]} if waits else None

    found = eventually(asking, "a run that waits for approved")
    run_id, wait = found["run"], found["wait"]
    assert (wait["activity_id"], wait["signal"], wait["key"]) == ("ok", "approved", "F-asks")
    assert (
        "signal approved (F-asks), times out in 3 d" in system.outlast("run", "list", "--runbook", source).out
    )
    shown = system.outlast("run", "show", run_id).out
    assert f"outlast signal approved --run {run_id}" in shown
    assert step(system, run_id, "nap")["status"] == "success"

    sent = system.outlast(
        "signal", "approved", "--run", run_id, "--payload", '{"by": "eve"}', "--wait", "20s"
    )
    assert (sent.status, "took it and goes on" in sent.out) == (0, True), sent
    assert system.run_of(source, "asks-1")["status"] == "success"
    ok = step(system, run_id, "ok")
    assert (ok["output"]["received"], ok["output"]["payload"]) == (True, {"by": "eve"})
    assert '"by": "eve"' in system.outlast("run", "show", run_id).out
    assert [call["body"] for call in system.received() if call["path"] == "/asks"] == [{"who": "eve"}]
    late = system.outlast("signal", "approved", "--run", run_id, "--wait", "20s", "--json")
    assert (late.status, verdicts(late)) == (1, {run_id: "late"})
    assert f"outlast run show {run_id}" in late.error


def test_a_signal_by_key_reaches_every_run_that_waits_and_none_that_starts_later(
    system: System, tmp_path: Path
) -> None:
    source = apply(system, tmp_path, "By key", AWAIT)
    for number in (1, 2):
        system.emit(f"key-{number}", source=source, data=finding("F-key"))
    system.emit("key-other", source=source, data=finding("F-other"))
    waiting = {system.started(source, f"key-{number}", "waiting")["id"] for number in (1, 2)}
    other = system.started(source, "key-other", "waiting")["id"]
    sent = system.outlast("signal", "approved", "--key", "F-key", "--wait", "20s", "--json")
    assert (sent.status, verdicts(sent)) == (0, dict.fromkeys(waiting, "consumed"))
    for number in (1, 2):
        assert system.run_of(source, f"key-{number}")["status"] == "success"
    assert system.outlast("signal", "show", sent.json["id"], "--json").json["deliveries"]

    system.emit("key-late", source=source, data=finding("F-key"))
    late = system.started(source, "key-late", "waiting")["id"]
    future = system.outlast("signal", "approved", "--key", "F-next", "--for-future", "--wait", "0s", "--json")
    assert (future.status, future.json["status"], future.json["deliveries"]) == (0, "pending", [])
    system.emit("key-next", source=source, data=finding("F-next"))
    assert system.run_of(source, "key-next")["status"] == "success"
    still = {run["id"] for run in system.runs(source) if run["status"] == "waiting"}
    assert still == {other, late}


def test_a_signal_that_comes_before_its_await_is_kept_for_it(system: System, tmp_path: Path) -> None:
    source = apply(
        system, tmp_path, "Early bird", "- {id: nap, type: sleep, config: {duration: 25s}}\n" + AWAIT
    )
    system.emit("early-1", source=source)
    run_id = system.started(source, "early-1", "waiting")["id"]
    sent = system.outlast(
        "signal", "approved", "--run", run_id, "--payload", '"now"', "--wait", "5s", "--json"
    )
    assert (sent.status, verdicts(sent)) == (0, {run_id: "early"})
    assert "signals that no step took" in system.outlast("run", "show", run_id).out
    assert system.run_of(source, "early-1")["status"] == "success"
    assert step(system, run_id, "ok")["output"]["payload"] == "now"
    shown = system.outlast("signal", "show", sent.json["id"], "--json")
    assert (shown.status, verdicts(shown)) == (0, {run_id: "consumed"})


def test_the_same_signal_again_counts_once(system: System, tmp_path: Path) -> None:
    source = apply(system, tmp_path, "Two words", """
- {id: first, type: await_signal, config: {signal: word}}
- {id: second, type: await_signal, config: {signal: word}}
""")  # fmt: skip
    system.emit("words-1", source=source)
    run_id = system.started(source, "words-1", "waiting")["id"]
    for _ in range(2):
        sent = system.outlast("signal", "word", "--run", run_id, "--id", "w-1", "--wait", "20s", "--json")
        assert (sent.status, verdicts(sent)) == (0, {run_id: "consumed"})
    refused = system.outlast("signal", "other", "--run", run_id, "--id", "w-1", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (2, "signal_id_taken")
    run = system.started(source, "words-1", "waiting")
    assert [wait["activity_id"] for wait in run["waits"]] == ["second"]
    assert system.outlast("signal", "word", "--run", run_id, "--id", "w-2", "--wait", "20s").status == 0
    assert system.run_of(source, "words-1")["status"] == "success"


def test_a_signal_for_no_run_and_for_another_companys_is_answered_alike(
    system: System, tmp_path: Path
) -> None:
    source = apply(system, tmp_path, "Only ours", AWAIT)
    system.emit("ours-1", source=source)
    run_id = system.started(source, "ours-1", "waiting")["id"]
    nothing = system.outlast("signal", "approved", "--run", NOBODY, "--wait", "20s", "--json")
    assert (nothing.status, verdicts(nothing)) == (1, {NOBODY: "unknown"})
    assert "outlast run list --status waiting" in nothing.error
    theirs = system.outlast(
        "signal", "approved", "--run", run_id, "--wait", "20s", "--json", profile="globex"
    )
    assert (theirs.status, verdicts(theirs)) == (1, {run_id: "unknown"})
    hidden = system.outlast("signal", "show", theirs.json["id"], "--json")
    assert (hidden.status, hidden.json["error"]["code"]) == (1, "not_found")
    assert system.started(source, "ours-1", "waiting")["waits"]


# ---- retries


def test_a_failure_that_passes_is_tried_again_and_show_tells_each_attempt(
    system: System, tmp_path: Path
) -> None:
    source = apply(system, tmp_path, "Patient", f"""
- id: call
  type: http_request
  config: {{url: "http://{system.busy.address}/patient", method: POST, body: {{}}}}
  retry: {{max_attempts: 4}}
""")  # fmt: skip
    system.emit("patient-1", source=source)
    run = system.run_of(source, "patient-1")
    assert run["status"] == "success"
    calls = [key for path, key in system.busy.calls if path == "/patient"]
    assert (len(calls), len(set(calls))) == (3, 1)
    call = step(system, run["id"], "call")
    assert (call["status"], call["attempts"], call["max_attempts"]) == ("success", 3, 4)
    assert [each["attempt"] for each in call["tries"]] == [1, 2]
    for each in call["tries"]:
        assert "503" in f"{each['error']['code']} {each['error']['message']}"
        assert each["next_at"] > each["at"]
    shown = system.outlast("run", "show", run["id"]).out
    assert "3 attempts" in shown
    assert "attempt 2 of 4" in shown
    assert run["duration_ms"] >= 2_000, "expected Retry-After to be honoured"


# ---- following


class Follower:
    """A command that goes on until Ctrl-C, and its lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def until(self, wanted: str) -> dict[str, Any]:
        """The next line in which this stands; the test's time-out ends a wait for one that never comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if wanted in line:
                return self.lines[-1]
        raise AssertionError(f"expected a line with {wanted}, but the command ended")

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


def _hear_ctrl_c() -> None:
    """A suite that a shell runs in the background ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def following(system: System, *arguments: str) -> Iterator[Follower]:
    """The command, once it has said that it follows."""
    process = subprocess.Popen(
        system.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=system.environment | {"PYTHONUNBUFFERED": "1"}, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "Ctrl-C ends it" in said, said + process.stderr.read()
        yield Follower(process)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait(20)


def test_tail_shows_events_with_the_runs_that_they_fired_and_watch_shows_runs_to_their_end(
    system: System, tmp_path: Path
) -> None:
    source = apply(system, tmp_path, "Followed", AWAIT)
    with (
        following(system, "events", "tail", "--interval", "0.5", "--json") as tail,
        following(system, "run", "watch", "--runbook", source, "--interval", "0.5", "--json") as all_runs,
    ):
        system.emit("followed-1", source=source, data=finding("F-followed"))
        seen = tail.until("followed-1")["event"]
        assert (seen["type"], seen["company"], seen["source"]) == ("finding_created", "acme", source)
        fired = tail.until('"fired"')["fired"]
        assert (fired["runbook"], fired["event"]["id"]) == (source, "followed-1")
        waiting = all_runs.until('"signal": "approved"')
        assert (waiting["id"], waiting["status"]) == (fired["id"], "waiting")
        watch = subprocess.Popen(
            system.command("run", "watch", fired["id"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=system.environment,
        )  # fmt: skip
        assert system.outlast("signal", "approved", "--key", "F-followed", "--wait", "20s").status == 0
        out, error = watch.communicate(timeout=60)
        assert watch.returncode == 0, error
        assert "for the signal approved with the key F-followed" in out
        assert "success" in out.splitlines()[-1]
        assert all_runs.until('"success"')["id"] == fired["id"]
        assert (tail.interrupt(), all_runs.interrupt()) == (130, 130)


def test_watching_a_run_that_fails_has_its_exit_status(system: System, tmp_path: Path) -> None:
    source = apply(system, tmp_path, "Too late", """
- {id: ok, type: await_signal, config: {signal: never, timeout: 2s}}
""")  # fmt: skip
    system.emit("late-1", source=source)
    run_id = eventually(lambda: system.runs(source), "the run")[0]["id"]
    done = system.outlast("run", "watch", run_id)
    assert done.status == 1
    assert "signal_timeout" in done.out
    assert "failed" in done.out.splitlines()[-1]
    assert system.outlast("run", "watch", NOBODY).status == 1
