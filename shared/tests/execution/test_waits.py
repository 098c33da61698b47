"""What waits: sleep, await_signal, another attempt. Given, when, then."""

from datetime import timedelta

import pytest

from outlast import limits
from outlast.contracts.messages import (
    ActionError,
    CancelTimer,
    Finished,
    Resumed,
    RunActivity,
    SignalVerdict,
    Started,
    StartTimer,
    Subscribe,
    Unsubscribe,
    Waiting,
)
from outlast.execution.decide import Rejection
from outlast.execution.outstanding import outstanding
from outlast.execution.waits import backoff, verdict
from outlast.runbooks.definition import Retry
from outlast.runbooks.documents import Json
from outlast.testing.spec import EXECUTION, Spec, notify, runbook


def flow(name: str, kind: str, **config: Json) -> Json:
    return {"id": name, "type": kind, "class": "flow", "config": config}


def sleep(name: str, duration: Json) -> Json:
    return flow(name, "sleep", duration=duration)


def gate(name: str = "gate", **config: Json) -> Json:
    return flow(name, "await_signal", **{"signal": "approved", **config})


def started(*actions: Json) -> Spec:
    spec = Spec(runbook(*actions))
    spec.start()
    return spec


def said(spec: Spec, after: int = 0) -> list[type]:
    return [type(command) for command in outstanding(spec.state, after)]


# ---- sleep


def test_a_run_sleeps_until_its_timer_fires() -> None:
    spec = started(sleep("nap", "5m"), notify("a"))
    assert spec.kinds() == ["WorkflowStarted", "TimerStarted nap"]
    timer = spec.state.timers["nap"].event
    assert timer.fire_at == spec.now + timedelta(minutes=5)
    assert said(spec) == [Started, StartTimer, Waiting]
    spec.fire("nap")
    assert spec.kinds()[2:] == ["TimerFired", "ActivityCompleted nap", "ActivityScheduled a"]
    assert spec.state.steps["nap"].duration_ms == 301_000
    spec.succeed("a")
    assert spec.kinds()[-1] == "WorkflowCompleted success"


def test_a_timer_that_fires_twice_or_late_changes_nothing() -> None:
    spec = started(sleep("nap", "5m"), notify("a"))
    assert spec.fire("other") == Rejection("timer_not_open")
    spec.fire("nap")
    assert spec.fire("nap") == Rejection("timer_not_open")
    spec.succeed("a")
    assert spec.fire("nap") == Rejection("execution_ended")


def test_a_sleep_may_be_rendered_and_says_what_it_cannot_read() -> None:
    spec = started(sleep("nap", "{{ 2 }}m"), notify("a"))
    assert spec.state.timers["nap"].event.fire_at == spec.now + timedelta(minutes=2)
    for duration, word in (
        ("soon", "30s"),
        ("{{ 5 }}", "duration"),
        ("400d", "366d"),
        ("{{ none }}", "duration"),
    ):
        spec = started(sleep("nap", duration), notify("a"))
        error = spec.state.steps["nap"].error
        assert error is not None
        assert (error.code, error.path) == ("config_invalid", "duration")
        assert word in error.message
        assert spec.state.steps["a"].status == "scheduled"


# ---- await_signal


def test_a_signal_ends_the_wait_and_its_payload_can_be_read() -> None:
    spec = started(
        gate(key="{{ finding.id }}"), notify("a", config={"by": "{{ steps.gate.output.payload.by }}"})
    )
    assert spec.kinds() == ["WorkflowStarted", "SignalAwaited gate", "TimerStarted gate"]
    assert said(spec) == [Started, StartTimer, Subscribe, Waiting]
    before = spec.state.sequence
    spec.signal("approved", payload={"by": "ana"})
    assert spec.kinds()[3:] == [
        "SignalReceived", "SignalConsumed gate", "TimerCancelled", "ActivityCompleted gate", "ActivityScheduled a"
    ]  # fmt: skip
    scheduled = spec.state.steps["a"].scheduled
    assert scheduled is not None
    assert bytes(scheduled.input) == b'{"by":"ana"}'
    assert said(spec, before) == [SignalVerdict, CancelTimer, Unsubscribe, RunActivity, Resumed]


