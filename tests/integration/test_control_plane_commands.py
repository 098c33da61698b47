"""What people order: recorded with its audit line on the runbook's lane, or refused with what to do first."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.integration.control_plane_world import NOW, World, control_plane

from outlast import ids
from outlast.contracts.messages import Breaker

RUNBOOK = "name: Page\nrules: []\nactions: [{type: http_request, config: {url: 'http://x'}}]\nactive: true\n"
RUN = "0199f000-0000-8000-8000-00000000000{}"
ROLES = ("remediation_owner", "soc_analyst", "security_engineer")
LANE = ids.lane("acme", "page", 4)


@pytest.fixture(scope="module")
async def one_world(module_postgres: str) -> AsyncIterator[World]:
    async with control_plane(module_postgres) as made:
        yield made


@pytest.fixture
async def world(one_world: World) -> World:
    await one_world.empty()
    for role in ROLES:
        one_world.keys[role] = await one_world.key("acme", role)
    assert (await one_world.save("acme", RUNBOOK, "page")).status_code == 201
    return one_world


async def put_run(world: World, number: int, status: str, reason: str = "", runbook: str = "page") -> str:
    """A run of acme as the finalizer has it."""
    is_open = status in {"queued", "running", "waiting"}
    await world.put_run(
        RUN.format(number), runbook_id=runbook, status=status, reason=reason,
        finished_at=None if is_open else NOW,
    )  # fmt: skip
    return RUN.format(number)


def trip(world: World) -> None:
    """The breaker of acme's runbook is open."""
    world.outside.breakers["acme", "page"] = Breaker(
        company_id="acme", runbook_id="page", generation=0, is_open=True, failures=10,
        tripped_at=datetime(2026, 3, 14, tzinfo=UTC), revision=1,
    )  # fmt: skip


async def commands(world: World) -> list[dict[str, Any]]:
    """Everything that was ordered."""
    return [value for _, value in await world.outbox("control.commands")]


