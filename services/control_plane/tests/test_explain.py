"""What happened in each step, told from a history."""

from datetime import UTC, datetime

from outlast.runbooks.documents import Json
from outlast_control_plane.core.explain import HistoryLine, explain, final_status, inline_lines, questions

AT = datetime(2026, 1, 2, tzinfo=UTC)


def line(sequence: int, kind: str, **data: object) -> HistoryLine:
    return HistoryLine(sequence, f"{kind}.v1", AT, data)  # pyright: ignore[reportArgumentType] JSON by hand


HISTORY = [
    line(1, "workflow_started"),
    line(2, "activity_scheduled", activity_id="a", action="http_request", attempt=1, input={"url": "x"}),
    line(
        3,
        "activity_completed",
        activity_id="a",
        attempt=1,
        duration_ms=2.5,
        output={"status": 200},
        fold={"f": 1},
    ),
    line(4, "activity_skipped", activity_id="b", action="append_comment", reason="when is false"),
    line(
        5, "activity_failed", activity_id="c", action="http_request", attempt=2, error={"code": "undefined"}
    ),
    line(6, "activity_scheduled", activity_id="d", action="http_request", attempt=1, input={}),
]


def test_each_step_has_its_input_its_outcome_and_why() -> None:
    a, b, c, d = explain([], HISTORY, {}).steps
    assert (a["status"], a["input"], a["output"], a["fold"]) == (
        "success",
        {"url": "x"},
        {"status": 200},
        {"f": 1},
    )
    assert (b["status"], b["reason"]) == ("skipped", "when is false")
    assert (c["status"], c["attempts"], c["error"]) == ("failed", 2, {"code": "undefined"})
    assert d["status"] == "running"


def test_a_record_without_a_history_still_tells_its_steps() -> None:
    assert explain([{"id": "a", "status": "failed", "attempts": 3}], [], {}).steps == [
        {"id": "a", "status": "failed", "attempts": 3}
    ]


def test_the_record_has_the_last_word_and_the_histories_details_stay() -> None:
    (step, *_) = explain([{"id": "a", "status": "success", "name": "Ask"}], HISTORY[:2], {}).steps
    assert (step["status"], step["name"], step["input"]) == ("success", "Ask", {"url": "x"})


def test_what_is_asked_before_a_step_is_found_inside_branches() -> None:
    definition: Json = {
        "actions": [
            {"id": "a", "type": "x", "retry": {"max_attempts": 5}},
            {
                "id": "b",
                "type": "when",
                "expression": "{{ true }}",
                "then": [{"id": "c", "when": {"field": "f", "op": "eq", "value": 1}}],
                "else": [{"id": "d", "when": "{{ false }}"}],
            },
        ]
    }
    assert questions(definition) == {
        "a": {"max_attempts": 5},
        "b": {"expression": "{{ true }}"},
        "c": {"when": {"field": "f", "op": "eq", "value": 1}},
        "d": {"when": "{{ false }}"},
    }
    assert explain([{"id": "d"}], [], questions(definition)).steps == [{"id": "d", "when": "{{ false }}"}]


def test_a_history_says_how_its_run_ended_if_it_has() -> None:
    assert final_status(HISTORY) is None
    assert final_status([*HISTORY, line(7, "workflow_completed", status="partial")]) == "partial"
    assert final_status([*HISTORY, line(7, "workflow_failed")]) == "failed"


SLEEPS = [
    line(1, "workflow_started"),
    line(
        2, "timer_started", timer_id="nap", activity_id="nap", purpose="sleep", fire_at="2026-01-02T00:00:20Z",
        action="sleep", action_class="flow",
    ),
]  # fmt: skip
AWAITS = [
    line(3, "signal_awaited", activity_id="ok", action="await_signal", signal="approved", key="F-1", on_timeout="fail"),
    line(
        4, "timer_started", timer_id="ok:timeout", activity_id="ok", purpose="timeout", fire_at="2026-01-05T00:00:00Z"
    ),
]  # fmt: skip
FAILS = [
    line(2, "activity_scheduled", activity_id="a", action="http_request", attempt=1, input={}),
    line(3, "activity_failed", activity_id="a", attempt=1, error={"code": "http_503"}),
    line(
        4, "timer_started", timer_id="a:retry:1", activity_id="a", purpose="retry", fire_at="2026-01-02T00:00:01Z"
    ),
]  # fmt: skip


def test_a_sleeping_step_says_until_when_and_then_nothing_more() -> None:
    story = explain([], SLEEPS, {})
    (step,) = story.steps
    assert (step["status"], step["action"], step["wait"]) == (
        "waiting", "sleep", {"kind": "sleep", "until": "2026-01-02T00:00:20Z"},
    )  # fmt: skip
    assert story.waits == [{"activity_id": "nap", "kind": "sleep", "until": "2026-01-02T00:00:20Z"}]
    woken = [
        *SLEEPS,
        line(3, "timer_fired", timer_id="nap"),
        line(4, "activity_completed", activity_id="nap"),
    ]
    story = explain([], woken, {})
    assert (story.steps[0]["status"], "wait" in story.steps[0], story.waits) == ("success", False, [])


