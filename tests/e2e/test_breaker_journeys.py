"""Breakers on the whole system: what trips one and what does not, what it holds back, and what outlives it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from tests.e2e.journeys import System, event, eventually

from outlast_cli.client import Client
from outlast_cli.profiles import read_profiles
from outlast_cli.sample import TARGET, TEAM, client_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("journeys")]

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
GONE = 410
RESOLVE_OWNER = "{id: owner, type: resolve_owner}"


@dataclass(frozen=True)
class Tried:
    """A runbook that calls the outside, and its breaker. People's orders are commands, the rest is asked of the API."""

    system: System
    api: Client
    folder: Path
    name: str
    open_before: float
    """How many breakers were open."""

    def call(self, path: str, *, kind: str = "http_request", more: str = "") -> str:
        """An action that calls a path of the outside."""
        url = f"http://{self.system.busy.address}/{self.name}/{path}"
        return f'{{id: tell, type: {kind}, {more}config: {{url: "{url}"}}}}'

    def answers(self, path: str, status: int) -> None:
        """What that comes to."""
        self.system.busy.answers[f"/{self.name}/{path}"] = status

    def calls(self, path: str) -> int:
        """How often it was called."""
        return [each for each, _ in self.system.busy.calls].count(f"/{self.name}/{path}")

    def wait_if(self, note: str) -> str:
        """An action that waits for somebody in runs of such notes."""
        condition = f"{{field: event.data.note, op: eq, value: {note}}}"
        config = f"{{signal: go-on, key: {self.name}}}"
        return f"{{id: ok, type: await_signal, when: {condition}, config: {config}}}"

    def document(self, *actions: str, guardrails: str = "") -> str:
        """It fires on notes of the source of its name."""
        condition = f"{{field: event.source, op: eq, value: {self.name}}}"
        lines = [f"name: {self.name}", f"rules: [{{event: finding_note_added, condition: {condition}}}]"]
        lines += [f"guardrails: {{{guardrails}}}"] if guardrails else []
        return "\n".join([*lines, "actions:", *(f"- {action}" for action in actions), ""])

    def order(self, *words: str) -> None:
        """Somebody gives a command."""
        done = self.system.outlast(*words)
        assert done.status == 0, done

    def apply(self, *actions: str, guardrails: str = "") -> None:
        """It is saved for the first time."""
        self.system.apply(self.folder, self.document(*actions, guardrails=guardrails))

    def edit(self, *actions: str) -> None:
        """It is saved again, and switched on."""
        path = self.folder / "edited.yaml"
        path.write_text(self.document(*actions))
        self.order("runbook", "apply", str(path), "--yes", "--activate")

    def emit(self, ids: list[str], note: str = "") -> None:
        """Notes on a finding of the sample's asset, which has an owner."""
        data = {"finding_id": "F-noted", "asset_id": TARGET, "note": note}
        events = [event(each, source=self.name, type="finding_note_added", data=data) for each in ids]
        accepted = self.api.post("/events", events)["items"]
        assert [each["status"] for each in accepted] == ["accepted"] * len(ids)

    def runs(self) -> list[dict[str, Any]]:
        """All of them, newest first."""
        return self.api.get("/executions", runbook=self.name, limit=200)["items"]

    def ended(self, *ids: str) -> list[dict[str, Any]]:
        """The runs that these events caused, once all have ended."""

        def found() -> list[dict[str, Any]] | None:
            by_event = {run["event"]["id"]: run for run in self.runs() if not run["instead_of"]}
            those = [by_event[each] for each in ids if each in by_event and by_event[each]["finished_at"]]
            return those if len(those) == len(ids) else None

        return wait(found, f"{len(ids)} runs of {self.name} to end")

    def fire(self, *ids: str, note: str = "") -> list[str]:
        """What the runs of these events come to."""
        self.emit(list(ids), note)
        return [run["status"] for run in self.ended(*ids)]

    def waiting(self, count: int) -> None:
        """So many runs wait."""
        wait(
            lambda: [run["status"] for run in self.runs()].count("waiting") == count,
            f"{count} runs of {self.name} that wait",
        )

    def go_on(self, count: int) -> None:
        """They get what they wait for."""
        sent = self.system.outlast(
            "signal", "go-on", "--key", self.name, "--wait", "60s", "--json", seconds=PATIENCE_SECONDS
        )
        assert (sent.status, len(sent.json["deliveries"])) == (0, count), sent

    def after_all(self, suppressed: dict[str, Any]) -> dict[str, Any]:
        """The run in place of a firing that was held back, once it has ended."""

        def found() -> dict[str, Any] | None:
            those = [run for run in self.runs() if run["instead_of"] == suppressed["id"]]
            return those[0] if those and those[0]["finished_at"] else None

        return wait(found, f"a run in place of {suppressed['id']}")

    def shown(self) -> dict[str, Any]:
        """The runbook as it stands."""
        return self.api.get(f"/runbooks/{self.name}")

    def is_closed(self) -> bool:
        """Whether nothing holds it back."""
        shown = self.shown()
        return shown["is_active"] and shown["breaker_tripped_at"] is None

    def tripped_by(self, event_id: str) -> dict[str, Any]:
        """The runbook, tripped by the run of this event, once the matcher has heard of it too.

        An open breaker stays as it is. That its time is the end of this run says that nothing has tripped it before.
        """
        found: list[dict[str, Any]] = []

        def is_open() -> bool:
            found[:] = [self.shown()]
            return found[0]["breaker_tripped_at"] is not None

        wait(is_open, f"the breaker of {self.name} to trip")
        (shown,), (last,) = found, self.ended(event_id)
        assert shown["breaker_tripped_at"] == last["finished_at"]
        assert (shown["is_active"], shown["is_switched_on"]) == (False, True)
        wait(lambda: self.system.breakers_open() > self.open_before, "the matcher to hear of the trip")
        return shown

    def reset(self, *options: str) -> None:
        """Somebody closes the breaker, and everybody has heard of it."""
        self.order("runbook", "reset-breaker", self.name, "--reason", "mended", *options)
        wait(self.is_closed, "the breaker to close")
        wait(lambda: self.system.breakers_open() == self.open_before, "the matcher to hear of the reset")


