"""Golden histories: what a release's interpreter made of a start and some results, kept for ever.

`python -m tests.replay.golden RELEASE` records the scenarios below for a new release. Files of a release that is out
are never written again: today's code must agree with them.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import msgspec

from outlast.contracts.messages import (
    ActivityResult,
    Cancel,
    DeliverSignal,
    InlineOutcome,
    SlotGranted,
    Start,
    TimerDue,
)
from outlast.contracts.parts import NO_ORIGIN, Origin
from outlast.execution.decide import Rejection, RunMessage, decide, proceed
from outlast.execution.state import Execution
from outlast.history import codec
from outlast.history.events import Recorded, WorkflowStarted
from outlast.runbooks.documents import Json, canonical
from outlast.runbooks.pinned import load_pinned
from outlast.testing.spec import EXECUTION, PAYLOAD, Spec, notify

HERE = Path(__file__).parent
OWNER: Json = {"id": "owner", "type": "resolve_owner", "class": "flow"}
HIGH: Json = {"field": "finding.severity", "op": "gte", "value": "high"}
BRANCH: Json = {
    "id": "fork",
    "type": "when",
    "expression": HIGH,
    "then": [notify("page", config={"to": "{{ owner.name | default('nobody') }}"})],
    "else": [notify("file")],
}

SLEEP: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "5m"}}
AWAIT: Json = {
    "id": "gate",
    "type": "await_signal",
    "class": "flow",
    "config": {"signal": "approved", "key": "{{ finding.id }}", "timeout": "2h", "on_timeout": "continue"},
}
TWICE: Json = {"max_attempts": 2, "initial_backoff": "10s", "max_backoff": "1m", "factor": 2.0}
KINDS: dict[str, type[RunMessage]] = {
    "start": Start,
    "result": ActivityResult,
    "timer": TimerDue,
    "signal": DeliverSignal,
    "cancel": Cancel,
    "granted": SlotGranted,
    "outcome": InlineOutcome,
}
RELEASES_SLOT = Origin(is_slotted=True, releases_slot=True)
READS: Json = notify("b", config={"n": "{{ steps.a.output.n + 1 }}", "title": "{{ finding.title | lower }}"})

SCENARIOS: dict[str, tuple[list[Json], list[tuple[str, str]]]] = {
    "three-successes": ([notify("a"), notify("b"), notify("c")], [("a", "ok"), ("b", "ok"), ("c", "ok")]),
    "a-failure-passed-over": ([notify("a"), notify("b")], [("a", "no"), ("b", "ok")]),
    "a-failure-that-ends": ([notify("a", continue_on_error=False), notify("b")], [("a", "no")]),
    "skipped-by-when": ([notify("a", when="{{ finding.severity == 'low' }}"), notify("b")], [("b", "ok")]),
    "owner-and-branch": ([OWNER, BRANCH], [("page", "ok")]),
    "undefined-name": ([notify("a", config={"x": "{{ finding.nope }}"})], []),
    "outputs-chained": (
        [notify("a"), notify("b", config={"n": "{{ steps.a.output.n + 1 }}"})],
        [("a", "ok"), ("b", "ok")],
    ),
    "a-sleep": ([SLEEP, notify("a")], [("nap", "fires"), ("a", "ok")]),
    "an-approval": ([AWAIT, notify("a")], [("approved", "comes"), ("a", "ok")]),
    "an-early-approval": ([notify("a"), AWAIT], [("approved", "comes"), ("a", "ok")]),
    "an-approval-that-never-came": ([AWAIT, notify("a")], [("gate:timeout", "fires"), ("a", "ok")]),
    "a-second-attempt": ([notify("a")], [("a", "busy"), ("a:retry:1", "fires"), ("a", "ok at 2")]),
    "attempts-used-up": (
        [notify("a", retry=TWICE)],
        [("a", "busy"), ("a:retry:1", "fires"), ("a", "busy at 2")],
    ),
    "inline-skips-what-waits": ([notify("a"), SLEEP, AWAIT, READS], [("a", "ok"), ("b", "ok")]),
    "inline-tries-again": ([notify("a")], [("a", "busy"), ("a:retry:1", "fires"), ("a", "ok at 2")]),
    "cancelled-in-flight": ([notify("a"), notify("b")], [("", "is cancelled"), ("a", "ok")]),
    "cancelled-and-given-up": ([notify("a"), notify("b")], [("", "is cancelled"), (":cancel", "fires")]),
    "cancelled-in-its-sleep": ([SLEEP, notify("a")], [("", "is cancelled")]),
    "cancelled-awaiting": ([notify("a"), AWAIT], [("a", "ok"), ("other", "comes"), ("", "is cancelled")]),
    "cancelled-before-another-attempt": ([notify("a")], [("a", "busy"), ("", "is cancelled")]),
    "a-slot-asked-for": ([SLEEP, notify("a")], [("nap", "fires"), ("", "has its slot"), ("a", "ok")]),
    "a-slot-for-another-attempt": (
        [notify("a")],
        [("a", "busy"), ("a:retry:1", "fires"), ("", "has its slot"), ("a", "ok at 2")],
    ),
    "a-double": ([OWNER, notify("a"), BRANCH, READS], [("", "is heard of")]),
    "a-double-that-waits": ([notify("a"), SLEEP, READS], [("", "is heard of"), ("nap", "fires")]),
    "a-double-that-nobody-told": ([notify("a"), SLEEP], [(":outcome", "fires")]),
}
STARTS: dict[str, tuple[str, Origin]] = {
    "inline-skips-what-waits": ("inline", NO_ORIGIN),
    "inline-tries-again": ("inline", NO_ORIGIN),
    "a-slot-asked-for": ("workflow", RELEASES_SLOT),
    "a-slot-for-another-attempt": ("workflow", RELEASES_SLOT),
    "a-double": ("shadow", NO_ORIGIN),
    "a-double-that-waits": ("shadow", NO_ORIGIN),
    "a-double-that-nobody-told": ("shadow", NO_ORIGIN),
}
"""Mode and origin, where they are not those of an ordinary run."""
SECOND = ("a-sleep", "an-approval", "an-early-approval", "an-approval-that-never-came", "a-second-attempt",
          "attempts-used-up")  # fmt: skip
"""What release 0.2.0 could do besides."""
FIRST = ("three-successes", "a-failure-passed-over", "a-failure-that-ends", "skipped-by-when", "owner-and-branch",
         "undefined-name", "outputs-chained")  # fmt: skip
"""What release 0.1.0 could do."""


def record(
    actions: list[Json], results: list[tuple[str, str]], mode: str = "workflow", origin: Origin = NO_ORIGIN
) -> dict[str, object]:
    """The inputs and the history of one scenario."""
    definition: Json = {"name": "r", "rules": [{"event": "finding_created"}], "actions": actions}
    spec = Spec(load_pinned(canonical(definition)))
    inputs: list[dict[str, object]] = []
    decide_one = spec.when

    def keep(message: RunMessage) -> object:
        decision = decide_one(message)
        kind = next(name for name, each in KINDS.items() if isinstance(message, each))
        inputs.append(
            {"kind": kind, "at": spec.now.isoformat(), "message": json.loads(msgspec.json.encode(message))}
        )
        return decision

    spec.when = keep  # type: ignore[method-assign,assignment]
    spec.start(mode, origin)
    for name, outcome in results:
        _happen(spec, name, outcome)
    history = [_plain(recorded) for recorded in spec.history]
    return {"definition": definition, "payload": PAYLOAD, "inputs": inputs, "history": history}


def _happen(spec: Spec, name: str, outcome: str) -> None:
    what, _, attempt = outcome.partition(" at ")
    match what:
        case "ok":
            spec.succeed(name, {"n": 41}, attempt=int(attempt or 1))
        case "no":
            spec.fail(name)
        case "busy":
            spec.fail(name, attempt=int(attempt or 1), is_retryable=True)
        case "fires":
            spec.fire(name)
        case "comes":
            spec.signal(name, payload={"by": "ana"})
        case "is cancelled":
            spec.cancel()
        case "has its slot":
            spec.grant(spec.state.slot_asked)
        case "is heard of":
            spec.when(_outcome(spec))
        case _:
            raise AssertionError(f"expected a known outcome, got {outcome}")


def _outcome(double: Spec) -> InlineOutcome:
    """What an inline run beside this double did, where all its activities succeed."""
    spec = Spec(double.definition)
    spec.start("inline")
    while not spec.state.is_ended:
        spec.succeed(
            next(each.id for each in spec.state.steps.values() if each.status == "scheduled"), {"n": 41}
        )
    return spec.outcome()


def _plain(recorded: Recorded) -> dict[str, object]:
    event = json.loads(codec.encode(recorded.event))
    return {"seq": recorded.sequence, "at": recorded.at.isoformat(), "event": event}


def replay(golden: dict[str, object]) -> list[dict[str, object]]:
    """What today's interpreter makes of the golden's inputs."""
    runbook = load_pinned(canonical(golden["definition"]))  # type: ignore[arg-type]
    state = Execution(EXECUTION)
    events: list[dict[str, object]] = []
    for each in golden["inputs"]:  # type: ignore[attr-defined]
        message = msgspec.json.decode(json.dumps(each["message"]), type=KINDS[each["kind"]])
        decision = decide(state, runbook, message, datetime.fromisoformat(each["at"]))
        if not isinstance(decision, Rejection):
            if isinstance(decision[0].event, WorkflowStarted):
                decision[0] = _as_then(state, decision[0], golden)
            while more := proceed(state, runbook, datetime.fromisoformat(each["at"])):
                decision += more
            events += [
                {"seq": r.sequence, "at": r.at.isoformat(), "event": json.loads(codec.encode(r.event))}
                for r in decision
            ]
    return events


def _as_then(state: Execution, recorded: Recorded, golden: dict[str, object]) -> Recorded:
    """A run is pinned to the interpreter's version that began it."""
    stored = golden["history"][0]["event"]["engine_version"]  # type: ignore[index]
    assert isinstance(recorded.event, WorkflowStarted)
    event = msgspec.structs.replace(recorded.event, engine_version=stored)
    state.started = event
    return msgspec.structs.replace(recorded, event=event)


def main(release: str) -> None:
    """Record every scenario that this release does not have yet."""
    folder = HERE / release
    folder.mkdir(exist_ok=True)
    for name, (actions, results) in SCENARIOS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(
                json.dumps(record(actions, results, *STARTS.get(name, ())), indent=1, sort_keys=True) + "\n"
            )


if __name__ == "__main__":
    main(sys.argv[1])
