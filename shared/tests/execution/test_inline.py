"""The interpreter in mode inline: nothing waits, and pauses between attempts are few. Given, when, then."""

from datetime import timedelta

import pytest

from outlast import limits
from outlast.contracts.messages import Finished
from outlast.execution.outstanding import outstanding
from outlast.history.events import ActivityFailed
from outlast.runbooks.documents import Json
from outlast.testing.spec import Spec, notify, runbook


def started(*actions: Json, mode: str = "inline") -> Spec:
    spec = Spec(runbook(*actions))
    spec.start(mode)
    return spec


def finished(spec: Spec) -> Finished:
    (command,) = outstanding(spec.state)
    assert isinstance(command, Finished)
    return command


def retried(name: str, attempts: int, pause: str) -> Json:
    return notify(
        name, retry={"max_attempts": attempts, "initial_backoff": pause, "max_backoff": pause, "factor": 1.0}
    )


@pytest.mark.parametrize("kind", ["sleep", "await_signal"])
def test_what_waits_is_skipped_with_a_reason_and_the_run_goes_on(kind: str) -> None:
    wait: Json = {"id": "wait", "type": kind, "class": "flow", "config": {"duration": "{{ nothing.there }}"}}
    spec = started(wait, notify("tell"))
    assert spec.kinds() == ["WorkflowStarted", "ActivitySkipped wait", "ActivityScheduled tell"]
    spec.succeed("tell")
    end = finished(spec)
    assert (end.mode, end.status) == ("inline", "success")
    assert [(step.id, step.status, step.reason) for step in end.steps] == [
        ("wait", "skipped", "inline"), ("tell", "success", "")
    ]  # fmt: skip


def test_a_wait_whose_condition_is_false_says_so_and_not_that_it_was_inline() -> None:
    wait: Json = {
        "id": "wait",
        "type": "sleep",
        "class": "flow",
        "config": {"duration": "1s"},
        "when": "{{ false }}",
    }
    assert finished(started(wait)).steps[0].reason == "when_false"


def test_a_failure_that_may_pass_is_tried_again_while_the_budget_lasts() -> None:
    spec = started(retried("tell", 20, "20s"))
    attempt = 0
    while not spec.state.is_ended:
        attempt += 1
        spec.fail("tell", attempt=attempt, is_retryable=True)
        for timer in list(spec.state.timers):
            spec.fire(timer)
    (step,) = finished(spec).steps
    assert step.attempts == attempt
    assert 3 <= attempt <= 5, "pauses of about 20 s in a budget of 60"
    assert spec.state.paused_seconds <= limits.INLINE_RETRY_SECONDS_MAX
    assert step.error is not None
    assert (step.error.code, step.error.retryable) == ("inline_retry_budget", False)
    assert "http_500" in step.error.message


def test_the_budget_is_the_runs_not_the_steps() -> None:
    spec = started(retried("first", 2, "40s"), retried("second", 2, "40s"))
    spec.fail("first", is_retryable=True)
    spec.fire("first:retry:1")
    spec.succeed("first", attempt=2)
    spec.fail("second", is_retryable=True)
    codes = {step.id: step.error and step.error.code for step in finished(spec).steps}
    assert codes == {"first": None, "second": "inline_retry_budget"}


def test_a_pause_that_the_other_side_asks_for_counts_and_may_be_too_long() -> None:
    spec = started(notify("tell"))
    spec.fail("tell", "http_429", is_retryable=True, retry_after_seconds=61)
    (step,) = finished(spec).steps
    assert step.error is not None
    assert (step.error.code, step.attempts) == ("inline_retry_budget", 1)


def test_a_last_attempt_keeps_its_own_error() -> None:
    spec = started(
        notify("tell", retry={"max_attempts": 1, "initial_backoff": "1s", "max_backoff": "1s", "factor": 1.0})
    )
    spec.fail("tell", "http_429", is_retryable=True, retry_after_seconds=61)
    failed = [event for event in spec.events() if isinstance(event, ActivityFailed)]
    assert [event.error.code for event in failed] == ["http_429"]


def test_in_mode_workflow_runs_wait_and_have_no_such_budget() -> None:
    nap: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "1h"}}
    spec = started(nap, notify("tell"), mode="workflow")
    assert list(spec.state.timers) == ["nap"]
    spec.fire("nap")
    spec.fail("tell", "http_429", is_retryable=True, retry_after_seconds=3600)
    (timer,) = spec.state.timers.values()
    assert timer.event.fire_at - spec.now == timedelta(hours=1)
