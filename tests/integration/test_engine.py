"""The engine's process on real servers: doubles, cancelled runs, runs that ask for their slot; its database away.

One file, because two engines of one group would share the inbox.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from msgspec import UNSET, Raw, structs
from tests.integration.engine_process import SECONDS_MAX, EngineProcess, Road, Statuses, System, until

from outlast.contracts.messages import (
    ActivityResult,
    Cancel,
    Compared,
    EventReference,
    Finished,
    InlineOutcome,
    Message,
    Origin,
    Probe,
    Recorded,
    Resuming,
    RunbookReference,
    SlotGranted,
    Start,
    Started,
    TimerDue,
    Unknown,
    Waiting,
)
from outlast.messaging.topics import ensure_topics
from outlast.runbooks.documents import Json, canonical
from outlast.testing.spec import EVENT_TIME, PAYLOAD, Spec, notify, runbook

pytestmark = pytest.mark.timeout(300)
RUNS = 120
OPEN = "select count(*) from engine.open where execution_id = any($1::uuid[])"
NAP: Json = {"id": "nap", "type": "sleep", "class": "flow", "config": {"duration": "5m"}}
OWNER: Json = {"id": "owner", "type": "resolve_owner", "class": "flow"}
HIGH: Json = {"field": "finding.severity", "op": "gte", "value": "high"}
FORK: Json = {
    "id": "fork",
    "type": "when",
    "expression": HIGH,
    "then": [notify("page", config={"text": "{{ finding.title | upper }}", "team": "{{ owner.name }}"})],
    "else": [notify("file", when="{{ finding.severity != 'low' }}")],
}
TELL = notify("tell", config={"n": "{{ steps.post.output.n + 1 }}"})
ACTIONS: list[Json] = [OWNER, notify("post"), FORK, TELL]
LATE: list[Json] = [notify("post"), NAP, TELL]


@pytest.fixture
async def system(kafka: str) -> AsyncIterator[System]:
    await asyncio.to_thread(ensure_topics, kafka)
    made = System(kafka)
    yield made
    await made.close()


@pytest.fixture
async def engine(kafka: str, postgres: str, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    made = EngineProcess(kafka, postgres, tmp_path)
    yield made
    made.ensure_ended()


def payload(number: int) -> dict[str, Json]:
    """One of a few: another severity, or an owner that is unknown."""
    finding: Json = {
        "id": f"f-{number}",
        "title": "SQL injection",
        "severity": ("low", "medium", "high")[number % 3],
    }
    made = PAYLOAD | {"finding": finding}
    return made | {"asset": {"id": "a"}} if number % 5 == 0 else made


def start(
    execution: str, actions: list[Json], given: dict[str, Json], mode: str, origin: Origin | None = None
) -> Start:
    body = canonical({"name": "r", "rules": [{"event": "finding_created"}], "actions": actions})
    return Start(
        execution_id=execution,
        company_id="acme",
        runbook=RunbookReference(id="r-1", name="r", version=1, sha256=f"d-{len(actions)}-{len(body)}"),
        event=EventReference(source="s", id="e-1", type="finding_created", time=EVENT_TIME),
        mode=mode,
        lane=1,
        payload=Raw(msgspec.json.encode(given)),
        definition=Raw(body),
        origin=origin or Origin(),
    )


def outcome(execution: str, actions: list[Json], given: dict[str, Json], number: int) -> InlineOutcome:
    """What an inline run with these actions did: failures, second attempts, skips, a wait that is none."""
    spec = Spec(runbook(*actions), given)
    spec.start("inline")
    while not spec.state.is_ended:
        step = next(each for each in spec.state.steps.values() if each.status in ("scheduled", "waiting"))
        if step.status == "waiting":
            spec.fire(step.timer_id)
        elif number % 7 == 0 and step.attempt == 1:
            spec.fail(step.id, is_retryable=True)
        elif number % 11 == 0:
            spec.fail(step.id, attempt=step.attempt)
        else:
            spec.succeed(step.id, {"n": number}, attempt=step.attempt)
    return structs.replace(spec.outcome(), execution_id=execution)


def probe(execution: str) -> Probe:
    return Probe(execution_id=execution, company_id="acme", runbook_id="r-1", lane=1)


def counted(engine: EngineProcess, name: str) -> float:
    """A metric as it is now; the inbox has the messages of other tests, too."""
    lines = engine.asked("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


async def test_doubles_agree_with_their_inline_runs_although_the_engine_is_killed_again_and_again(
    system: System, engine: EngineProcess, postgres: str
) -> None:
    due: list[Message] = []
    messages: list[Message] = []
    for number in range(RUNS):
        actions, given, name = (ACTIONS, LATE)[number % 2], payload(number), system.execution(number)
        pair = [start(name, actions, given, "shadow"), outcome(name, actions, given, number)]
        messages += (
            pair if number % 3 else [*pair[::-1], pair[1]]
        )  # an outcome before its start, and once more
        if actions is LATE:
            due.append(TimerDue(execution_id=name, timer_id="nap", fire_at=EVENT_TIME))
    engine.start()
    for first in range(0, len(messages), 90):
        await system.send(*messages[first : first + 90])
        await system.until(lambda: engine.asked("/readyz")[0] == 200)
        engine.end(signal.SIGKILL)
        engine.start()
    await system.until(lambda: len(system.compared()) == RUNS, *due)
    differing = [each.differences for each in system.compared().values() if not each.is_agreed]
    assert differing == []
    assert sum(each.expected == ("nap",) for each in system.compared().values()) == RUNS // 2
    assert {type(each) for each in system.said} == {Compared}
    for name in system.ours:
        await system.send(Recorded(executions=(name,)))
    connection = await asyncpg.connect(postgres)
    deadline = time.monotonic() + SECONDS_MAX
    while await connection.fetchval(OPEN, list(system.ours)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await connection.close()


async def test_an_engine_with_another_template_filter_than_the_executors_is_found_out(
    system: System, kafka: str, postgres: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import outlast.runbooks.text_filters as filters\n"
        "upper = filters.upper\n"
        "filters.upper = lambda frame, value: upper(frame, value) + '!'\n"
    )
    engine = EngineProcess(kafka, postgres, tmp_path, {"PYTHONPATH": str(tmp_path)})
    given = payload(2)
    names = [system.execution(number) for number in range(3)]
    engine.start()
    try:
        for name in names:
            await system.send(start(name, ACTIONS, given, "shadow"), outcome(name, ACTIONS, given, 1))
        await system.until(lambda: len(system.compared()) == len(names))
        for compared in system.compared().values():
            (difference,) = compared.differences
            assert (difference.activity_id, difference.what, difference.after_wait) == (
                "page",
                "input",
                False,
            )
            assert "SQL INJECTION!" in difference.shadow
            assert "SQL INJECTION!" not in difference.inline
        assert counted(engine, 'outlast_shadow_compared_total{result="differs"}') >= 3
    finally:
        engine.ensure_ended()


def the_end(system: System) -> Finished:
    """What was said of the run's end. Who takes a partition up may say it once more, with the payload."""
    said = [structs.replace(each, payload=UNSET) for each in system.said if isinstance(each, Finished)]
    assert said == [said[0]] * len(said)
    return said[0]