Make: TypeAlias = Callable[[str], Tried]


def wait(ask: Callable[[], T | None], what: str) -> T:
    """`eventually`, with more patience."""
    return eventually(ask, what, PATIENCE_SECONDS)


def numbered(first: int, last: int) -> list[str]:
    """Ids of events."""
    return [f"n-{number}" for number in range(first, last + 1)]


@pytest.fixture
def runbook(system: System, tmp_path: Path) -> Make:
    """A runbook of this name."""
    profile = read_profiles(system.folder).items["acme"]
    api, open_before = client_of(system.running, profile), system.breakers_open()
    return lambda name: Tried(system, api, tmp_path, name, open_before)


# ---- what trips it


def test_ten_failures_in_a_row_trip_it_and_what_it_holds_back_is_run_or_let_go_as_people_say(
    system: System, runbook: Make
) -> None:
    ten = runbook("ten-in-a-row")
    ten.answers("hook", GONE)
    ten.apply(ten.call("hook"))
    assert ten.fire(*numbered(1, 9)) == ["failed"] * 9
    assert ten.is_closed()
    assert ten.fire("n-10") == ["failed"]
    assert ten.tripped_by("n-10")["failures"] == 10
    said = system.outlast("runbook", "show", ten.name).out
    assert "after 10 failed runs in a row" in said
    assert f"outlast runbook reset-breaker {ten.name}" in said

    ten.emit(numbered(11, 13))
    held = ten.ended(*numbered(11, 13))
    assert [(run["status"], run["reason"]) for run in held] == [("skipped", "breaker_open")] * 3
    assert "its runbook's breaker was open" in system.outlast("run", "show", held[0]["id"]).out
    early = system.outlast("runbook", "run-suppressed", ten.name, "--reason", "too early", "--json")
    assert (early.status, early.json["error"]["code"]) == (2, "breaker_open")

    ten.reset()
    ten.answers("hook", 200)
    ten.order("runbook", "run-suppressed", ten.name, held[0]["id"], "--reason", "this one")
    run = ten.after_all(held[0])
    assert (run["status"], bool(run["started_by"])) == ("success", True)
    ten.reset("--let-go")
    ten.order("runbook", "run-suppressed", ten.name, "--reason", "all of which nobody has decided: none")
    ten.order("runbook", "run-suppressed", ten.name, held[2]["id"], "--reason", "this one after all")
    assert ten.after_all(held[2])["status"] == "success"
    instead = {run["instead_of"] for run in ten.runs() if run["instead_of"]}
    assert instead == {held[0]["id"], held[2]["id"]}, "what was let go stays held back"
    assert ten.calls("hook") == 12


