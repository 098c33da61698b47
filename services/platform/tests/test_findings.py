"""What people, runbooks and scans make of findings."""

from dataclasses import replace

import msgspec
import pytest

from outlast.contracts.domain_events import (
    FindingAssigned,
    FindingNoteAdded,
    FindingStatusChanged,
    FindingUpdated,
)
from outlast.errors import ContractError
from outlast_platform.core.comparison import KnownFinding, compare
from outlast_platform.core.findings import (
    Finding,
    add_tags,
    append_comment,
    assign,
    change_severity,
    change_status,
)
from outlast_platform.core.importers.scan import ReportedFinding
from outlast_platform.core.operations import ChangedState, Operation, RunbookActor, apply, state_after

FINDING = Finding("acme", "f", "a", "Title", "low", "open", ("old",), (), ())
REPORTED = ReportedFinding("print", "R", "Title", "Text", "low", (), "a.py", 3, "{}")
KNOWN = KnownFinding("f", "Title", "Text", "R", "low", "low", "open", "a.py", 3, "{}")


def operation(action: str, **arguments: object) -> Operation:
    actor = RunbookActor(runbook_id="r", runbook_name="Runbook", execution_id="e2")
    return Operation(
        company_id="acme",
        finding_id="f",
        idempotency_key="k",
        action=action,
        arguments=arguments,
        actor=actor,
        chain=("e1",),
    )


def test_a_new_severity_is_history_and_an_event_and_the_same_one_is_nothing() -> None:
    change = change_severity(FINDING, "high")
    assert (change.finding.severity, [(e.old_value, e.new_value) for e in change.entries]) == (
        "high",
        [("low", "high")],
    )
    assert change.events == (FindingUpdated(finding_id="f", asset_id="a", changed=("severity",)),)
    assert change_severity(FINDING, "low").entries == ()


def test_tags_are_added_once() -> None:
    assert add_tags(FINDING, ("new", "old", "new")).finding.tags == ("old", "new")
    assert add_tags(FINDING, ("old",)).events == ()


def test_a_status_change_says_from_where_to_where() -> None:
    (event,) = change_status(FINDING, "resolved", "done").events
    assert event == FindingStatusChanged(
        finding_id="f", asset_id="a", old_status="open", new_status="resolved", comment="done"
    )


def test_assigning_an_open_finding_makes_it_assigned_and_assigning_again_is_nothing() -> None:
    change = assign(FINDING, ("eve", "eve"), ("web",))
    assert (change.finding.assignees, change.finding.teams, change.finding.status) == (
        ("eve",),
        ("web",),
        "assigned",
    )
    assert [type(event) for event in change.events] == [FindingAssigned, FindingStatusChanged]
    assert assign(change.finding, ("eve",), ("web",)).entries == ()
    assert assign(replace(FINDING, status="in_progress"), ("eve",), ()).finding.status == "in_progress"


def test_a_comment_is_always_a_change() -> None:
    change = append_comment(FINDING, " hello ", "Eve")
    assert change.events == (FindingNoteAdded(finding_id="f", asset_id="a", note="hello", author="Eve"),)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (operation("change_severity", severity="bad"), "arguments.severity"),
        (operation("change_severity"), "arguments"),
        (operation("add_tags", tags="text"), "arguments.tags"),
        (operation("add_tags", tags=["x" * 101]), "arguments.tags[0]"),
        (operation("add_tags", tags=[f"t{n}" for n in range(60)]), "arguments.tags"),
        (operation("append_comment", comment="  "), "arguments.comment"),
        (operation("append_comment", comment="a\x00"), "arguments.comment"),
        (operation("change_status", status="fixed"), "arguments.status"),
        (operation("change_status"), "arguments"),
        (operation("change_status", status="closed", comment="a\x00"), "arguments.comment"),
        (operation("assign", user_ids="eve"), "arguments.user_ids"),
        (operation("assign", user_ids=["eve", " "]), "arguments.user_ids[1]"),
        (operation("assign", team_ids=["t" * 201]), "arguments.team_ids[0]"),
        (operation("assign", user_ids=[f"u{n}" for n in range(51)]), "arguments.assign"),
        (operation("drop_table"), "action"),
    ],
)
def test_a_faulty_operation_is_refused_with_its_path(wanted: Operation, path: str) -> None:
    with pytest.raises(ContractError) as fault:
        apply(FINDING, wanted)
    assert fault.value.path == path


