"""What a run does next, given what happened."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from outlast.contracts.messages import Finished, RunActivity, Started
from outlast.execution.decide import Rejection
from outlast.execution.outstanding import outstanding
from outlast.history.events import ActivityCompleted, ActivityFailed, ActivityScheduled, WorkflowFailed
from outlast.testing.spec import PAYLOAD, Spec, notify, runbook

OWNER = {"id": "owner", "type": "resolve_owner", "class": "flow"}


def branch(name: str, expression: object, then: list[object], otherwise: list[object]) -> object:
    return {"id": name, "type": "when", "expression": expression, "then": then, "else": otherwise}


def test_a_start_schedules_the_first_action_with_its_rendered_input() -> None:
    spec = Spec(runbook(notify("a", config={"title": "{{ finding.title }}"}), notify("b")))
    spec.start()
    assert spec.kinds() == ["WorkflowStarted", "ActivityScheduled a"]
    scheduled = spec.events()[1]
    assert isinstance(scheduled, ActivityScheduled)
    assert msgspec.json.decode(scheduled.input) == {"title": "SQL injection"}


def test_actions_run_one_after_the_other_and_the_last_result_ends_the_run() -> None:
    spec = Spec(runbook(notify("a"), notify("b")))
    spec.start()
    spec.succeed("a")
    spec.succeed("b")
    assert spec.kinds()[-3:] == ["ActivityScheduled b", "ActivityCompleted b", "WorkflowCompleted success"]


def test_an_output_is_read_by_the_actions_that_follow() -> None:
    config = {"ticket": "{{ steps.a.output.key }}", "o": "{{ owner.name }}"}
    spec = Spec(runbook(notify("a"), notify("b", config=config)))
    spec.start()
    spec.succeed("a", {"key": "SEC-7"}, folded={"owner": {"name": "Ada"}})
    scheduled = spec.events()[-1]
    assert isinstance(scheduled, ActivityScheduled)
    assert msgspec.json.decode(scheduled.input) == {"ticket": "SEC-7", "o": "Ada"}


def test_a_folded_object_is_laid_over_the_one_that_is_there() -> None:
    spec = Spec(
        runbook(notify("a"), notify("b", config={"s": "{{ finding.severity }}", "t": "{{ finding.title }}"}))
    )
    spec.start()
    spec.succeed("a", None, folded={"finding": {"severity": "low"}})
    scheduled = spec.events()[-1]
    assert isinstance(scheduled, ActivityScheduled)
    assert msgspec.json.decode(scheduled.input) == {"s": "low", "t": "SQL injection"}


def test_an_undefined_name_fails_the_action_with_its_path_and_the_chain_goes_on() -> None:
    spec = Spec(runbook(notify("a", config={"x": "{{ finding.nope }}"}), notify("b")))
    spec.start()
    failed = spec.events()[1]
    assert isinstance(failed, ActivityFailed)
    assert (failed.error.code, failed.error.path) == ("template_failed", "finding.nope")
    assert spec.kinds()[2] == "ActivityScheduled b"


def test_a_false_when_skips_the_action_and_the_chain_goes_on() -> None:
    no = {"field": "finding.severity", "op": "eq", "value": "low"}
    spec = Spec(runbook(notify("a", when=no), notify("b")))
    spec.start()
    assert spec.kinds() == ["WorkflowStarted", "ActivitySkipped a", "ActivityScheduled b"]


def test_a_when_that_is_no_boolean_fails_the_action() -> None:
    spec = Spec(runbook(notify("a", when="{{ finding.title }}")))
    spec.start()
    assert spec.kinds() == ["WorkflowStarted", "ActivityFailed a", "WorkflowFailed"]


def test_a_branch_is_recorded_and_only_its_list_runs() -> None:
    high = {"field": "finding.severity", "op": "gte", "value": "high"}
    spec = Spec(runbook(branch("w", high, [notify("yes")], [notify("no")]), notify("after")))
    spec.start()
    spec.succeed("yes")
    spec.succeed("after")
    assert spec.kinds() == [
        "WorkflowStarted", "ActivityCompleted w", "ActivityScheduled yes", "ActivityCompleted yes",
        "ActivityScheduled after", "ActivityCompleted after", "WorkflowCompleted success",
    ]  # fmt: skip


def test_a_failure_that_must_not_be_passed_over_ends_the_run_from_inside_nested_branches() -> None:
    always = "{{ true }}"
    inner = branch("inner", always, [notify("a", continue_on_error=False)], [])
    spec = Spec(runbook(branch("outer", always, [inner, notify("b")], []), notify("c")))
    spec.start()
    spec.fail("a")
    assert spec.kinds()[-2:] == ["ActivityFailed a", "WorkflowFailed"]


def test_a_failure_is_passed_over_by_default_and_the_run_is_partial() -> None:
    spec = Spec(runbook(notify("a"), notify("b")))
    spec.start()
    spec.fail("a")
    spec.succeed("b")
    assert spec.kinds()[-1] == "WorkflowCompleted partial"


def test_resolve_owner_lays_the_owning_team_in() -> None:
    spec = Spec(runbook(OWNER, notify("a", config={"to": "{{ owner.name }}"})))
    spec.start()
    assert isinstance(spec.events()[1], ActivityCompleted)
    assert spec.state.context["owner"] == {"id": "t-1", "name": "Payments"}


def test_resolve_owner_without_a_team_fails_with_the_path() -> None:
    payload = {**PAYLOAD, "asset": {"id": "a-1"}}
    spec = Spec(runbook(OWNER, notify("a")), payload)
    spec.start()
    failed = spec.events()[1]
    assert isinstance(failed, ActivityFailed)
    assert failed.error.path == "asset.owning_team"


def test_resolve_owner_before_a_failing_action_is_failed_and_not_partial() -> None:
    spec = Spec(runbook(OWNER, notify("a")))
    spec.start()
    spec.fail("a")
    assert spec.kinds()[-1] == "WorkflowFailed"


def test_a_run_whose_every_action_is_skipped_is_skipped() -> None:
    spec = Spec(runbook(OWNER, notify("a", when="{{ false }}")))
    spec.start()
    assert spec.kinds()[-1] == "WorkflowCompleted skipped"


def test_an_output_over_the_limit_fails_the_activity_and_says_the_limit() -> None:
    spec = Spec(runbook(notify("a")))
    spec.start()
    spec.succeed("a", "x" * 200_000)
    failed = spec.events()[2]
    assert isinstance(failed, ActivityFailed)
    assert failed.error.code == "output_too_large"
    assert "131072" in failed.error.message


def test_a_definition_that_cannot_be_read_fails_the_run_and_says_so() -> None:
    spec = Spec(None)
    spec.start()
    ended = spec.events()[-1]
    assert isinstance(ended, WorkflowFailed)
    assert ended.error is not None
    assert ended.error.code == "definition_unreadable"


def test_double_and_late_messages_are_rejected_and_change_nothing() -> None:
    spec = Spec(runbook(notify("a"), notify("b")))
    assert spec.succeed("a") == Rejection("unknown_execution")
    spec.start()
    assert spec.start() == Rejection("already_started")
    assert spec.succeed("b") == Rejection("activity_not_open")
    assert spec.succeed("a", attempt=2) == Rejection("other_attempt")
    spec.succeed("a")
    assert spec.succeed("a") == Rejection("activity_not_open")
    spec.succeed("b")
    before = spec.kinds()
    assert spec.succeed("b") == Rejection("execution_ended")
    assert spec.kinds() == before


def test_what_is_outstanding_is_the_open_activity_and_the_lifecycle() -> None:
    spec = Spec(runbook(notify("a"), notify("b")))
    spec.start()
    spec.succeed("a")
    commands = outstanding(spec.state)
    assert [type(command) for command in commands] == [Started, RunActivity]
    assert isinstance(commands[1], RunActivity)
    assert commands[1].activity_id == "b"


def test_what_new_events_call_for_leaves_out_what_was_said_before() -> None:
    spec = Spec(runbook(notify("a"), notify("b")))
    spec.start()
    after_start = spec.state.sequence
    spec.succeed("a")
    assert [type(command) for command in outstanding(spec.state, after_start)] == [RunActivity]


def test_a_durable_run_begins_without_its_payload_which_is_in_its_history_and_an_inline_run_with_it() -> None:
    durable, inline = Spec(runbook(notify("a"))), Spec(runbook(notify("a")))
    durable.start()
    inline.start(mode="inline")
    (said, *_), (told, *_) = outstanding(durable.state), outstanding(inline.state)
    assert isinstance(said, Started)
    assert isinstance(told, Started)
    assert said.payload is msgspec.UNSET
    assert told.payload == Raw(msgspec.json.encode(PAYLOAD))


def test_an_ended_run_says_finished_with_its_payload_only_when_everything_is_said_again() -> None:
    spec = Spec(runbook(notify("a")))
    spec.start()
    before = spec.state.sequence
    spec.succeed("a")
    (live,) = outstanding(spec.state, before)
    (again,) = outstanding(spec.state)
    assert isinstance(live, Finished)
    assert isinstance(again, Finished)
    assert (live.payload is msgspec.UNSET, again.payload is msgspec.UNSET) == (True, False)
    assert (live.rank, live.seq, live.status) == (1, 4, "success")


@given(st.data())
def test_whatever_comes_twice_or_late_the_history_is_gapless_and_ends_once(data: st.DataObject) -> None:
    """Any order of any results, doubled: one terminal event, sequences without gaps, replay equals live."""
    names = [f"s{number}" for number in range(data.draw(st.integers(1, 4)))]
    spec = Spec(runbook(*(notify(name, continue_on_error=data.draw(st.booleans())) for name in names)))
    for _ in range(data.draw(st.integers(0, 20))):
        name = data.draw(st.sampled_from([*names, "start"]))
        if name == "start":
            spec.start()
        elif data.draw(st.booleans()):
            spec.succeed(name, {"n": 1})
        else:
            spec.fail(name)
    assert [recorded.sequence for recorded in spec.history] == list(range(1, len(spec.history) + 1))
    ends = [each for each in spec.kinds() if each.startswith(("WorkflowCompleted", "WorkflowFailed"))]
    assert len(ends) == spec.state.is_ended
    assert not ends or spec.kinds()[-1] == ends[0]