def test_a_webhook_that_is_gone_fails_the_run_though_its_owner_was_found_and_ten_of_these_trip(
    runbook: Make,
) -> None:
    hook = runbook("gone-hook")
    hook.answers("gone", GONE)
    hook.answers("there", 200)
    hook.apply(RESOLVE_OWNER, hook.call("{{ event.data.note }}", kind="send_webhook"))
    assert hook.fire(*numbered(1, 9), note="gone") == ["failed"] * 9
    owner, failed = hook.api.get(f"/executions/{hook.ended('n-9')[0]['id']}")["steps"]
    assert (owner["status"], owner["output"]["owner"]["name"]) == ("success", TEAM[1])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "endpoint_gone")
    assert hook.calls("gone") == 9, "what is gone is not asked again"
    assert hook.fire("between", note="there") == ["success"]
    assert hook.fire(*numbered(10, 18), note="gone") == ["failed"] * 9
    assert hook.is_closed(), "the success in between has cleared the count"
    assert hook.fire("n-19", note="gone") == ["failed"]
    assert hook.tripped_by("n-19")["failures"] == 10


def test_a_partial_run_neither_counts_nor_clears(runbook: Make) -> None:
    part = runbook("in-part")
    part.answers("gone", GONE)
    part.answers("there", 200)
    condition = "{field: event.data.note, op: eq, value: in part}"
    there = f"{{id: more, type: when, expression: {condition}, then: [{part.call('there')}]}}"
    part.apply(there, part.call("gone").replace("tell", "hook"), guardrails="breaker_threshold: 2")
    assert part.fire("first") == ["failed"]
    assert part.fire("between", note="in part") == ["partial"]
    assert part.fire("second") == ["failed"]
    assert part.tripped_by("second")["failures"] == 2


# ---- what does not


def test_thirty_failures_of_runs_from_before_a_reset_count_for_nothing(runbook: Make) -> None:
    late = runbook("late-failures")
    late.answers("gone", GONE)
    late.apply(late.wait_if("late"), late.call("gone"))
    thirty = [f"late-{number}" for number in range(30)]
    late.emit(thirty, "late")
    late.waiting(30)
    assert late.fire(*numbered(1, 9)) == ["failed"] * 9
    assert late.fire("n-10") == ["failed"]
    late.tripped_by("n-10")
    late.reset()

    late.go_on(30)
    assert [run["status"] for run in late.ended(*thirty)] == ["failed"] * 30
    assert late.is_closed()
    assert late.fire(*numbered(11, 19)) == ["failed"] * 9, "they run, and are not held back"
    assert late.is_closed()
    assert late.fire("n-20") == ["failed"]
    assert late.tripped_by("n-20")["failures"] == 10


# ---- edits


def test_edits_while_it_trips_and_while_it_is_open_neither_close_it_nor_are_lost(runbook: Make) -> None:
    edited = runbook("edited")
    edited.answers("first", GONE)
    edited.answers("third", 200)

    def held_back(version: int) -> dict[str, Any]:
        """A firing of this version; the matcher hears of one a moment after it was saved."""
        names = (f"held-{version}-{number}" for number in range(1_000_000))

        def held() -> dict[str, Any] | None:
            name = next(names)
            assert edited.fire(name) == ["skipped"]
            (run,) = edited.ended(name)
            is_it = (run["reason"], run["runbook_version"]) == ("breaker_open", version)
            return run if is_it else None

        return wait(held, f"a firing of version {version} that is held back")

    asking = edited.wait_if("last")
    edited.apply(asking, edited.call("first"))
    assert edited.fire(*numbered(1, 9)) == ["failed"] * 9
    edited.emit(["n-10"], "last")
    edited.waiting(1)
    edited.edit(asking, edited.call("second"))
    edited.go_on(1)
    assert edited.ended("n-10")[0]["runbook_version"] == 1
    shown = edited.tripped_by("n-10")
    assert (shown["version"], "/second" in shown["source"]) == (2, True)
    second = held_back(2)

    edited.edit(asking, edited.call("third"))
    for switch in ("deactivate", "activate"):
        edited.order("runbook", switch, edited.name)
    shown = edited.tripped_by("n-10")
    assert (shown["version"], "/third" in shown["source"], shown["failures"]) == (3, True, 10)
    third = held_back(3)

    edited.reset("--run-suppressed")
    for suppressed in (second, third):
        run = edited.after_all(suppressed)
        assert (run["status"], run["runbook_version"]) == ("success", 3)
    assert edited.fire("n-11") == ["success"]
    assert (edited.calls("first"), edited.calls("second")) == (10, 0)
