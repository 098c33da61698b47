"""The control plane's promises over HTTP, on a real Postgres."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from tests.integration.control_plane_world import ADMIN_KEY, NOW, World, control_plane

from outlast.contracts.messages import Breaker, EngineStatus
from outlast_control_plane.compacted import Republisher

RUNBOOK = """\
# a comment that an export keeps
name: Page on call
rules:
  - event: finding_created
    condition: {field: finding.severity, op: gte, value: high}
actions:
  - id: page
    type: http_request
    config: {url: "http://example.org/{{ finding.id }}"}
"""


@pytest.fixture(scope="module")
async def one_world(module_postgres: str) -> AsyncIterator[World]:
    async with control_plane(module_postgres) as made:
        yield made


@pytest.fixture
async def world(one_world: World) -> World:
    await one_world.empty()
    return one_world


def event(**changes: object) -> dict[str, object]:
    """A CloudEvent of acme."""
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "tests",
        "type": "finding_created",
        "companyid": "acme",
        "data": {"finding_id": "f1"},
    } | changes


async def emit(world: World, who: str, body: object, kind: str = "application/cloudevents+json"):
    content = body if isinstance(body, bytes) else None
    return await world.call(
        who, "POST", "/events", None if content is not None else body,
        headers={"Content-Type": kind}, **({"content": content} if content is not None else {}),
    )  # fmt: skip


async def test_a_save_makes_a_version_an_equal_one_none_and_versions_never_change(world: World) -> None:
    first = await world.save("acme", RUNBOOK, "page-on-call")
    again = await world.save("acme", RUNBOOK.replace("# a comment", "# another"), "page-on-call")
    second = await world.save("acme", RUNBOOK.replace("high", "critical"), "page-on-call")
    assert [answer.status_code for answer in (first, again, second)] == [201, 200, 200]
    assert [answer.json()["change"] for answer in (first, again, second)] == ["create", "unchanged", "update"]
    assert [answer.json()["version"] for answer in (first, again, second)] == [1, 1, 2]
    whole = (await world.call("acme", "GET", "/runbooks/page-on-call/versions/2")).json()
    assert "-    condition: {field: finding.severity, op: gte, value: high}" in whole["diff"]
    with pytest.raises(Exception, match="immutable"):
        await world.pool.execute("update runbook_versions set author_name = 'somebody else'")
    with pytest.raises(Exception, match="immutable"):
        await world.pool.execute("delete from runbook_versions")


async def test_what_is_exported_is_what_was_saved(world: World) -> None:
    await world.save("acme", RUNBOOK, "page-on-call")
    whole = (await world.call("acme", "GET", "/runbooks/page-on-call")).json()
    assert whole["source"] == RUNBOOK
    assert whole["author"]["name"] == "acme security_engineer"
    assert whole["document"]["actions"][0]["class"] == "notify"


async def test_every_fault_of_a_definition_is_named_with_its_path(world: World) -> None:
    broken = RUNBOOK.replace("op: gte", "op: gteq").replace("finding.id }}", "finding.id | nosuch }}")
    answer = await world.save("acme", broken, "page-on-call")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    paths = {error["path"] for error in answer.json()["errors"]}
    assert paths == {"rules[0].condition.op", "actions[0].config.url"}
    assert (await world.call("acme", "GET", "/runbooks")).json()["items"] == []


async def test_guardrails_are_checked_at_save_pinned_and_given_back_as_they_were_written(
    world: World,
) -> None:
    held = (
        "guardrails:  # three an hour\n  throttles: [{limit: 3, per: 1h, key: '{{ asset.id }}'}]\n" + RUNBOOK
    )
    broken = held.replace("per: 1h", "per: an hour").replace("asset.id }}", "asset.id | nosuch }}")
    refused = await world.save("acme", broken + "requires_durable: 3\n", "page-on-call")
    assert refused.status_code == 422
    paths = {error["path"] for error in refused.json()["errors"]}
    assert paths == {"guardrails.throttles[0].per", "guardrails.throttles[0].key", "requires_durable"}
    assert (await world.save("acme", held, "page-on-call")).status_code == 201
    whole = (await world.call("acme", "GET", "/runbooks/page-on-call")).json()
    assert whole["source"] == held
    assert whole["document"]["guardrails"] == {
        "throttles": [{"limit": 3, "per": "1h", "key": "{{ asset.id }}"}]
    }
    again = await world.save("acme", whole["source"], "page-on-call")
    assert (again.status_code, again.json()["change"]) == (200, "unchanged")
    said = [value for key, value in await world.outbox("runbooks.definitions") if key != b"head"]
    assert said[-1]["definition"]["guardrails"] == whole["document"]["guardrails"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("name: [", "expected YAML"),
        ("name: x\nname: y\n", "stands twice"),
        ("a: &a [1]\nb: *a\n", "aliases are not supported"),
        ('name: "\\0"\n', "NUL"),
        ("- 1\n", "expected a runbook"),
        ("[" * 5000, "expected"),
    ],
)
async def test_text_that_is_no_definition_is_refused_with_the_reason(
    world: World, source: str, message: str
) -> None:
    answer = await world.save("acme", source, "page-on-call")
    assert answer.status_code == 422
    assert message in answer.text


async def test_without_the_catalogue_nothing_can_be_checked_and_the_caller_is_told_when_to_return(
    world: World,
) -> None:
    world.outside.catalogue = None
    answer = await world.save("acme", RUNBOOK, "page-on-call")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_an_edit_of_something_that_was_changed_meanwhile_is_refused(world: World) -> None:
    seen = (await world.save("acme", RUNBOOK, "page-on-call")).headers["etag"]
    await world.save("acme", RUNBOOK.replace("high", "low"), "page-on-call")
    late = await world.call(
        "acme", "PUT", "/runbooks/page-on-call",
        content=RUNBOOK.replace("high", "medium").encode(),
        headers={"Content-Type": "application/yaml", "If-Match": seen},
    )  # fmt: skip
    assert late.status_code == 412
    assert (await world.call("acme", "GET", "/runbooks/page-on-call")).json()["version"] == 2


async def test_a_plan_says_what_a_save_would_do_and_does_nothing(world: World) -> None:
    await world.save("acme", RUNBOOK, "page-on-call")
    documents = [
        {"source": RUNBOOK},
        {"source": RUNBOOK.replace("high", "low") + "active: true\n"},
        {"source": RUNBOOK.replace("Page on call", "New one")},
        {"source": "name: 3\n"},
    ]
    items = (await world.call("acme", "POST", "/runbooks:plan", {"documents": documents})).json()["items"]
    assert [item["change"] for item in items] == ["unchanged", "update", "create", "refused"]
    assert (items[1]["will_be_active"], items[1]["is_active"]) == (True, False)
    assert "+    condition: {field: finding.severity, op: gte, value: low}" in items[1]["diff"]
    assert items[3]["errors"]
    assert len((await world.call("acme", "GET", "/runbooks")).json()["items"]) == 1


async def test_every_change_of_a_runbook_is_said_with_a_revision_and_a_head(world: World) -> None:
    await world.save("acme", RUNBOOK + "active: true\n", "page-on-call")
    await world.call("acme", "POST", "/runbooks/page-on-call:deactivate")
    await world.call("acme", "POST", "/runbooks/page-on-call:deactivate")
    await world.call("acme", "DELETE", "/runbooks/page-on-call")
    said = await world.outbox("runbooks.definitions")
    assert [key for key, _ in said] == [b"acme/page-on-call", b"head"] * 3
    definitions = [value for key, value in said if key != b"head"]
    assert [value["revision"] for value in definitions] == [1, 2, 3]
    assert [(value["is_active"], value.get("is_deleted", False)) for value in definitions] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip
    assert definitions[0]["definition"]["rules"]
    assert said[-1][1] == {"type": "head.v1", "revision": 3, "count": 1}


async def test_a_deleted_runbook_comes_back_as_its_next_version(world: World) -> None:
    await world.save("acme", RUNBOOK, "page-on-call")
    await world.call("acme", "DELETE", "/runbooks/page-on-call")
    assert (await world.call("acme", "GET", "/runbooks/page-on-call")).status_code == 404
    answer = await world.save("acme", RUNBOOK, "page-on-call")
    assert (answer.status_code, answer.json()["version"]) == (201, 2)


async def test_revisions_are_in_commit_order_when_many_save_at_once(world: World) -> None:
    async def save(number: int) -> None:
        answer = await world.save("acme", RUNBOOK.replace("Page on call", f"R {number}"), f"r-{number}")
        assert answer.status_code == 201

    await asyncio.gather(*(save(number) for number in range(12)))
    said = await world.outbox("runbooks.definitions")
    revisions = [value["revision"] for key, value in said if key != b"head"]
    assert revisions == list(range(1, 13))
    assert said[-1][1]["count"] == 12


async def test_an_emptied_topic_gets_everything_again_and_a_known_one_nothing(world: World) -> None:
    ids = {"runbooks.definitions": "one", "producers": "one", "identities": "one"}

    class Broker:
        async def topic_ids(self, topics: object) -> dict[str, str]:
            return ids

    await world.save("acme", RUNBOOK, "page-on-call")
    republisher = Republisher(world.pool, Broker())
    assert len(await republisher.look()) == 3
    assert await republisher.look() == []
    before = len(await world.outbox("runbooks.definitions"))
    ids["runbooks.definitions"] = "two"
    assert await republisher.look() == ["runbooks.definitions"]
    said = (await world.outbox("runbooks.definitions"))[before:]
    assert [key for key, _ in said] == [b"acme/page-on-call", b"head"]
    assert said[-1][1]["revision"] == said[0][1]["revision"] == 1
    identities = await world.outbox("identities")
    assert len({key for key, _ in identities}) == 5  # admin, services, acme, globex, head


async def test_events_are_recorded_once_by_company_source_and_id(world: World) -> None:
    batch = [event(), event(), event(id="e2")]
    first = await emit(world, "acme", batch, "application/cloudevents-batch+json")
    again = await emit(world, "acme", event())
    assert (first.status_code, again.status_code) == (202, 202)
    assert [item["status"] for item in first.json()["items"]] == ["accepted", "duplicate", "accepted"]
    assert [item["status"] for item in again.json()["items"]] == ["duplicate"]
    said = await world.outbox("platform.api.events")
    assert [value["id"] for _, value in said] == ["e1", "e2"]
    assert world.outside.woken >= 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", ""),
        (b'{"specversion": "1.0"}', "id"),
        (event(type="finding_exploded"), "type"),
        (event(data={"severity": "high"}), "data"),
        (event(data={"finding_id": 7}), "data.finding_id"),
        (event(time="yesterday"), "time"),
        (event(id="a\x00b"), "id"),
        (b'{"specversion":"1.0","id":"x","source":"s","type":"finding_created","companyid":"acme",'
         b'"data":{"finding_id":"f","note":"\\ud800"}}', "data.note"),
        (event(data={"finding_id": "f", "pad": "x" * 300_000}), ""),
        ([event(), event(id="")], "[1].id"),
    ],
)  # fmt: skip
async def test_what_is_no_event_is_refused_with_the_path_and_nothing_is_recorded(
    world: World, body: object, path: str
) -> None:
    kind = "application/cloudevents-batch+json" if isinstance(body, list) else "application/cloudevents+json"
    answer = await emit(world, "acme", body, kind)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == path
    assert await world.outbox("platform.api.events") == []


async def test_a_caller_speaks_for_its_own_company_and_its_own_sources_only(world: World) -> None:
    world.keys["producer"] = await world.key("acme", "service", "publish_events", "source:scanner/")
    foreign = await emit(world, "globex", event())
    assert (foreign.status_code, foreign.json()["errors"][0]["path"]) == (403, "companyid")
    wrong_source = await emit(world, "producer", event())
    assert (wrong_source.status_code, wrong_source.json()["errors"][0]["path"]) == (403, "source")
    assert (await emit(world, "producer", event(source="scanner/7"))).status_code == 202
    assert (await emit(world, "acme", event(source="cron:nightly"))).status_code == 403


async def test_a_body_above_the_limit_is_refused_while_it_arrives(world: World) -> None:
    async def endless():
        while True:
            yield b"x" * 65_536

    announced = await emit(world, "acme", b"x" * (5 * 1024 * 1024))
    streamed = await world.call(
        "acme", "POST", "/events", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert (announced.status_code, streamed.status_code) == (413, 413)


async def test_the_same_idempotency_key_gives_the_same_answer_and_one_effect(world: World) -> None:
    body = {"name": "ci", "role": "soc_analyst"}
    headers = {"Idempotency-Key": "k1"}
    first, second = await asyncio.gather(
        *(world.call("acme", "POST", "/identities", body, headers=headers) for _ in range(2))
    )
    assert {first.status_code, second.status_code} == {201}
    assert first.json()["id"] == second.json()["id"]
    assert sorted([first.json()["key"] is None, second.json()["key"] is None]) == [False, True]
    other = await world.call("acme", "POST", "/identities", body | {"name": "x"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    names = [item["name"] for item in (await world.call("acme", "GET", "/identities")).json()["items"]]
    assert names.count("ci") == 1


async def test_keys_are_stored_as_digests_and_a_revoked_one_is_refused_at_once(world: World) -> None:
    key = await world.key("acme", "soc_analyst")
    world.keys["analyst"] = key
    assert (await world.call("analyst", "GET", "/runbooks")).status_code == 200
    rows = await world.pool.fetch("select i::text as text from identities i")
    assert any(hashlib.sha256(key.encode()).hexdigest() in row["text"] for row in rows)
    assert not any(key in row["text"] or ADMIN_KEY in row["text"] for row in rows)
    assert key.encode() not in b"".join(
        [row["value"] for row in await world.pool.fetch("select value from outbox")]
    )
    items = (await world.call("acme", "GET", "/identities")).json()["items"]
    identity = next(item for item in items if item["role"] == "soc_analyst")
    assert (await world.call("acme", "DELETE", f"/identities/{identity['id']}")).status_code == 200
    assert (await world.call("analyst", "GET", "/runbooks")).status_code == 401
    said = await world.outbox("identities")
    assert said[-2][1]["is_revoked"] is True


async def test_a_runbook_is_active_if_it_is_switched_on_and_its_breaker_is_closed(world: World) -> None:
    async def shown() -> tuple[object, ...]:
        whole = (await world.call("acme", "GET", "/runbooks/page-on-call")).json()
        (item,) = (await world.call("acme", "GET", "/runbooks")).json()["items"]
        names = ("is_active", "is_switched_on", "breaker_tripped_at", "failures")
        assert [whole[name] for name in names] == [item[name] for name in names]
        return tuple(whole[name] for name in names)

    await world.save("acme", RUNBOOK + "active: true\n", "page-on-call")
    assert await shown() == (True, True, None, 0)
    tripped = Breaker(
        company_id="acme", runbook_id="page-on-call", generation=0, is_open=True, failures=10, tripped_at=NOW
    )
    world.outside.breakers["globex", "page-on-call"] = tripped
    assert await shown() == (True, True, None, 0)
    world.outside.breakers["acme", "page-on-call"] = tripped
    assert await shown() == (False, True, "2026-03-14T09:26:53Z", 10)
    # an edit during the trip neither closes the breaker nor is it lost
    saved = (await world.save("acme", RUNBOOK.replace("high", "low"), "page-on-call")).json()
    assert (saved["change"], saved["is_active"], saved["is_switched_on"]) == ("update", False, True)
    assert await shown() == (False, True, "2026-03-14T09:26:53Z", 10)
    said = [value for key, value in await world.outbox("runbooks.definitions") if key != b"head"]
    assert [value["is_active"] for value in said] == [True, True]
    plan = (await world.call("acme", "POST", "/runbooks:plan", {"documents": [{"source": RUNBOOK}]})).json()
    assert (plan["items"][0]["is_active"], plan["items"][0]["will_be_active"]) == (True, True)


async def test_the_engine_is_up_if_one_instance_is_and_new_runs_are_degraded_when_it_is_down_for_long(
    world: World,
) -> None:
    names = ("state", "since", "new_runs")
    answer = (await world.call("acme", "GET", "/engine")).json()
    assert [answer[name] for name in names] == ["unknown", None, "waiting"]
    world.outside.reports.append(EngineStatus(instance="0", state="down", at=NOW - timedelta(seconds=31)))
    answer = (await world.call("acme", "GET", "/engine")).json()
    assert [answer[name] for name in names] == ["down", "2026-03-14T09:26:22Z", "degraded"]
    world.outside.reports.append(EngineStatus(instance="1", state="up", at=NOW))
    answer = (await world.call("acme", "GET", "/engine")).json()
    assert [answer[name] for name in names] == ["up", "2026-03-14T09:26:53Z", "durable"]


async def test_roles_may_what_the_specification_says(world: World) -> None:
    world.keys["analyst"] = await world.key("acme", "soc_analyst")
    world.keys["owner"] = await world.key("acme", "remediation_owner")
    assert (await world.save("analyst", RUNBOOK, "page-on-call")).status_code == 403
    assert (await world.call("analyst", "GET", "/executions")).status_code == 200
    assert (await world.call("owner", "GET", "/executions")).status_code == 403
    assert (await world.call("acme", "GET", "/producers")).status_code == 403
    administrator = {"name": "me", "role": "platform_administrator"}
    assert (await world.call("acme", "POST", "/identities", administrator)).status_code == 403
    assert (await world.call(None, "GET", "/runbooks")).status_code == 401


async def test_a_producer_has_its_topic_before_it_is_announced(world: World) -> None:
    answer = await world.call("admin", "PUT", "/producers/scanner", {"companies": ["globex", "acme"]})
    assert answer.json() == {
        "name": "scanner", "topic": "platform.scanner.events", "companies": ["acme", "globex"], "is_revoked": False,
    }  # fmt: skip
    assert world.outside.topics == ["scanner"]
    await world.call("admin", "DELETE", "/producers/scanner")
    said = [value for key, value in await world.outbox("producers") if key == b"scanner"]
    assert [value.get("is_revoked", False) for value in said] == [False, True]
    assert (await world.call("admin", "PUT", "/producers/core", {"companies": ["acme"]})).status_code == 403


async def test_companies_are_told_to_the_platform(world: World) -> None:
    assert (await world.call("admin", "PUT", "/companies/initech", {"name": "Initech"})).status_code == 200
    assert world.outside.companies == {"initech": "Initech"}


async def test_a_waiting_run_shows_what_it_waits_for_and_until_when(world: World) -> None:
    run_id = "0199f000-0000-8000-8000-00000000000a"
    wait = {"activity_id": "ok", "kind": "signal", "until": "2026-01-05T00:00:00Z", "signal": "approved"}
    await world.put_run(run_id, status="waiting", waits=msgspec.json.encode([wait]))
    awaited = {"activity_id": "ok", "action": "await_signal", "action_class": "flow", "signal": "approved"}
    timer = {"timer_id": "t", "activity_id": "ok", "purpose": "timeout", "fire_at": "2026-01-05T00:00:00Z"}
    await world.put_history(run_id, ("signal_awaited.v1", awaited), ("timer_started.v1", timer))
    (item,) = (await world.call("acme", "GET", "/executions", params={"status": "waiting"})).json()["items"]
    assert (item["status"], item["waits"]) == ("waiting", [wait])
    assert (await world.call("acme", "GET", "/executions", params={"status": "running"})).json()[
        "items"
    ] == []
    whole = (await world.call("acme", "GET", f"/executions/{run_id}")).json()
    assert whole["waits"] == [wait]
    assert (whole["steps"][0]["status"], whole["steps"][0]["wait"]["signal"]) == ("waiting", "approved")
    history = (await world.call("acme", "GET", f"/executions/{run_id}/history")).json()["items"]
    assert [event["data"] for event in history] == [awaited, timer]


async def test_the_payload_of_a_durable_run_is_shown_from_its_history_and_of_another_from_its_record(
    world: World,
) -> None:
    durable, inline = "0199f000-0000-8000-8000-00000000000b", "0199f000-0000-8000-8000-00000000000c"
    await world.put_run(durable, payload=None)
    await world.put_history(durable, ("workflow_started.v1", {"payload": {"finding": {"id": "f-1"}}}))
    await world.put_run(inline, mode="inline", payload=b'{"finding":{"id":"f-2"}}')
    shown = [(await world.call("acme", "GET", f"/executions/{each}")).json() for each in (durable, inline)]
    assert [each["payload"]["finding"]["id"] for each in shown] == ["f-1", "f-2"]


async def test_runs_say_why_they_are_held_back_or_ended_how_they_came_to_be_and_are_found_by_it(
    world: World,
) -> None:
    runs = {
        1: {"status": "queued", "reason": "slot_taken"},
        2: {"status": "skipped", "reason": "throttled", "detail": "1 in 300 s"},
        3: {"status": "cancelled", "reason": "cancelled", "detail": "false alarm", "ended_by": "ana"},
        4: {"status": "cancelled", "reason": "false alarm", "ended_by": "ana", "started_at": NOW},
        5: {"status": "success", "mode": "inline", "is_degraded": True, "started_by": "ana"},
        6: {"status": "running", "instead_of": "0199f000-0000-8000-8000-000000000002"},
    }
    for number, columns in runs.items():
        await world.put_run(f"0199f000-0000-8000-8000-00000000010{number}", runbook_id="held", **columns)

    async def found(**query: object) -> list[int]:
        answer = await world.call("acme", "GET", "/executions", params={"runbook": "held", **query})
        assert answer.status_code == 200, answer.text
        return [int(item["id"][-1]) for item in answer.json()["items"]]

    assert await found() == [6, 5, 4, 3, 2, 1]
    assert await found(reason="throttled") == [2]
    assert await found(reason="cancelled") == await found(status="cancelled") == [4, 3]
    assert (
        await found(is_degraded="true") == await found(started_by="ana") == await found(mode="inline") == [5]
    )
    assert await found(is_degraded="false") == [6, 4, 3, 2, 1]
    assert await found(instead_of="0199f000-0000-8000-8000-000000000002") == [6]
    items = (await world.call("acme", "GET", "/executions", params={"runbook": "held"})).json()["items"]
    # cancelled in the queue or when it had begun: told alike
    for number in (3, 4):
        item = items[6 - number]
        assert (item["reason"], item["detail"], item["ended_by"]) == ("cancelled", "false alarm", "ana")
    whole = (await world.call("acme", "GET", f"/executions/{items[4]['id']}")).json()
    assert (whole["reason"], whole["detail"]) == ("throttled", "1 in 300 s")


async def test_a_shadowed_run_shows_what_it_did_and_where_its_durable_double_differs(world: World) -> None:
    run_id = "0199f000-0000-8000-8000-00000000000b"
    difference = {"activity_id": "post", "what": "input", "inline": "A", "shadow": "a"}
    compared = {
        "type": "compared.v1", "execution_id": run_id, "company_id": "acme", "lane": 2, "is_agreed": False,
        "runbook": {"id": "page", "name": "Page", "version": 1, "sha256": "x"}, "at": "2026-03-14T09:26:53Z",
        "steps_compared": 2, "differences": [difference], "expected": ["nap"],
    }  # fmt: skip
    summaries = [{"id": "post", "action": "http_request", "status": "success"}]
    await world.put_run(
        run_id, mode="shadow", status="success", steps=msgspec.json.encode(summaries),
        comparison=msgspec.json.encode(compared),
    )  # fmt: skip
    inline = [{"activity_id": "post", "action": "http_request", "action_class": "notify", "status": "success",
               "input": {"text": "A"}, "output": {"status": 200}}]  # fmt: skip
    double = {"activity_id": "post", "action": "http_request", "attempt": 1, "input": {"text": "a"}}
    await world.put_history(
        run_id,
        ("inline_recorded.v1", {"status": "success", "steps": inline}),
        ("activity_scheduled.v1", double),
    )
    whole = (await world.call("acme", "GET", f"/executions/{run_id}")).json()
    (step,) = whole["steps"]
    assert (step["status"], step["input"], step["output"]) == ("success", {"text": "A"}, {"status": 200})
    assert whole["comparison"] == {
        "is_agreed": False, "steps_compared": 2, "differences_count": 1, "at": "2026-03-14T09:26:53Z",
        "differences": [difference | {"after_wait": False}], "expected": ["nap"],
    }  # fmt: skip
    (item,) = (await world.call("acme", "GET", "/executions", params={"mode": "shadow"})).json()["items"]
    assert item["comparison"] == {"is_agreed": False, "steps_compared": 2, "differences_count": 1}


async def test_while_the_views_are_missing_runs_are_unavailable_not_absent(postgres: str) -> None:
    async with control_plane(postgres, with_views=False) as world:
        answer = await world.call("acme", "GET", "/executions")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "Run records are not available yet."


async def test_before_the_finalizer_says_what_runs_wait_for_they_are_unavailable(world: World) -> None:
    await world.pool.execute("alter table records_read.runs_v1 rename column waits to others")
    try:
        assert (await world.call("acme", "GET", "/executions")).status_code == 503
    finally:
        await world.pool.execute("alter table records_read.runs_v1 rename column others to waits")


async def test_unknown_paths_and_wrong_parameters_are_problems_too(world: World) -> None:
    missing = await world.call("acme", "GET", "/nothing")
    wrong = await world.call("acme", "GET", "/executions", params={"status": "exploded", "limit": "0"})
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert (wrong.status_code, {error["path"] for error in wrong.json()["errors"]}) == (
        422,
        {"status", "limit"},
    )