def test_an_early_signal_is_kept_and_consumed_by_the_await_that_comes() -> None:
    spec = started(notify("a"), gate())
    spec.signal("approved")
    (verdict,) = [each for each in outstanding(spec.state) if isinstance(each, SignalVerdict)]
    assert verdict.verdict == "early"
    spec.succeed("a")
    assert spec.kinds()[-2:] == ["ActivityCompleted gate", "WorkflowCompleted success"]
    assert not spec.state.timers
    (verdict,) = [each for each in outstanding(spec.state) if isinstance(each, SignalVerdict)]
    assert verdict.verdict == "consumed"


def test_a_signal_counts_once_by_its_id_and_for_one_await() -> None:
    spec = started(gate("first"), gate("second"))
    spec.signal("approved", "s-1")
    assert spec.signal("approved", "s-1") == Rejection("signal_known")
    assert spec.state.steps["second"].status == "waiting"
    spec.signal("approved", "s-2")
    assert spec.kinds()[-1] == "WorkflowCompleted success"


def test_two_early_signals_serve_two_awaits_in_the_order_in_which_they_came() -> None:
    spec = started(notify("a"), gate("first"), gate("second"))
    spec.signal("approved", "s-2", payload=1)
    spec.signal("approved", "s-1", payload=2)
    spec.succeed("a")
    outputs = [spec.state.steps[name].output for name in ("first", "second")]
    assert [each["id"] for each in outputs if isinstance(each, dict)] == ["s-2", "s-1"]


def test_a_signal_of_another_name_is_kept_and_wakes_nobody() -> None:
    spec = started(gate())
    spec.signal("rejected")
    assert spec.state.steps["gate"].status == "waiting"
    assert spec.state.signals["s-1"].consumed_by == ""


def test_what_was_sent_with_a_key_is_for_the_step_that_waits_with_it_and_for_no_other() -> None:
    spec = started(gate("first", key="f-1"), gate("second", key="f-2"), gate("third", key="f-1"))
    spec.signal("approved", "s-1", key="f-1")
    spec.signal(
        "approved", "s-2", key="f-1"
    )  # a second approval of the first finding approves no second finding
    assert spec.state.steps["second"].status == "waiting"
    assert spec.signal("approved", "s-3", key="f-2") != []
    assert [each.consumed_by for each in spec.state.signals.values()] == ["first", "third", "second"]


def test_what_was_sent_to_the_run_itself_is_for_whatever_step_waits_for_its_name() -> None:
    spec = started(gate("first", key="f-1"), gate("second"))
    spec.signal("approved", "s-1", key="f-9")
    spec.signal("approved", "s-2")
    spec.signal("approved", "s-3")
    assert [each.consumed_by for each in spec.state.signals.values()] == ["", "first", "second"]


def test_another_companys_signal_finds_no_run() -> None:
    spec = started(gate())
    assert spec.signal("approved", company_id="globex") == Rejection("unknown_execution")
    assert Spec(runbook(gate())).signal("approved") == Rejection("unknown_execution")


def test_a_signal_for_a_run_that_has_ended_is_late_and_so_is_one_that_nobody_awaited() -> None:
    spec = started(notify("a"))
    spec.signal("approved")
    before = spec.state.sequence
    spec.succeed("a")
    assert spec.signal("approved", "s-2") == Rejection("execution_ended")
    commands = outstanding(spec.state, before)
    assert [type(each) for each in commands] == [SignalVerdict, Finished]
    assert isinstance(commands[0], SignalVerdict)
    assert commands[0].verdict == "late"


def test_a_run_takes_in_so_many_signals_and_rejects_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGNALS_MAX", 2)
    spec = started(gate())
    spec.signal("x", "s-1")
    spec.signal("x", "s-2")
    assert spec.signal("x", "s-3") == Rejection("signals_max")
    assert spec.signal("x", "s-2") == Rejection("signal_known")


def test_a_run_takes_in_so_many_bytes_of_signals_and_rejects_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGNALS_BYTES_MAX", 20)
    spec = started(gate())
    spec.signal("x", "s-1", payload="x" * 10)
    assert spec.signal("x", "s-2", payload="x" * 10) == Rejection("signals_bytes_max")
    assert verdict(spec.state, "s-2") == "rejected"
    spec.signal("approved", "s-3", payload="x" * 6)
    assert spec.state.is_ended


