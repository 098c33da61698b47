"""The durable double of an inline run: what it decides by itself, and where it parts from that run."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw, structs

from outlast import limits
from outlast.contracts.messages import (
    ActivityResult,
    CancelTimer,
    Compared,
    InlineOutcome,
    OutcomeStep,
    SignalVerdict,
    StartTimer,
    Subscribe,
    Unsubscribe,
)
from outlast.execution.decide import Rejection
from outlast.execution.outstanding import outstanding
from outlast.runbooks.documents import Json
from outlast.testing.spec import EXECUTION, Spec, notify, runbook

NAP: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "5m"}}
OWNER: Json = {"id": "owner", "type": "resolve_owner", "class": "flow"}
HIGH: Json = {"field": "finding.severity", "op": "gte", "value": "high"}


def gate(**config: Json) -> Json:
    return {"id": "gate", "type": "await_signal", "class": "flow", "config": {"signal": "approved", **config}}


def fork(then: list[Json], otherwise: list[Json]) -> Json:
    return {"id": "fork", "type": "when", "expression": HIGH, "then": then, "else": otherwise}


def inline(*actions: Json, results: Callable[[Spec], object] = lambda spec: None) -> InlineOutcome:
    """The outcome of an inline run whose activities all succeed unless `results` settles them otherwise."""
    spec = Spec(runbook(*actions))
    spec.start("inline")
    results(spec)
    while not spec.state.is_ended:
        (opened,) = [step for step in spec.state.steps.values() if step.status == "scheduled"]
        spec.succeed(opened.id, {"n": len(spec.history)}, attempt=opened.attempt)
    return spec.outcome()


def double(*actions: Json) -> Spec:
    spec = Spec(runbook(*actions))
    spec.start("shadow")
    return spec


def compared(spec: Spec) -> Compared:
    said = outstanding(spec.state)
    (last,) = [each for each in said if isinstance(each, Compared)]
    return last


def differences(spec: Spec) -> list[tuple[str, str]]:
    return [(each.activity_id, each.what) for each in compared(spec).differences]


def changed(outcome: InlineOutcome, name: str, **members: Any) -> InlineOutcome:
    """Its steps, one of them otherwise."""
    steps = tuple(structs.replace(s, **members) if s.activity_id == name else s for s in outcome.steps)
    return structs.replace(outcome, steps=steps)


# ---- agreeing


def test_a_double_orders_nothing_and_takes_the_results_of_its_inline_run() -> None:
    actions = [
        OWNER,
        notify("a"),
        notify("b", config={"n": "{{ steps.a.output.n + 1 }}"}),
        fork([notify("c")], []),
    ]
    spec = double(*actions)
    assert spec.kinds() == [
        "WorkflowStarted", "TimerStarted", "ActivityCompleted owner", "ActivityScheduled a",
    ]  # fmt: skip
    assert [type(each) for each in outstanding(spec.state)] == [StartTimer]
    before = spec.state.sequence
    spec.when(inline(*actions))
    assert spec.kinds()[4:] == [
        "InlineRecorded success", "TimerCancelled", "ActivityCompleted a", "ActivityScheduled b",
        "ActivityCompleted b", "ActivityCompleted fork", "ActivityScheduled c", "ActivityCompleted c",
        "WorkflowCompleted success", "ShadowCompared",
    ]  # fmt: skip
    assert [type(each) for each in outstanding(spec.state, before)] == [CancelTimer, Compared]
    said = compared(spec)
    assert (said.is_agreed, said.steps_compared, said.expected) == (True, 5, ())
    assert outstanding(spec.state) == [said]
    assert outstanding(spec.state, spec.state.sequence) == []


def test_attempts_and_failures_are_the_inline_runs_and_no_pause_is_made_for_them() -> None:
    def twice(spec: Spec) -> None:
        spec.fail("a", is_retryable=True)
        spec.fire("a:retry:1")
        spec.succeed("a", {"n": 1}, attempt=2)
        spec.fail("b")

    actions = [notify("a"), notify("b"), notify("c")]
    spec = double(*actions)
    spec.when(inline(*actions, results=twice))
    assert compared(spec).is_agreed
    assert not any(kind.startswith("TimerStarted") for kind in spec.kinds()[2:])
    assert spec.state.steps["a"].attempt == 2
    error = spec.state.steps["b"].error
    assert error is not None
    assert error.code == "http_500"


def test_what_was_folded_in_is_read_by_what_follows() -> None:
    actions = [notify("a"), notify("b", config={"s": "{{ finding.severity }}"})]
    spec = double(*actions)
    spec.when(inline(*actions, results=lambda run: run.succeed("a", folded={"finding": {"severity": "low"}})))
    assert compared(spec).is_agreed


def test_an_outcome_that_comes_before_its_start_is_kept() -> None:
    actions = [notify("a"), notify("b")]
    spec = Spec(runbook(*actions))
    spec.when(inline(*actions))
    assert spec.kinds() == ["InlineRecorded success"]
    assert outstanding(spec.state) == []
    assert spec.succeed("a") == Rejection("unknown_execution")
    assert spec.when(inline(*actions)) == Rejection("outcome_known")
    spec.start("shadow")
    assert compared(spec).is_agreed
    assert not any(kind.startswith("Timer") for kind in spec.kinds())
    assert [each.sequence for each in spec.history] == list(range(1, len(spec.history) + 1))


def test_a_double_that_ends_by_itself_waits_for_the_outcome_to_be_compared() -> None:
    spec = double(OWNER)
    assert spec.state.is_ended
    assert [type(each) for each in outstanding(spec.state)] == [StartTimer]
    spec.when(inline(OWNER))
    assert compared(spec).is_agreed


# ---- waits


def test_a_wait_that_inline_skips_is_expected_and_really_waited_for() -> None:
    actions = [notify("a"), NAP, notify("b")]
    spec = double(*actions)
    before = spec.state.sequence
    spec.when(inline(*actions))
    assert [type(each) for each in outstanding(spec.state, before)] == [CancelTimer, StartTimer]
    assert spec.state.compared is None
    spec.fire("nap")
    said = compared(spec)
    assert (said.is_agreed, said.expected, said.steps_compared) == (True, ("nap",), 2)


def test_a_signal_reaches_the_double_and_what_differs_after_it_is_marked() -> None:
    by = notify("b", config={"by": "{{ steps.gate.output.payload.by | default('nobody') }}"})
    actions = [notify("a"), gate(key="{{ finding.id }}"), by]
    spec = double(*actions)
    before = spec.state.sequence
    spec.when(inline(*actions))
    assert Subscribe in [type(each) for each in outstanding(spec.state, before)]
    before = spec.state.sequence
    spec.signal("approved", payload={"by": "ana"}, key="f-1")
    said = [type(each) for each in outstanding(spec.state, before)]
    assert said == [SignalVerdict, CancelTimer, Unsubscribe, Compared]
    (difference,) = compared(spec).differences
    assert (difference.activity_id, difference.what, difference.after_wait) == ("b", "input", True)
    assert (difference.inline, difference.shadow) == ('{"by":"nobody"}', '{"by":"ana"}')
    assert compared(spec).expected == ("gate",)


def test_a_wait_that_runs_out_makes_no_other_conclusion_by_itself() -> None:
    actions = [gate(timeout="2h"), notify("a")]
    spec = double(*actions)
    spec.when(inline(*actions))
    spec.fire("gate:timeout")
    assert spec.kinds()[-2:] == ["WorkflowCompleted partial", "ShadowCompared"]
    assert compared(spec).is_agreed


# ---- differing


def test_another_input_is_a_difference_with_both_sides() -> None:
    actions = [notify("a", config={"text": "{{ finding.title }}"})]
    spec = double(*actions)
    spec.when(changed(inline(*actions), "a", input=Raw(b'{"text": "SQL INJECTION"}')))
    (difference,) = compared(spec).differences
    assert (difference.activity_id, difference.what, difference.after_wait) == ("a", "input", False)
    assert difference.inline == '{"text":"SQL INJECTION"}'
    assert not compared(spec).is_agreed


def test_the_order_of_members_is_no_difference_but_the_kind_of_a_value_is() -> None:
    actions = [notify("a", config={"x": 1, "y": True})]
    spec = double(*actions)
    spec.when(changed(inline(*actions), "a", input=Raw(b'{"y": true, "x": 1}')))
    assert compared(spec).is_agreed
    spec = double(*actions)
    spec.when(changed(inline(*actions), "a", input=Raw(b'{"x": true, "y": 1}')))
    assert differences(spec) == [("a", "input")]


def test_a_long_difference_is_shown_where_it_begins_and_cut() -> None:
    actions = [notify("a", config={"x": "y" * 5_000 + "A" + "z" * 5_000})]
    outcome = inline(*actions)
    spec = double(*actions)
    spec.when(changed(outcome, "a", input=Raw(msgspec.json.encode({"x": "y" * 5_000 + "B" + "z" * 5_000}))))
    (difference,) = compared(spec).differences
    assert "B" in difference.inline
    assert "A" in difference.shadow
    assert len(difference.shadow) <= limits.DIFFERENCE_EXCERPT_CHARACTERS_MAX + 1


def test_another_branch_is_an_output_an_extra_and_a_missing_step() -> None:
    actions = [fork([notify("page")], [notify("file")])]
    low = Spec(runbook(*actions), {"finding": {"id": "f", "severity": "low"}})
    low.start("inline")
    low.succeed("file")
    spec = double(*actions)
    spec.when(low.outcome())
    assert differences(spec) == [
        ("fork", "output"), ("page", "extra"), ("file", "missing"), ("", "conclusion"),
    ]  # fmt: skip


def test_a_skip_that_is_none_and_one_for_another_reason_are_differences() -> None:
    actions = [notify("a", when="{{ finding.severity == 'low' }}"), notify("b")]
    skipped = inline(*actions)
    spec = double(*actions)
    spec.when(changed(skipped, "a", reason="other"))
    assert differences(spec) == [("a", "reason")]
    spec = double(notify("a"), notify("b"))
    spec.when(skipped)
    assert differences(spec) == [("a", "input"), ("a", "status"), ("", "conclusion")]
    assert compared(spec).differences[1].inline == "skipped: when_false"


def test_a_template_that_fails_on_one_side_only_is_a_difference() -> None:
    spec = double(notify("a", config={"x": "{{ finding.nope }}"}))
    spec.when(inline(notify("a", config={"x": "{{ finding.title }}"})))
    assert differences(spec) == [("a", "input"), ("a", "status"), ("", "conclusion")]


def test_the_same_failure_with_another_error_is_a_difference() -> None:
    actions = [notify("a", config={"x": "{{ finding.nope }}"})]
    outcome = inline(*actions)
    error = outcome.steps[0].error
    assert error is not None
    spec = double(*actions)
    spec.when(changed(outcome, "a", error=structs.replace(error, path="finding.nap")))
    assert differences(spec) == [("a", "output")]


def test_another_order_of_the_same_steps_is_a_difference() -> None:
    spec = double(OWNER, notify("a"))
    outcome = inline(OWNER, notify("a"))
    spec.when(structs.replace(outcome, steps=outcome.steps[::-1]))
    assert differences(spec) == [("a", "order")] or differences(spec) == [("owner", "order")]


def test_another_conclusion_from_the_same_steps_is_a_difference() -> None:
    spec = double(notify("a"))
    spec.when(structs.replace(inline(notify("a")), status="partial"))
    (difference,) = compared(spec).differences
    assert (difference.what, difference.inline, difference.shadow) == ("conclusion", "partial", "success")


def test_so_many_differences_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHADOW_DIFFERENCES_MAX", 2)
    spec = double(notify("a"))
    steps = tuple(
        OutcomeStep(activity_id=f"s{n}", action="x", action_class="notify", status="success")
        for n in range(9)
    )
    spec.when(structs.replace(inline(notify("a")), steps=steps))
    assert len(compared(spec).differences) == 2


# ---- ended from outside


def test_a_double_is_cancelled_where_its_inline_run_was() -> None:
    actions = [notify("a"), notify("b")]

    def cancelled(run: Spec) -> None:
        run.cancel()
        run.succeed("a", {"n": 1})

    spec = double(*actions)
    assert spec.cancel() == Rejection("shadow_run")
    spec.when(inline(*actions, results=cancelled))
    assert spec.kinds()[-3:] == ["CancelRequested", "WorkflowCancelled", "ShadowCompared"]
    assert compared(spec).is_agreed


def test_a_double_is_cancelled_where_its_inline_run_was_at_its_last_action() -> None:
    def cancelled(run: Spec) -> None:
        run.cancel()
        run.succeed("a", {"n": 1})

    spec = double(notify("a"))
    spec.when(inline(notify("a"), results=cancelled))
    assert spec.kinds()[-3:] == ["CancelRequested", "WorkflowCancelled", "ShadowCompared"]
    assert compared(spec).is_agreed


def test_a_double_that_waits_beyond_the_cancellation_waits_no_more() -> None:
    actions = [NAP, notify("a")]
    spec = double(*actions)
    outcome = InlineOutcome(
        execution_id=EXECUTION, company_id="acme", status="cancelled", at=spec.now, steps=()
    )
    before = spec.state.sequence
    spec.when(outcome)
    assert compared(spec).is_agreed
    said = [each for each in outstanding(spec.state, before) if isinstance(each, CancelTimer)]
    assert {each.timer_id for each in said} == {"nap", ":outcome"}


def test_a_double_ends_where_its_inline_run_was_given_up() -> None:
    actions = [notify("a"), notify("b")]
    outcome = inline(*actions)
    open_step = structs.replace(outcome.steps[1], status="scheduled", output=UNSET)
    spec = double(*actions)
    spec.when(structs.replace(outcome, status="failed", steps=(outcome.steps[0], open_step)))
    assert compared(spec).is_agreed


def test_what_was_cut_cannot_be_compared_and_says_so() -> None:
    actions = [NAP, notify("a")]
    spec = double(*actions)
    spec.when(structs.replace(inline(*actions), is_cut=True))
    assert differences(spec) == [("", "incomparable")]
    assert spec.state.is_ended
    assert not spec.state.timers
    spec = double(OWNER)
    spec.when(structs.replace(inline(OWNER), is_cut=True))
    assert differences(spec) == [("", "incomparable")]


@pytest.mark.parametrize("actions", [[notify("a")], [OWNER], [NAP]])
def test_an_outcome_that_never_comes_keeps_no_double_for_ever(actions: list[Json]) -> None:
    spec = double(*actions)
    spec.fire(":outcome")
    assert differences(spec) == [("", "incomparable")]
    assert not spec.state.timers
    assert spec.when(inline(*actions)) == Rejection("execution_ended")


# ---- what is not for it


def test_results_and_doubles_of_messages_change_nothing() -> None:
    actions = [notify("a"), notify("b")]
    spec = double(*actions)
    assert spec.start("shadow") == Rejection("already_started")
    assert spec.succeed("a") == Rejection("shadow_run")
    outcome = inline(*actions)
    assert spec.when(structs.replace(outcome, company_id="globex")) == Rejection("not_a_shadow_run")
    spec.when(outcome)
    kinds = spec.kinds()
    assert spec.when(outcome) == Rejection("outcome_known")
    assert spec.fire(":outcome") == Rejection("execution_ended")
    assert spec.kinds() == kinds


@pytest.mark.parametrize("mode", ["workflow", "inline"])
def test_an_outcome_for_a_run_that_is_no_double_is_refused(mode: str) -> None:
    spec = Spec(runbook(notify("a")))
    spec.start(mode)
    assert spec.when(inline(notify("a"))) == Rejection("not_a_shadow_run")


def test_a_definition_that_only_one_side_can_read_is_a_difference() -> None:
    spec = Spec(None)
    spec.start("shadow")
    spec.when(inline(notify("a")))
    assert differences(spec) == [("a", "missing"), ("", "conclusion")]


# ---- all of it


@settings(max_examples=50)
@given(st.data())
def test_whatever_an_inline_run_did_its_double_agrees_in_whatever_order_it_hears_of_it(
    data: st.DataObject,
) -> None:
    kinds = data.draw(
        st.lists(st.sampled_from(["notify", "owner", "nap", "skip", "read"]), min_size=1, max_size=6)
    )
    actions: list[Json] = []
    for number, kind in enumerate(kinds):
        name = f"s{number}"
        match kind:
            case "owner" | "nap":
                made = OWNER if kind == "owner" else NAP
                assert isinstance(made, dict)
                actions.append({**made, "id": name})
            case "skip":
                actions.append(notify(name, when="{{ finding.severity == 'low' }}"))
            case "read":
                before = f"s{data.draw(st.integers(0, max(0, number - 1)))}"
                actions.append(notify(name, config={"n": f"{{{{ steps.{before}.output.n | default(0) }}}}"}))
            case _:
                actions.append(notify(name, continue_on_error=data.draw(st.booleans())))

    def results(run: Spec) -> None:
        while not run.state.is_ended:
            step = next(each for each in run.state.steps.values() if each.status in ("scheduled", "waiting"))
            if step.status == "waiting":
                run.fire(step.timer_id)
            elif data.draw(st.booleans()):
                run.succeed(step.id, {"n": 1}, attempt=step.attempt)
            else:
                run.fail(step.id, attempt=step.attempt, is_retryable=data.draw(st.booleans()))

    outcome = inline(*actions, results=results)
    spec = Spec(runbook(*actions))
    is_early = data.draw(st.booleans())
    if is_early:
        spec.when(outcome)
        spec.when(outcome)
    spec.start("shadow")
    spec.start("shadow")
    if not is_early and data.draw(st.booleans()):
        spec.when(outcome)
    while spec.state.compared is None:
        timers = [name for name in spec.state.timers if name != ":outcome"]
        if timers:
            spec.fire(timers[0])
            spec.fire(timers[0])
        else:
            spec.when(outcome)
    assert [each.sequence for each in spec.history] == list(range(1, len(spec.history) + 1))
    assert compared(spec).differences == ()
    assert sum(kind.startswith(("WorkflowCompleted", "WorkflowFailed")) for kind in spec.kinds()) == 1
    for message in (
        outcome,
        ActivityResult(
            execution_id=EXECUTION, activity_id="s0", attempt=1, started_at=spec.now, duration_ms=0
        ),
    ):
        assert isinstance(spec.when(message), Rejection)
