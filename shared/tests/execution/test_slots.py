"""A run that gives its slot back while it waits, and asks for one before it goes on. Given, when, then."""

from outlast.contracts.messages import Finished, Resumed, Resuming, RunActivity, Started
from outlast.contracts.parts import Origin
from outlast.execution.decide import Rejection
from outlast.execution.outstanding import outstanding
from outlast.execution.waits import waits
from outlast.runbooks.documents import Json
from outlast.testing.spec import Spec, notify, runbook

RELEASES = Origin(is_slotted=True, releases_slot=True)
NAP: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "5m"}}
GATE: Json = {"id": "gate", "type": "await_signal", "class": "flow", "config": {"signal": "approved"}}


def started(*actions: Json, origin: Origin = RELEASES, mode: str = "workflow") -> Spec:
    spec = Spec(runbook(*actions))
    spec.start(mode, origin)
    return spec


def asked(spec: Spec) -> int:
    (resuming,) = [each for each in outstanding(spec.state) if isinstance(each, Resuming)]
    assert (resuming.rank, resuming.seq) == (1, spec.state.slot_asked)
    return resuming.seq


def test_a_run_whose_sleep_is_over_goes_on_only_when_it_has_a_slot_again() -> None:
    spec = started(NAP, notify("a"))
    before = spec.state.sequence
    spec.fire("nap")
    assert spec.kinds()[2:] == ["TimerFired", "ActivityCompleted nap", "SlotAsked nap"]
    assert [type(each) for each in outstanding(spec.state, before)] == [Resuming]
    assert [(each.kind, each.activity_id) for each in waits(spec.state)] == [("slot", "nap")]
    before = spec.state.sequence
    spec.grant(asked(spec))
    assert spec.kinds()[5:] == ["SlotTaken", "ActivityScheduled a"]
    assert [type(each) for each in outstanding(spec.state, before)] == [RunActivity, Resumed]
    assert waits(spec.state) == ()


def test_a_run_whose_signal_came_asks_too_and_keeps_other_signals_meanwhile() -> None:
    spec = started(GATE, notify("a"))
    spec.signal("approved")
    seq = asked(spec)
    spec.signal("approved", "s-2")
    assert asked(spec) == seq
    spec.grant(seq)
    assert spec.kinds()[-2:] == ["SlotTaken", "ActivityScheduled a"]


def test_another_attempt_begins_when_the_slot_is_there_and_as_the_same_attempt() -> None:
    spec = started(notify("a"), notify("b"))
    spec.fail("a", is_retryable=True)
    spec.fire("a:retry:1")
    assert spec.kinds()[-1] == "SlotAsked a"
    spec.grant(asked(spec))
    assert spec.kinds()[-2:] == ["SlotTaken", "ActivityScheduled a"]
    assert spec.state.steps["a"].attempt == 2
    spec.succeed("a", attempt=2)
    assert spec.kinds()[-1] == "ActivityScheduled b"


def test_each_wait_is_followed_by_a_question_of_its_own() -> None:
    spec = started(NAP, GATE, notify("a"))
    spec.fire("nap")
    first = asked(spec)
    spec.grant(first)
    assert spec.state.steps["gate"].status == "waiting"
    assert spec.grant(first) == Rejection("slot_not_asked")
    spec.signal("approved")
    assert asked(spec) > first
    assert spec.grant(first) == Rejection("slot_not_asked")


def test_a_run_that_has_nothing_left_to_do_asks_for_no_slot_to_end() -> None:
    spec = started(notify("a"), NAP)
    spec.succeed("a")
    spec.fire("nap")
    assert spec.kinds()[-1] == "WorkflowCompleted success"


def test_an_early_signal_is_no_wait_and_asks_for_nothing() -> None:
    spec = started(notify("a"), GATE, notify("b"))
    spec.signal("approved")
    spec.succeed("a")
    assert spec.kinds()[-2:] == ["ActivityCompleted gate", "ActivityScheduled b"]


def test_who_keeps_its_slot_or_has_none_or_runs_inline_does_not_ask() -> None:
    for origin in (Origin(), Origin(is_slotted=True), Origin(releases_slot=True)):
        spec = started(NAP, notify("a"), origin=origin)
        spec.fire("nap")
        assert spec.kinds()[-1] == "ActivityScheduled a"
    spec = started(notify("a"), mode="inline")
    spec.fail("a", is_retryable=True)
    spec.fire("a:retry:1")
    assert spec.kinds()[-1] == "ActivityScheduled a"


def test_a_slot_that_comes_late_double_or_to_nobody_changes_nothing() -> None:
    assert Spec(runbook(NAP)).grant(3) == Rejection("unknown_execution")
    spec = started(NAP, notify("a"))
    assert spec.grant(2) == Rejection("slot_not_asked")
    assert spec.grant(0) == Rejection("slot_not_asked")
    spec.fire("nap")
    seq = asked(spec)
    assert spec.grant(seq - 1) == Rejection("slot_not_asked")
    spec.grant(seq)
    assert spec.grant(seq) == Rejection("slot_not_asked")
    spec.succeed("a")
    assert spec.grant(seq) == Rejection("execution_ended")


def test_a_run_that_asks_is_cancelled_at_once_and_wants_its_slot_no_more() -> None:
    for actions, step, status in (([NAP, notify("a")], "nap", "success"), ([notify("a")], "a", "failed")):
        spec = started(*actions)
        if step == "a":
            spec.fail("a", is_retryable=True)
        spec.fire("nap" if step == "nap" else "a:retry:1")
        seq = asked(spec)
        spec.cancel()
        assert [type(each) for each in outstanding(spec.state)] == [Finished]
        assert spec.state.steps[step].status == status
        assert spec.grant(seq) == Rejection("execution_ended")


def test_what_is_outstanding_of_a_run_that_asks_can_be_said_again_and_again() -> None:
    spec = started(NAP, notify("a"))
    spec.fire("nap")
    assert [type(each) for each in outstanding(spec.state)] == [Started, Resuming]
    assert outstanding(spec.state) == outstanding(spec.state)
