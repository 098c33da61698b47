"""What happened in each step, told from a history."""

from datetime import UTC, datetime

from outlast.runbooks.documents import Json
from outlast_control_plane.core.explain import HistoryLine, explain, final_status, questions

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
    a, b, c, d = explain([], HISTORY, {})
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
    assert explain([{"id": "a", "status": "failed", "attempts": 3}], [], {}) == [
        {"id": "a", "status": "failed", "attempts": 3}
    ]


def test_the_record_has_the_last_word_and_the_histories_details_stay() -> None:
    (step, *_) = explain([{"id": "a", "status": "success", "name": "Ask"}], HISTORY[:2], {})
    assert (step["status"], step["name"], step["input"]) == ("success", "Ask", {"url": "x"})


def test_what_is_asked_before_a_step_is_found_inside_branches() -> None:
    definition: Json = {
        "actions": [
            {"id": "a", "type": "x"},
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
        "b": {"expression": "{{ true }}"},
        "c": {"when": {"field": "f", "op": "eq", "value": 1}},
        "d": {"when": "{{ false }}"},
    }
    assert explain([{"id": "d"}], [], questions(definition)) == [{"id": "d", "when": "{{ false }}"}]


def test_a_history_says_how_its_run_ended_if_it_has() -> None:
    assert final_status(HISTORY) is None
    assert final_status([*HISTORY, line(7, "workflow_completed", status="partial")]) == "partial"
    assert final_status([*HISTORY, line(7, "workflow_failed")]) == "failed"