async def test_a_run_is_cancelled_between_two_actions_also_by_an_engine_that_was_killed_meanwhile(
    system: System, engine: EngineProcess
) -> None:
    name = system.execution(1)
    asked = Cancel(execution_id=name, company_id="acme", by="ana", at=EVENT_TIME, reason="a drill")
    unknown = structs.replace(asked, execution_id=system.execution(2))
    engine.start()
    await system.send(start(name, [notify("a"), notify("b")], PAYLOAD, "workflow"), unknown)
    await system.until(lambda: any(isinstance(each, Started) for each in system.read()))
    await system.send(asked, asked)
    rejected = 'outlast_engine_rejected_total{{reason="{}"}}'.format
    await system.until(lambda: counted(engine, rejected("cancel_known")) >= 1)
    assert counted(engine, rejected("unknown_execution")) >= 1
    engine.end(signal.SIGKILL)
    engine.start()
    await system.send(
        ActivityResult(execution_id=name, activity_id="a", attempt=1, started_at=EVENT_TIME, duration_ms=1.0)
    )
    await system.until(lambda: any(isinstance(each, Finished) for each in system.read()))
    finished = the_end(system)
    assert (finished.status, finished.by, finished.reason) == ("cancelled", "ana", "a drill")
    assert [(step.id, step.status) for step in finished.steps] == [("a", "success")]