@pytest.mark.parametrize(("on_timeout", "end"), [("continue", "success"), ("fail", "partial")])
def test_no_signal_in_time_goes_on_or_fails_as_configured(on_timeout: str, end: str) -> None:
    spec = started(gate(timeout="2h", on_timeout=on_timeout), notify("a"))
    spec.fire("gate:timeout")
    step = spec.state.steps["gate"]
    if on_timeout == "continue":
        assert step.output == {"received": False, "signal": "approved"}
    else:
        assert step.error is not None
        assert step.error.code == "signal_timeout"
    spec.succeed("a")
    assert spec.kinds()[-1] == f"WorkflowCompleted {end}"


def test_a_wait_of_unsaid_length_is_three_days() -> None:
    spec = started(gate())
    assert spec.state.timers["gate:timeout"].event.fire_at == spec.now + timedelta(hours=72)


# ---- another attempt


def test_a_failure_that_may_pass_is_tried_again_after_a_pause() -> None:
    spec = started(notify("a"), notify("b"))
    before = spec.state.sequence
    spec.fail("a", is_retryable=True)
    assert spec.kinds()[2:] == ["ActivityFailed a", "TimerStarted a"]
    assert said(spec, before) == [StartTimer, Waiting]
    spec.fire("a:retry:1")
    assert spec.kinds()[4:] == ["TimerFired", "ActivityScheduled a"]
    again = [each for each in outstanding(spec.state) if isinstance(each, RunActivity)]
    assert [each.attempt for each in again] == [2]
    spec.succeed("a", attempt=2)
    spec.succeed("b")
    assert spec.kinds()[-1] == "WorkflowCompleted success"


def test_attempts_are_used_up_and_then_the_step_has_failed() -> None:
    spec = started(notify("a"))
    for attempt in (1, 2, 3):
        spec.fail("a", attempt=attempt, is_retryable=True)
        spec.fire(f"a:retry:{attempt}")
    assert spec.kinds()[-2:] == ["ActivityFailed a", "WorkflowFailed"]
    (finished,) = [each for each in outstanding(spec.state) if isinstance(each, Finished)]
    assert finished.steps[0].attempts == 3


def test_a_failure_that_will_not_pass_burns_no_attempts() -> None:
    spec = started(notify("a"))
    spec.fail("a")
    assert spec.kinds()[-1] == "WorkflowFailed"


def test_a_result_of_an_earlier_attempt_is_refused() -> None:
    spec = started(notify("a"))
    spec.fail("a", is_retryable=True)
    assert spec.succeed("a", attempt=1) == Rejection("activity_not_open")
    spec.fire("a:retry:1")
    assert spec.succeed("a", attempt=1) == Rejection("other_attempt")


def test_the_pause_grows_is_bounded_differs_by_run_and_honours_the_other_side() -> None:
    policy = Retry(
        max_attempts=9, initial_backoff=timedelta(seconds=4), max_backoff=timedelta(seconds=60), factor=2
    )
    error = ActionError(code="x", message="y", retryable=True)
    pauses = [backoff(EXECUTION, "a", n, policy, error).total_seconds() for n in range(1, 9)]
    for n, pause in enumerate(pauses):
        base = min(4 * 2**n, 60)
        assert 0.75 * base <= pause < 1.25 * base
    assert backoff(EXECUTION, "b", 1, policy, error) != backoff(EXECUTION, "a", 1, policy, error)
    asked = ActionError(code="x", message="y", retryable=True, retry_after_seconds=90)
    assert backoff(EXECUTION, "a", 1, policy, asked).total_seconds() == 90
    for_ever = ActionError(code="x", message="y", retryable=True, retry_after_seconds=1e12)
    assert backoff(EXECUTION, "a", 1, policy, for_ever).total_seconds() == limits.RETRY_AFTER_SECONDS_MAX


# ---- all of them


def test_what_is_outstanding_of_a_waiting_run_can_be_said_again_and_again() -> None:
    spec = started(gate(key="k"))
    spec.signal("other")
    assert outstanding(spec.state) == outstanding(spec.state)
    assert said(spec) == [SignalVerdict, Started, StartTimer, Subscribe, Waiting]
    assert said(spec, spec.state.sequence) == []
