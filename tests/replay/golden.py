"""Golden histories: what a release's interpreter made of a start and some results, kept for ever.

`python -m tests.replay.golden RELEASE` records the scenarios below for a new release. Files of a release that is out
are never written again: today's code must agree with them.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import msgspec

from outlast.contracts.messages import ActivityResult, Start
from outlast.execution.decide import Rejection, decide
from outlast.execution.state import Execution
from outlast.history import codec
from outlast.history.events import Recorded
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
}


def record(actions: list[Json], results: list[tuple[str, str]]) -> dict[str, object]:
    """The inputs and the history of one scenario."""
    definition: Json = {"name": "r", "rules": [{"event": "finding_created"}], "actions": actions}
    spec = Spec(load_pinned(canonical(definition)))
    inputs: list[dict[str, object]] = []
    decide_one = spec.when

    def keep(message: Start | ActivityResult) -> object:
        decision = decide_one(message)
        kind = "start" if isinstance(message, Start) else "result"
        inputs.append(
            {"kind": kind, "at": spec.now.isoformat(), "message": json.loads(msgspec.json.encode(message))}
        )
        return decision

    spec.when = keep  # type: ignore[method-assign,assignment]
    spec.start()
    for name, outcome in results:
        spec.succeed(name, {"n": 41}) if outcome == "ok" else spec.fail(name)
    history = [_plain(recorded) for recorded in spec.history]
    return {"definition": definition, "payload": PAYLOAD, "inputs": inputs, "history": history}


def _plain(recorded: Recorded) -> dict[str, object]:
    event = json.loads(codec.encode(recorded.event))
    return {"seq": recorded.sequence, "at": recorded.at.isoformat(), "event": event}


def replay(golden: dict[str, object]) -> list[dict[str, object]]:
    """What today's interpreter makes of the golden's inputs."""
    runbook = load_pinned(canonical(golden["definition"]))  # type: ignore[arg-type]
    state = Execution(EXECUTION)
    events: list[dict[str, object]] = []
    for each in golden["inputs"]:  # type: ignore[attr-defined]
        kind: type[Start | ActivityResult] = Start if each["kind"] == "start" else ActivityResult
        message = msgspec.json.decode(json.dumps(each["message"]), type=kind)
        decision = decide(state, runbook, message, datetime.fromisoformat(each["at"]))
        if not isinstance(decision, Rejection):
            events += [
                {"seq": r.sequence, "at": r.at.isoformat(), "event": json.loads(codec.encode(r.event))}
                for r in decision
            ]
    return events


def main(release: str) -> None:
    """Record every scenario that this release does not have yet."""
    folder = HERE / release
    folder.mkdir(exist_ok=True)
    for name, (actions, results) in SCENARIOS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(record(actions, results), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