def test_a_step_that_awaits_a_signal_says_its_name_its_key_and_until_when() -> None:
    story = explain([], AWAITS, {})
    wait = {"kind": "signal", "signal": "approved", "key": "F-1", "until": "2026-01-05T00:00:00Z"}
    assert (story.steps[0]["status"], story.steps[0]["wait"]) == ("waiting", wait)
    assert story.waits == [{"activity_id": "ok"} | wait]


def test_signals_are_told_with_the_step_that_took_them_or_none() -> None:
    came = [
        line(
            5,
            "signal_received",
            signal_id="s1",
            name="approved",
            sent_by="eve",
            sent_at="2026-01-03T00:00:00Z",
        ),
        line(6, "signal_consumed", signal_id="s1", activity_id="ok"),
        line(7, "timer_cancelled", timer_id="ok:timeout"),
        line(8, "activity_completed", activity_id="ok", output={"received": True}),
        line(
            9,
            "signal_received",
            signal_id="s2",
            name="approved",
            sent_by="eve",
            sent_at="2026-01-03T00:00:01Z",
        ),
    ]
    story = explain([], [*AWAITS, *came], {})
    assert [(each["id"], each["consumed_by"]) for each in story.signals] == [("s1", "ok"), ("s2", None)]
    assert (story.steps[0]["status"], story.steps[0]["output"], story.waits) == (
        "success",
        {"received": True},
        [],
    )


def test_a_step_that_is_tried_again_says_what_went_wrong_and_when_the_next_attempt_is() -> None:
    story = explain([], FAILS, {})
    (step,) = story.steps
    assert (step["status"], step["attempts"], step["max_attempts"]) == ("waiting", 1, 3)
    assert "error" not in step
    assert step["tries"] == [
        {"attempt": 1, "at": AT.isoformat(), "error": {"code": "http_503"}, "next_at": "2026-01-02T00:00:01Z"}
    ]
    assert story.waits[0] == {
        "activity_id": "a", "kind": "retry", "until": "2026-01-02T00:00:01Z", "attempt": 2,
    }  # fmt: skip
    again = [
        *FAILS,
        line(5, "timer_fired", timer_id="a:retry:1"),
        line(6, "activity_scheduled", activity_id="a", action="http_request", attempt=2, input={}),
    ]
    story = explain([], again, {"a": {"max_attempts": 7}})
    assert (story.steps[0]["status"], story.steps[0]["attempts"], story.steps[0]["max_attempts"]) == (
        "running",
        2,
        7,
    )
    done = [*again, line(7, "activity_completed", activity_id="a", attempt=2, output={"status": 200})]
    (step,) = explain([], done, {}).steps
    assert (step["status"], step["output"], "error" in step) == ("success", {"status": 200}, False)
    assert step["tries"]


def test_while_a_step_runs_outside_the_run_is_not_said_to_wait() -> None:
    assert explain([], [*AWAITS, FAILS[0]], {}).waits == []


def test_who_wanted_the_end_of_a_run_is_told_once_and_how_it_ended() -> None:
    asked = [
        line(1, "workflow_started"),
        line(2, "cancel_requested", by="ana", at="2026-01-02T00:00:00Z", reason="false alarm"),
        line(3, "cancel_requested", by="bob", at="2026-01-02T00:00:01Z"),
    ]
    expected = {"by": "ana", "at": "2026-01-02T00:00:00Z", "reason": "false alarm"}
    assert explain([], asked, {}).cancel == expected
    assert final_status(asked) is None
    assert final_status([*asked, line(4, "workflow_cancelled")]) == "cancelled"


def test_of_a_shadowed_run_is_told_what_it_did_not_what_its_double_would_have_done() -> None:
    inline = {"activity_id": "a", "status": "success", "input": {"url": "inline"}, "attempts": 2}
    lines = inline_lines([line(0, "inline_recorded", status="success", steps=[inline]), *HISTORY])
    (step,) = explain([{"id": "a", "name": "Page"}], lines, {}).steps
    assert step == {"id": "a", "name": "Page", "status": "success", "input": {"url": "inline"}, "attempts": 2}


def test_a_step_whose_wait_is_over_waits_for_the_slot_that_the_run_gave_back() -> None:
    asked = [
        line(1, "timer_started", timer_id="t", activity_id="nap", purpose="sleep", fire_at="2026-01-02T00:00:00Z"),
        line(2, "timer_fired", timer_id="t"),
        line(3, "slot_asked", activity_id="nap"),
    ]  # fmt: skip
    story = explain([], asked, {})
    assert story.steps[0]["status"] == "waiting"
    assert story.waits == [{"activity_id": "nap", "kind": "slot"}]
    (step,) = explain([], [*asked, line(4, "slot_taken")], {}).steps
    assert step == {"id": "nap", "status": "running"}