async def test_a_run_that_gave_its_slot_back_asks_until_it_is_granted_one(
    system: System, engine: EngineProcess
) -> None:
    name = system.execution(1)
    origin = Origin(is_slotted=True, releases_slot=True)
    engine.start()
    await system.send(start(name, [NAP, notify("a")], PAYLOAD, "workflow", origin))
    await system.until(lambda: any(isinstance(each, Waiting) for each in system.read()))
    await system.send(TimerDue(execution_id=name, timer_id="nap", fire_at=EVENT_TIME))
    await system.until(lambda: any(isinstance(each, Resuming) for each in system.read()))
    engine.end(signal.SIGKILL)
    engine.start()
    await system.send(probe(name))

    def asked() -> list[Resuming]:
        return [each for each in system.read() if isinstance(each, Resuming)]

    await system.until(lambda: len(asked()) > 1)
    assert len({each.seq for each in asked()}) == 1
    await system.send(
        SlotGranted(execution_id=name, seq=asked()[0].seq),
        ActivityResult(execution_id=name, activity_id="a", attempt=1, started_at=EVENT_TIME, duration_ms=1.0),
    )
    await system.until(lambda: any(isinstance(each, Finished) for each in system.read()))
    finished = the_end(system)
    assert finished.status == "success"


# ---- with its database away


@pytest.fixture
async def behind_a_road(
    kafka: str, postgres: str, tmp_path: Path
) -> AsyncIterator[tuple[EngineProcess, Road, Statuses]]:
    ensure_topics(kafka)
    road = Road(postgres)
    made = EngineProcess(kafka, road.dsn, tmp_path)
    yield made, road, Statuses(kafka, made.instance)
    made.ensure_ended()
    await road.close()


async def test_a_database_that_is_away_at_the_start_is_said_and_waited_for(
    behind_a_road: tuple[EngineProcess, Road, Statuses],
) -> None:
    process, road, statuses = behind_a_road
    process.start()
    await until(lambda: statuses.read() == ["down"])
    assert process.asked("/livez")[0] == 200
    code, body = process.asked("/readyz")
    assert (code, json.loads(body)["parts"]["database"]) == (503, False)
    assert json.loads(body)["durable_backend"].startswith("away: ")
    assert "outlast_engine_durable 0.0" in process.asked("/metrics")[1]
    await road.open()
    await until(lambda: statuses.read() == ["down", "up"])
    await until(lambda: process.asked("/readyz")[0] == 200)
    assert "outlast_engine_durable 1.0" in process.asked("/metrics")[1]


async def test_a_database_that_goes_away_later_is_not_said_and_loses_nothing(
    behind_a_road: tuple[EngineProcess, Road, Statuses], system: System
) -> None:
    process, road, statuses = behind_a_road
    await road.open()
    process.start()
    await until(lambda: statuses.read() == ["up"])
    await system.send(asked_for := probe(system.execution(1)))
    await system.until(lambda: len(system.read()) == 1)  # it has its partitions
    await road.close()
    await system.send(structs.replace(asked_for, execution_id=system.execution(2)))
    await until(lambda: process.asked("/readyz")[0] == 503)
    assert process.asked("/livez")[0] == 200
    await road.open()
    await system.until(
        lambda: len({each.execution_id for each in system.read()}) == 2
    )  # an answer may be repeated
    assert {type(each) for each in system.said} == {Unknown}
    await until(lambda: process.asked("/readyz")[0] == 200)
    assert await asyncio.to_thread(process.end) == 0
    assert await asyncio.to_thread(statuses.read) == ["up"]


async def test_an_engine_that_is_told_to_stop_while_it_waits_for_its_database_ends_in_order(
    behind_a_road: tuple[EngineProcess, Road, Statuses],
) -> None:
    process, _, statuses = behind_a_road
    process.start()
    await until(lambda: statuses.read() == ["down"])
    assert await asyncio.to_thread(process.end) == 0
