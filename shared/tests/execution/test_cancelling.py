"""A run that somebody ends: nothing more begins, and what is in flight may settle. Given, when, then."""

from datetime import timedelta

import pytest

from outlast.contracts.messages import (
    CancelTimer,
    Finished,
    RunActivity,
    SignalVerdict,
    Started,
    StartTimer,
    Unsubscribe,
)
from outlast.execution.decide import Rejection
from outlast.execution.outstanding import outstanding
from outlast.runbooks.documents import Json
from outlast.testing.spec import Spec, notify, runbook


def flow(name: str, kind: str, **config: Json) -> Json:
    return {"id": name, "type": kind, "class": "flow", "config": config}


def started(*actions: Json, mode: str = "workflow") -> Spec:
    spec = Spec(runbook(*actions))
    spec.start(mode)
    return spec


def said(spec: Spec, after: int = 0) -> list[type]:
    return [type(command) for command in outstanding(spec.state, after)]


def finished(spec: Spec) -> Finished:
    (command,) = [each for each in outstanding(spec.state) if isinstance(each, Finished)]
    return command


def test_what_is_in_flight_settles_and_then_the_run_is_cancelled_with_nothing_more_begun() -> None:
    spec = started(notify("a"), notify("b"))
    before = spec.state.sequence
    spec.cancel()
    assert spec.kinds()[2:] == ["CancelRequested", "TimerStarted"]
    assert not spec.state.is_ended
    assert said(spec, before) == [StartTimer]
    before = spec.state.sequence
    spec.succeed("a")
    assert spec.kinds()[4:] == ["ActivityCompleted a", "TimerCancelled", "WorkflowCancelled"]
    assert said(spec, before) == [CancelTimer, Finished]
    end = finished(spec)
    assert (end.status, end.by, end.reason, end.seq) == ("cancelled", "ana", "a drill", 7)
    assert [(step.id, step.status) for step in end.steps] == [("a", "success")]


def test_a_failure_that_may_pass_is_not_tried_again() -> None:
    spec = started(notify("a"))
    spec.cancel()
    spec.fail("a", is_retryable=True)
    assert spec.kinds()[4:] == ["ActivityFailed a", "TimerCancelled", "WorkflowCancelled"]


def test_what_never_settles_is_given_up_in_its_time_and_the_history_says_so() -> None:
    spec = started(notify("a", timeout="40s"))
    spec.cancel()
    timer = spec.state.timers[":cancel"].event
    assert timer.fire_at == spec.now + timedelta(seconds=55)
    assert spec.fire("a") == Rejection("timer_not_open")
    spec.fire(":cancel")
    assert spec.kinds()[4:] == ["TimerFired", "ActivityFailed a", "WorkflowCancelled"]
    error = spec.state.steps["a"].error
    assert error is not None
    assert error.code == "cancel_timeout"
    assert spec.succeed("a") == Rejection("execution_ended")


def test_what_was_ordered_and_maybe_not_begun_is_not_ordered_again() -> None:
    spec = started(notify("a"))
    assert RunActivity in said(spec)
    spec.cancel()
    assert said(spec) == [Started, StartTimer]


def test_a_sleeping_run_is_cancelled_at_once_and_its_timer_with_it() -> None:
    spec = started(flow("nap", "sleep", duration="5m"), notify("a"))
    before = spec.state.sequence
    spec.cancel()
    assert spec.kinds()[2:] == [
        "CancelRequested",
        "TimerCancelled",
        "ActivitySkipped nap",
        "WorkflowCancelled",
    ]
    assert said(spec, before) == [CancelTimer, Finished]
    assert [(step.id, step.status, step.reason) for step in finished(spec).steps] == [
        ("nap", "skipped", "cancelled")
    ]
    assert spec.fire("nap") == Rejection("execution_ended")


def test_a_run_that_awaits_a_signal_is_unsubscribed_and_a_signal_is_late() -> None:
    spec = started(flow("gate", "await_signal", signal="approved", key="k"), notify("a"))
    spec.signal("other", "s-0")
    before = spec.state.sequence
    spec.cancel()
    assert said(spec, before) == [SignalVerdict, CancelTimer, Unsubscribe, Finished]
    assert spec.signal("approved") == Rejection("execution_ended")
    assert [each.verdict for each in outstanding(spec.state) if isinstance(each, SignalVerdict)] == ["late"]


def test_a_run_that_pauses_before_another_attempt_ends_with_its_last_failure() -> None:
    spec = started(notify("a"))
    spec.fail("a", "http_503", is_retryable=True)
    before = spec.state.sequence
    spec.cancel()
    assert spec.kinds()[4:] == ["CancelRequested", "TimerCancelled", "WorkflowCancelled"]
    assert said(spec, before) == [CancelTimer, Finished]
    (step,) = finished(spec).steps
    assert step.status == "failed"
    assert step.error is not None
    assert step.error.code == "http_503"


def test_a_second_a_late_and_an_unknown_cancel_change_nothing() -> None:
    assert Spec(runbook(notify("a"))).cancel() == Rejection("unknown_execution")
    spec = started(notify("a"))
    assert spec.cancel(company_id="globex") == Rejection("unknown_execution")
    spec.cancel()
    assert spec.cancel(reason="again") == Rejection("cancel_known")
    spec.succeed("a")
    assert spec.cancel() == Rejection("execution_ended")
    assert finished(spec).reason == "a drill"


def test_a_signal_that_comes_while_the_run_is_cancelling_brings_nothing_on() -> None:
    spec = started(notify("a"), flow("gate", "await_signal", signal="approved"))
    spec.cancel()
    spec.signal("approved")
    spec.succeed("a")
    assert spec.kinds()[-1] == "WorkflowCancelled"
    assert "gate" not in spec.state.steps


def test_a_definition_that_cannot_be_read_any_more_keeps_no_run_from_being_cancelled() -> None:
    spec = started(notify("a"))
    spec.definition = None
    spec.cancel()
    spec.succeed("a")
    assert spec.kinds()[-1] == "WorkflowCancelled"


def test_inline_the_call_bounds_itself_and_the_run_ends_between_two_actions() -> None:
    spec = started(notify("a"), notify("b"), mode="inline")
    spec.cancel()
    assert not spec.state.timers
    spec.succeed("a")
    assert spec.kinds()[2:] == ["CancelRequested", "ActivityCompleted a", "WorkflowCancelled"]
    assert finished(spec).mode == "inline"


@pytest.mark.parametrize("mode", ["workflow", "inline"])
def test_what_is_outstanding_of_a_cancelled_run_can_be_said_again_and_again(mode: str) -> None:
    spec = started(notify("a"), mode=mode)
    spec.cancel()
    assert outstanding(spec.state) == outstanding(spec.state)
    assert said(spec, spec.state.sequence) == []
    spec.succeed("a")
    assert said(spec) == [Finished]