def test_an_operation_answers_the_state_and_whether_it_changed_anything() -> None:
    state = state_after(apply(FINDING, operation("change_severity", severity="critical")))
    assert (state.severity, state.is_changed) == ("critical", True)
    assert not state_after(apply(FINDING, operation("change_severity", severity="low"))).is_changed


def test_an_operation_assigns_beside_who_is_there_and_answers_who_is_responsible_now() -> None:
    taken = replace(FINDING, assignees=("ana",), status="in_progress")
    change = apply(taken, operation("assign", user_ids=["eve", "ana"], team_ids=["web"]))
    state = state_after(change)
    assert (state.assignees, state.teams, state.status) == (("ana", "eve"), ("web",), "in_progress")
    assert change.events == (
        FindingAssigned(finding_id="f", asset_id="a", assignee_ids=("eve",), team_ids=("web",)),
    )
    assert not state_after(apply(change.finding, operation("assign", user_ids=["ana"]))).is_changed


def test_an_operation_puts_a_finding_into_a_status_and_says_why() -> None:
    change = apply(FINDING, operation("change_status", status="accepted", comment="until May"))
    assert [(each.old_value, each.new_value, each.comment) for each in change.entries] == [
        ("open", "accepted", "until May")
    ]
    assert state_after(change).status == "accepted"
    assert not state_after(apply(FINDING, operation("change_status", status="open"))).is_changed


def test_why_a_finding_stays_in_its_status_is_a_comment_of_the_runbook() -> None:
    change = apply(FINDING, operation("change_status", status="open", comment="still there"))
    assert change.finding.status == "open"
    assert change.events == (
        FindingNoteAdded(finding_id="f", asset_id="a", note="still there", author="Runbook"),
    )


def test_an_answer_that_an_earlier_release_recorded_is_given_as_it_is() -> None:
    recorded = b'{"id":"f","asset_id":"a","severity":"low","status":"open","tags":[],"is_changed":true}'
    assert msgspec.json.encode(msgspec.json.decode(recorded, type=ChangedState)) == recorded


def test_the_chain_ends_with_the_execution_that_acts() -> None:
    assert operation("add_tags").whole_chain() == ("e1", "e2")


def test_a_finding_seen_as_it_was_is_unchanged() -> None:
    assert compare({"print": KNOWN}, [REPORTED]).unchanged == ("f",)


def test_what_differs_is_named() -> None:
    (changed,) = compare({"print": KNOWN}, [replace(REPORTED, line=9, title="Other")]).changed
    assert changed.changed == ("location", "title")


@pytest.mark.parametrize("status", ["open", "assigned", "in_progress"])
def test_an_active_finding_that_is_not_reported_is_closed(status: str) -> None:
    comparison = compare({"print": replace(KNOWN, status=status)}, [])
    assert [each.after.status for each in comparison.changed] == ["closed"]
    assert (comparison.closed_count, comparison.updated_count) == (1, 0)


@pytest.mark.parametrize("status", ["resolved", "closed", "accepted", "false_positive"])
def test_a_settled_finding_that_is_not_reported_stays(status: str) -> None:
    assert compare({"print": replace(KNOWN, status=status)}, []).changed == ()


@pytest.mark.parametrize(("status", "after"), [("resolved", "open"), ("closed", "open")])
def test_a_fixed_finding_that_comes_back_is_opened(status: str, after: str) -> None:
    (changed,) = compare({"print": replace(KNOWN, status=status)}, [REPORTED]).changed
    assert (changed.after.status, changed.is_status_changed, changed.changed) == (after, True, ())


@pytest.mark.parametrize("status", ["accepted", "false_positive", "assigned"])
def test_a_decision_is_kept_when_a_finding_is_seen_again(status: str) -> None:
    assert compare({"print": replace(KNOWN, status=status)}, [REPORTED]).changed == ()


def test_a_severity_set_by_hand_stays_until_the_scanner_changes_its_own() -> None:
    by_hand = replace(KNOWN, severity="critical")
    assert compare({"print": by_hand}, [REPORTED]).unchanged == ("f",)
    (changed,) = compare({"print": by_hand}, [replace(REPORTED, severity="medium")]).changed
    assert (changed.after.severity, changed.changed) == ("medium", ("severity",))


def test_a_finding_not_known_is_created() -> None:
    assert compare({}, [REPORTED]).created == (REPORTED,)