async def audit(world: World) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(who, verb, object, detail) of what was ordered."""
    rows = await world.pool.fetch("select identity_name, verb, object, detail from audit order by sequence")
    return [
        (row["identity_name"], row["verb"], row["object"], msgspec.json.decode(row["detail"]))
        for row in rows
        if row["verb"] in {"runbook.trigger", "execution.cancel", "breaker.reset", "suppressed.run"}
    ]


async def test_a_trigger_is_recorded_on_the_lane_and_says_how_to_find_its_run(world: World) -> None:
    body = {"finding_id": "F-1", "data": {"why": "drill"}}
    answer = await world.call("acme", "POST", "/runbooks/page/trigger", body)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "event_id": "command-1", "runbook": "page", "company": "acme",
        "find": "/api/v1/executions?company=acme&runbook=page&event_id=command-1",
    }  # fmt: skip
    assert await commands(world) == [
        {
            "type": "trigger_runbook.v1", "command_id": "command-1", "company_id": "acme", "runbook_id": "page",
            "by": "acme security_engineer", "at": "2026-03-14T09:26:53Z", "lane": LANE, "finding_id": "F-1",
            "data": {"why": "drill"},
        }
    ]  # fmt: skip
    row = await world.pool.fetchrow("select partition, key from outbox where topic = 'control.commands'")
    assert (row["partition"], row["key"]) == (LANE, b"acme/page")
    assert await audit(world) == [
        (
            "acme security_engineer", "runbook.trigger", "page",
            {"command": "command-1", "finding": "F-1", "asset": None},
        )
    ]  # fmt: skip
    assert world.outside.woken


async def test_a_run_is_found_by_the_event_of_its_trigger(world: World) -> None:
    find = (await world.call("acme", "POST", "/runbooks/page/trigger", {})).json()["find"]
    query = find.removeprefix("/api/v1")
    assert (await world.call("acme", "GET", query)).json()["items"] == []
    run = await put_run(world, 1, "running")
    await put_run(world, 2, "running")
    await world.pool.execute(
        "update records_read.runs_v1 set event_id = 'command-1' where execution_id = $1", run
    )
    assert [item["id"] for item in (await world.call("acme", "GET", query)).json()["items"]] == [run]


async def test_what_is_switched_off_or_tripped_is_not_triggered_and_the_answer_says_what_to_do_first(
    world: World,
) -> None:
    trip(world)
    tripped = await world.call("acme", "POST", "/runbooks/page/trigger", {})
    await world.call("acme", "POST", "/runbooks/page:deactivate")
    inactive = await world.call("acme", "POST", "/runbooks/page/trigger", {})
    assert [(answer.status_code, answer.json()["code"]) for answer in (tripped, inactive)] == [
        (409, "breaker_open"), (409, "inactive"),
    ]  # fmt: skip
    assert "/breaker/reset" in tripped.json()["detail"]
    assert ":activate" in inactive.json()["detail"]
    assert await commands(world) == await audit(world) == []


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ('{"data": {"a": "\\u0000"}}', "data.a"),
        ('{"data": {"a": NaN}}', "data.a"),
        ('{"data": {"a": ' + "[" * 200 + "]" * 200 + "}}", None),
        ('{"data": {"a": "' + "x" * 300_000 + '"}}', "data"),
        ('{"data": []}', "data"),
        ('{"finding": "F-1"}', "finding"),
        ('{"finding_id": "a\\u0007"}', "finding_id"),
    ],
)
async def test_a_trigger_takes_only_data_that_an_event_could_have(
    world: World, content: str, path: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await world.call("acme", "POST", "/runbooks/page/trigger", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert path is None or answer.json()["errors"][0]["path"] == path
    assert await commands(world) == []


async def test_a_run_that_goes_on_is_cancelled_with_a_reason_and_an_ended_one_is_not(world: World) -> None:
    running, queued = await put_run(world, 1, "running"), await put_run(world, 2, "queued")
    for run in (running, queued):
        answer = await world.call(
            "soc_analyst", "POST", f"/executions/{run}/cancel", {"reason": "false alarm"}
        )
        assert (answer.status_code, answer.json()["execution"]) == (202, run)
    ended = await put_run(world, 3, "failed")
    refused = await world.call("soc_analyst", "POST", f"/executions/{ended}/cancel", {"reason": "late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "ended")
    said = await commands(world)
    assert [command["execution_id"] for command in said] == [running, queued]
    assert {command["type"] for command in said} == {"cancel_execution.v1"}
    assert {(command["lane"], command["reason"]) for command in said} == {(LANE, "false alarm")}
    who, verb, subject, detail = (await audit(world))[0]
    assert (who, verb, subject, detail["reason"]) == (
        "acme soc_analyst", "execution.cancel", running, "false alarm",
    )  # fmt: skip


async def test_a_run_that_has_no_record_yet_can_be_cancelled(world: World) -> None:
    await world.pool.execute(
        "insert into engine_read.open_v1 values ($1, 'acme', 'page', 'Page', now())", RUN.format(7)
    )
    answer = await world.call("admin", "POST", f"/executions/{RUN.format(7)}/cancel", {"reason": "x"})
    assert (answer.status_code, answer.json()["company"]) == (202, "acme")
    foreign = await world.call("globex", "POST", f"/executions/{RUN.format(7)}/cancel", {"reason": "x"})
    assert foreign.status_code == 404


@pytest.mark.parametrize(
    ("suppressed", "kinds"),
    [
        (None, ["reset_breaker.v1"]),
        ("run", ["reset_breaker.v1", "run_suppressed.v1"]),
        ("let_go", ["reset_breaker.v1", "let_go_suppressed.v1"]),
    ],
)
async def test_a_reset_says_first_that_the_breaker_closes_then_what_becomes_of_what_it_held_back(
    world: World, suppressed: str | None, kinds: list[str]
) -> None:
    trip(world)
    body = {"reason": "the webhook is back"} | ({"suppressed": suppressed} if suppressed else {})
    answer = await world.call("soc_analyst", "POST", "/runbooks/page/breaker/reset", body)
    assert (answer.status_code, answer.json()["suppressed"]) == (202, suppressed)
    said = await commands(world)
    assert [command["type"] for command in said] == kinds
    assert {(command["lane"], command["reason"]) for command in said} == {(LANE, "the webhook is back")}
    assert len({command["command_id"] for command in said}) == len(kinds)
    (_, verb, subject, detail) = (await audit(world))[0]
    assert (verb, subject, detail["reason"], detail["suppressed"]) == (
        "breaker.reset", "page", "the webhook is back", suppressed,
    )  # fmt: skip


async def test_firings_that_were_held_back_run_only_if_the_breaker_held_them_back_and_is_closed(
    world: World,
) -> None:
    held = await put_run(world, 1, "skipped", "breaker_open")
    throttled = await put_run(world, 2, "skipped", "throttled")
    other = await put_run(world, 3, "skipped", "breaker_open", runbook="other")
    trip(world)
    body: dict[str, Any] = {"reason": "back", "executions": [held]}
    early = await world.call("soc_analyst", "POST", "/runbooks/page/suppressed/run", body)
    assert (early.status_code, early.json()["code"]) == (409, "breaker_open")
    world.outside.breakers.clear()
    wrong = await world.call(
        "soc_analyst",
        "POST",
        "/runbooks/page/suppressed/run",
        body | {"executions": [held, throttled, other]},
    )
    assert wrong.status_code == 422
    assert [error["path"] for error in wrong.json()["errors"]] == ["executions[1]", "executions[2]"]
    assert (await world.call("soc_analyst", "POST", "/runbooks/page/suppressed/run", body)).status_code == 202
    every = await world.call("soc_analyst", "POST", "/runbooks/page/suppressed/run", {"reason": "all"})
    assert every.json()["executions"] is None
    said = await commands(world)
    assert [command.get("executions", []) for command in said] == [[held], []]
    assert [command["reason"] for command in said] == ["back", "all"]


@pytest.mark.parametrize("reason", [None, "", "   ", "a\nb", "x" * 501])
async def test_whoever_ends_or_resets_says_why(world: World, reason: str | None) -> None:
    run = await put_run(world, 1, "running")
    body = {} if reason is None else {"reason": reason}
    for path in (
        f"/executions/{run}/cancel",
        "/runbooks/page/breaker/reset",
        "/runbooks/page/suppressed/run",
    ):
        answer = await world.call("acme", "POST", path, body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "reason")
    assert await commands(world) == []


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("/runbooks/page/trigger", "security_engineer"),
        ("/runbooks/page/breaker/reset", "soc_analyst"),
        ("/runbooks/page/suppressed/run", "soc_analyst"),
        (f"/executions/{RUN.format(1)}/cancel", "soc_analyst"),
    ],
)
async def test_each_command_is_for_its_role_and_those_above(world: World, path: str, least: str) -> None:
    await put_run(world, 1, "running")
    world.keys["machine"] = await world.key("acme", "service", "publish_events", "read_runs")
    body = {} if path.endswith("trigger") else {"reason": "a drill"}
    answers = {
        who: (await world.call(who, "POST", path, body, params=params)).status_code
        for who, params in (*((role, {}) for role in ROLES), ("machine", {}), ("admin", {"company": "acme"}))
    }
    allowed = ROLES[ROLES.index(least) :]
    assert answers == {role: 202 if role in allowed else 403 for role in ROLES} | {
        "machine": 403,
        "admin": 202,
    }
    assert len(await commands(world)) == len(allowed) + 1


@pytest.mark.parametrize(
    "path",
    [
        "/runbooks/page/trigger",
        "/runbooks/page/breaker/reset",
        "/runbooks/page/suppressed/run",
        f"/executions/{RUN.format(1)}/cancel",
    ],
)
async def test_a_command_with_one_idempotency_key_is_ordered_once(world: World, path: str) -> None:
    await put_run(world, 1, "running")
    body = {} if path.endswith("trigger") else {"reason": "a drill"}
    headers = {"Idempotency-Key": "k"}
    first, second = await asyncio.gather(
        *(world.call("acme", "POST", path, body, headers=headers) for _ in range(2))
    )
    assert (first.status_code, first.json()) == (second.status_code, second.json()) == (202, first.json())
    # what was done stays done when the world has moved on
    await world.pool.execute("update records_read.runs_v1 set finished_at = now(), status = 'cancelled'")
    trip(world)
    again = await world.call("acme", "POST", path, body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(await commands(world)) == len(await audit(world)) == 1


async def test_the_lanes_are_counted_once_so_that_orders_are_taken_while_the_broker_is_away(
    world: World,
) -> None:
    world.outside.partitions = None
    unknown = await world.call("acme", "POST", "/runbooks/page/trigger", {})
    assert (unknown.status_code, "retry-after" in unknown.headers) == (503, True)
    world.outside.partitions = 8
    await world.call("acme", "POST", "/runbooks/page/trigger", {})
    world.outside.partitions = None
    assert (await world.call("acme", "POST", "/runbooks/page/trigger", {})).status_code == 202
    world.outside.partitions = 3
    await world.call("acme", "POST", "/runbooks/page/trigger", {})
    lanes = {command["lane"] for command in await commands(world)}
    assert lanes == {ids.lane("acme", "page", 8)}
