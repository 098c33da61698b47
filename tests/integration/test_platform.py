"""The platform on a real Postgres: imports, look-ups, runbooks' operations, companies that cannot see each other."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from outlast.contracts.codec import encode
from outlast.contracts.domain_events import DOMAIN_EVENTS, decode_data
from outlast.contracts.messages import Identity
from outlast.messaging.cloudevents import CloudEvent, parse
from outlast.messaging.ports import Received
from outlast_platform import tenancy
from outlast_platform.access import Keyring, Role
from outlast_platform.api import make_api, make_application
from outlast_platform.app import new_id
from outlast_platform.identities import IdentityDirectory
from outlast_platform.services import Services
from outlast_platform.tenancy import Pools, open_pools

SERVICE = {"Authorization": "Bearer service-token-of-the-test"}
COMPANIES = ("acme", "globex")
REPORTS = Path(__file__).parents[2] / "samples" / "reports"


class SteppingClock:
    """Every reading is a second later than the last."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._ticks))

    def monotonic(self) -> float:
        return float(next(self._ticks))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def identity(company: str, role: str, revision: int = 1, **more: Any) -> Identity:
    key = f"olk_{company}_{role}"
    return Identity(
        id=f"{company}-{role}",
        key_sha256=hashlib.sha256(key.encode()).hexdigest(),
        name=f"{role} of {company or 'all'}",
        company_id=company,
        role=role,
        revision=revision,
        **more,
    )


def record(message: Identity) -> Received:
    return Received("identities", 0, 0, 0, message.id.encode(), encode(message))


@pytest.fixture(scope="module")
async def directory() -> IdentityDirectory:
    made = IdentityDirectory()
    made.is_ready = True
    for company in COMPANIES:
        made.apply(record(identity(company, "security_engineer")))
        made.apply(record(identity(company, "soc_analyst")))
        made.apply(record(identity(company, "remediation_owner", scopes=("team:owners",))))
        made.apply(record(identity(company, "service", scopes=("import_findings",))))
    made.apply(record(identity("", "platform_administrator")))
    return made


@pytest.fixture(scope="module")
async def pools(module_postgres: str) -> AsyncIterator[Pools]:
    made = await open_pools(module_postgres)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def api(pools: Pools, directory: IdentityDirectory) -> AsyncIterator[httpx.AsyncClient]:
    services = Services(
        pools=pools,
        keyring=Keyring(directory, "service-token-of-the-test"),
        clock=SteppingClock(),
        new_id=new_id,
        wake_publisher=lambda: None,
        reading_reports=asyncio.Semaphore(1),
    )
    transport = httpx.ASGITransport(make_application(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
        for company in COMPANIES:
            answer = await client.put(f"/api/v1/companies/{company}", json={"name": company}, headers=SERVICE)
            assert answer.status_code == 201
        yield client


def sarif(*findings: tuple[str, str, str], tool: str = "scanner") -> bytes:
    """A report of (rule, level, code) findings."""
    results = [
        {
            "ruleId": rule,
            "level": level,
            "message": {"text": f"{rule} in {code}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": "src/a.py"},
                        "region": {"startLine": 7, "snippet": {"text": code}},
                    }
                }
            ],
        }
        for rule, level, code in findings
    ]
    run = {"tool": {"driver": {"name": tool}}, "results": results}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


async def load(
    api: httpx.AsyncClient, report: bytes, target: str, company: str = "acme", status: int = 200
) -> dict[str, Any]:
    answer = await api.post(
        "/api/v1/imports",
        content=report,
        params={"target": target},
        headers=bearer(f"olk_{company}_security_engineer"),
    )
    assert answer.status_code == status, answer.text
    return answer.json()


async def findings_of(api: httpx.AsyncClient, asset: str, company: str = "acme") -> list[dict[str, Any]]:
    answer = await api.get(
        "/api/v1/findings", params={"asset": asset}, headers=bearer(f"olk_{company}_soc_analyst")
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def events_since(pools: Pools, row_id: int) -> list[CloudEvent]:
    """Every event is read as the matcher reads it."""
    rows = await pools.service.fetch("select * from outbox where id > $1 order by id", row_id)
    events: list[CloudEvent] = []
    for row in rows:
        headers = msgspec.json.decode(row["headers"], type=tuple[tuple[str, bytes], ...])
        event = parse(Received(row["topic"], 0, 0, 0, row["key"], row["value"], headers))
        decode_data(event.type, event.data)
        assert row["key"].decode() == event.subject
        assert row["topic"] == "platform.core.events"
        events.append(event)
    return events


async def last_row(pools: Pools) -> int:
    return await pools.service.fetchval("select coalesce(max(id), 0) from outbox")


def kinds(events: list[CloudEvent]) -> list[str]:
    return [event.type for event in events]


async def act(api: httpx.AsyncClient, *operations: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await api.post(
        "/internal/findings/actions", json={"operations": list(operations)}, headers=SERVICE
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def operation(
    finding: str, key: str, action: str, arguments: dict[str, Any], company: str = "acme"
) -> dict[str, Any]:
    return {
        "company_id": company,
        "finding_id": finding,
        "idempotency_key": key,
        "action": action,
        "arguments": arguments,
        "actor": {"runbook_id": "escalate", "runbook_name": "Escalate", "execution_id": EXECUTION},
        "chain": [EARLIER],
    }


EXECUTION = "01900000-0000-8001-8000-000000000001"
EARLIER = "01900000-0000-8001-8000-000000000000"


async def test_an_import_makes_findings_their_asset_and_an_event_for_each(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    before = await last_row(pools)
    answer = await load(api, sarif(("A", "error", "x = 1"), ("B", "note", "y = 2")), "import-one")
    assert answer["tool"] == "scanner"
    assert answer["findings"] == {"critical": 0, "high": 1, "medium": 0, "low": 1, "info": 0, "total": 2}
    assert (answer["created"], answer["updated"], answer["closed"]) == (2, 0, 0)
    found = await findings_of(api, answer["asset_ids"][0])
    assert {(each["rule_id"], each["severity"], each["status"]) for each in found} == {
        ("A", "high", "open"),
        ("B", "low", "open"),
    }
    events = await events_since(pools, before)
    assert kinds(events) == ["asset_created", "finding_created", "finding_created", "scan_finished"]
    assert {event.company_id for event in events} == {"acme"}
    counts = json.loads(bytes(events[-1].data))["severity_counts"]
    assert counts == {"critical": 0, "high": 1, "medium": 0, "low": 1, "info": 0}


async def test_the_same_report_again_changes_nothing_and_says_so(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    report = sarif(("A", "error", "x = 1"), ("A", "error", "z = 3"))
    await load(api, report, "again")
    before = await last_row(pools)
    answer = await load(api, report, "again")
    assert (answer["created"], answer["updated"], answer["closed"]) == (0, 0, 0)
    assert kinds(await events_since(pools, before)) == ["scan_finished"]


async def test_what_is_not_reported_any_more_is_closed_and_opened_when_it_comes_back(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    both, one = sarif(("A", "error", "x"), ("B", "error", "y")), sarif(("A", "error", "x"))
    asset = (await load(api, both, "reopen"))["asset_ids"][0]
    await load(api, sarif(("Z", "error", "z"), tool="another tool"), "reopen")
    before = await last_row(pools)
    assert (await load(api, one, "reopen"))["closed"] == 1
    assert (await load(api, both, "reopen"))["updated"] == 1
    changes = [
        (json.loads(bytes(event.data))["old_status"], json.loads(bytes(event.data))["new_status"])
        for event in await events_since(pools, before)
        if event.type == "finding_status_changed"
    ]
    assert changes == [("open", "closed"), ("closed", "open")]
    assert {each["status"] for each in await findings_of(api, asset)} == {"open"}
    (reopened,) = (each for each in await findings_of(api, asset) if each["rule_id"] == "B")
    history = await api.get(
        f"/api/v1/findings/{reopened['id']}/history", headers=bearer("olk_acme_soc_analyst")
    )
    assert [line["new_value"] for line in history.json()["items"]] == ["high", "closed", "open"]


async def test_a_decision_about_a_finding_outlives_the_next_scan(api: httpx.AsyncClient) -> None:
    report = sarif(("A", "error", "x"))
    asset = (await load(api, report, "decided"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    edit = await api.patch(
        f"/api/v1/findings/{finding['id']}",
        json={"severity": "critical", "status": "accepted", "comment": "we know"},
        headers=bearer("olk_acme_soc_analyst"),
    )
    assert edit.status_code == 200, edit.text
    await load(api, report, "decided")
    (after,) = await findings_of(api, asset)
    assert (after["severity"], after["status"]) == ("critical", "accepted")


@pytest.mark.parametrize(
    ("report", "path"),
    [
        (b'{"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}', "runs[0].tool.driver"),
        (b'{"version": "2.1.0", "runs": 7}', "runs"),
        (sarif(("A", "dreadful", "x")), "runs[0].results[0].level"),
        (sarif(("A", "error", "x\x00y")), "runs[0].results[0]"),
        (b'{"SchemaVersion": 2, "Results": [{"Target": "t", "Secrets": [{}]}]}', "Results[0].Secrets[0]"),
        (b'{"SchemaVersion": 1, "ArtifactName": "x"}', "SchemaVersion"),
        (b'{"version": "2.1.0", "runs": ["\\ud800"]}', ""),
        (b'{"runs":' + b"[" * 200_000, ""),
        (b"not json", ""),
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"{}", ""),
    ],
)
async def test_a_bad_report_is_refused_with_the_path_of_the_fault_and_nothing_is_imported(
    api: httpx.AsyncClient, pools: Pools, report: bytes, path: str
) -> None:
    before = await last_row(pools)
    problem = await load(api, report, "bad", status=422)
    assert problem["code"] == "invalid_report"
    assert problem["errors"][0]["path"].startswith(path)
    assert await last_row(pools) == before
    assert await pools.service.fetchval("select count(*) from assets where name = 'bad'") == 0


@pytest.mark.parametrize("name", ["bandit.sarif", "flawfinder.sarif", "trivy.json"])
async def test_reports_of_real_scanners_are_taken_in(api: httpx.AsyncClient, name: str) -> None:
    report = (REPORTS / name).read_bytes()
    answer = await load(api, report, f"real {name}")
    assert answer["created"] == answer["findings"]["total"] > 3
    for finding in await findings_of(api, answer["asset_ids"][0]):
        assert finding["title"]
        assert finding["location"]["path"]
    assert (await load(api, report, f"real {name}"))["created"] == 0


async def test_a_look_up_answers_in_order_with_the_owning_team(api: httpx.AsyncClient) -> None:
    asset = (await load(api, sarif(("A", "error", "x"), ("B", "note", "y")), "looked-up"))["asset_ids"][0]
    engineer = bearer("olk_acme_security_engineer")
    team = await api.put("/api/v1/teams/web", json={"name": "Web", "members": ["eve"]}, headers=engineer)
    assert team.status_code == 200, team.text
    wanted = {"name": "looked-up", "class": "web", "owning_team_id": "web", "attributes": {"zone": "dmz"}}
    put = await api.put(f"/api/v1/assets/{asset}", json=wanted, headers=engineer)
    assert put.status_code == 200, put.text
    first, second = await findings_of(api, asset)
    body = {
        "requests": [
            {"company_id": "acme", "finding_id": second["id"]},
            {"company_id": "globex", "finding_id": second["id"]},
            {"company_id": "acme", "asset_id": asset},
            {"company_id": "acme", "finding_id": first["id"], "asset_id": "no such asset"},
            {"company_id": "acme"},
            {"company_id": "acme", "finding_id": "a\x00", "asset_id": "b\x00"},
        ]
    }
    answer = await api.post("/lookup", json=body, headers=SERVICE)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert results[0]["finding"]["id"] == second["id"]
    assert results[0]["finding"]["location"] == {"path": "src/a.py", "line": 7}
    assert results[0]["asset"]["owning_team"] == {"id": "web", "name": "Web"}
    assert results[0]["asset"]["attributes"] == {"zone": "dmz"}
    assert results[1] == {"finding": None, "asset": None}
    assert results[2] == {"finding": None, "asset": results[0]["asset"]}
    assert (results[3]["finding"]["id"], results[3]["asset"]) == (first["id"], None)
    assert results[4] == results[5] == {"finding": None, "asset": None}


async def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.request("DELETE", "/api/v1/assets/a", headers=SERVICE)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PUT")


async def test_a_look_up_is_bounded_and_needs_the_service_token(api: httpx.AsyncClient) -> None:
    many = {"requests": [{"company_id": "acme"}] * 1001}
    assert (await api.post("/lookup", json=many, headers=SERVICE)).status_code == 413
    assert (await api.post("/lookup", json={"requests": [{}]}, headers=SERVICE)).status_code == 422
    assert (await api.post("/lookup", json={"requests": []})).status_code == 401
    for key in ("olk_acme_security_engineer", "olk__platform_administrator", ""):
        assert (await api.post("/lookup", json={"requests": []}, headers=bearer(key))).status_code == 401


async def test_an_operation_is_applied_once_for_its_key_and_repeated_with_its_first_answer(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    asset = (await load(api, sarif(("A", "note", "x")), "operated"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    before = await last_row(pools)
    severity = operation(finding["id"], "k1", "change_severity", {"severity": "critical"})
    tags = operation(finding["id"], "k2", "add_tags", {"tags": ["kev", "kev", "urgent"]})
    comment = operation(finding["id"], "k3", "append_comment", {"comment": "seen by the runbook"})
    first = await act(api, severity, tags, comment, tags)
    assert [each["status"] for each in first] == ["applied", "applied", "applied", "repeated"]
    assert first[1]["finding"]["tags"] == ["kev", "urgent"]
    again = await act(
        api, severity, operation(finding["id"], "k4", "change_severity", {"severity": "low"}), severity
    )
    assert [each["status"] for each in again] == ["repeated", "applied", "repeated"]
    assert again[2]["finding"]["severity"] == "critical"
    (after,) = await findings_of(api, asset)
    assert (after["severity"], after["tags"]) == ("low", ["kev", "urgent"])
    events = await events_since(pools, before)
    assert kinds(events) == ["finding_updated", "finding_updated", "finding_note_added", "finding_updated"]
    assert {event.chain for event in events} == {(EARLIER, EXECUTION)}
    history = await api.get(
        f"/api/v1/findings/{finding['id']}/history", headers=bearer("olk_acme_soc_analyst")
    )
    lines = history.json()["items"]
    assert [line["change"] for line in lines] == ["created", "severity", "tags", "comment", "severity"]
    assert {(line["actor_kind"], line["actor_name"], line["execution_id"]) for line in lines[1:]} == {
        ("runbook", "Escalate", EXECUTION)
    }


async def test_a_status_and_an_assignment_are_applied_once_and_told_with_the_chain_that_led_to_them(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    asset = (await load(api, sarif(("A", "note", "x")), "assigned"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    before = await last_row(pools)
    people = operation(finding["id"], "a1", "assign", {"user_ids": ["eve"], "team_ids": ["web"]})
    begun = operation(finding["id"], "a2", "change_status", {"status": "in_progress", "comment": "on it"})
    first = await act(api, people, begun, people)
    assert [each["status"] for each in first] == ["applied", "applied", "repeated"]
    assert (first[0]["finding"]["status"], first[0]["finding"]["assignees"]) == ("assigned", ["eve"])
    assert await act(api, people) == [first[2]]
    (known,) = await act(api, operation(finding["id"], "a3", "assign", {"user_ids": ["eve"]}))
    assert (known["status"], known["finding"]["is_changed"]) == ("applied", False)
    (after,) = await findings_of(api, asset)
    assert (after["status"], after["assignees"], after["teams"]) == ("in_progress", ["eve"], ["web"])
    events = await events_since(pools, before)
    assert kinds(events) == ["finding_assigned", "finding_status_changed", "finding_status_changed"]
    assert {event.chain for event in events} == {(EARLIER, EXECUTION)}
    assert json.loads(bytes(events[0].data))["assignee_ids"] == ["eve"]
    history = await api.get(
        f"/api/v1/findings/{finding['id']}/history", headers=bearer("olk_acme_soc_analyst")
    )
    assert [(line["change"], line["new_value"], line["comment"]) for line in history.json()["items"][1:]] == [
        ("assigned", "eve, web", ""),
        ("status", "assigned", ""),
        ("status", "in_progress", "on it"),
    ]


async def test_concurrent_repetitions_of_an_operation_apply_it_once(api: httpx.AsyncClient) -> None:
    asset = (await load(api, sarif(("A", "note", "x")), "concurrent"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    comment = operation(finding["id"], "once", "append_comment", {"comment": "only once"})
    answers = await asyncio.gather(*(act(api, comment) for _ in range(8)))
    assert sorted(answer[0]["status"] for answer in answers) == ["applied"] + ["repeated"] * 7
    history = await api.get(
        f"/api/v1/findings/{finding['id']}/history", headers=bearer("olk_acme_soc_analyst")
    )
    assert [line["change"] for line in history.json()["items"]] == ["created", "comment"]


async def test_what_is_refused_or_not_found_leaves_its_key_free(api: httpx.AsyncClient) -> None:
    asset = (await load(api, sarif(("A", "note", "x")), "refused"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    wrong = operation(finding["id"], "r1", "change_severity", {"severity": "dreadful"})
    foreign = operation(finding["id"], "r2", "add_tags", {"tags": ["a"]}, company="globex")
    absent = operation("no such finding", "r3", "add_tags", {"tags": ["a"]})
    unknown = operation(finding["id"], "r4", "delete_everything", {})
    shape = operation(finding["id"], "r5", "add_tags", {"tags": [1]})
    nameless = operation("", "r6", "add_tags", {"tags": ["a"]})
    nul = operation(finding["id"], "r\x007", "add_tags", {"tags": ["a"]})
    answers = await act(api, wrong, foreign, absent, unknown, shape, nameless, nul)
    assert [each["status"] for each in answers] == ["refused", *["not_found"] * 2, *["refused"] * 4]
    assert "arguments.tags[0]" in answers[4]["message"]
    right = operation(finding["id"], "r1", "change_severity", {"severity": "high"})
    assert (await act(api, right))[0]["status"] == "applied"
    other = operation(finding["id"], "r1", "add_tags", {"tags": ["a"]})
    assert (await act(api, other))[0]["status"] == "refused"


async def test_an_edit_is_history_and_an_event_and_a_faulty_one_is_refused_with_its_path(
    api: httpx.AsyncClient, pools: Pools
) -> None:
    asset = (await load(api, sarif(("A", "note", "x")), "edited"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    url, analyst = f"/api/v1/findings/{finding['id']}", bearer("olk_acme_soc_analyst")
    before = await last_row(pools)
    answer = await api.patch(
        url, json={"assign": {"user_ids": ["eve"], "team_ids": ["web"]}}, headers=analyst
    )
    assert (answer.json()["status"], answer.json()["assignees"]) == ("assigned", ["eve"])
    assert kinds(await events_since(pools, before)) == ["finding_assigned", "finding_status_changed"]
    for body, path in (
        ({"severity": "bad"}, "severity"),
        ({"staus": "open"}, "staus"),
        ({"tags": [""]}, "tags.0"),
    ):
        answer = await api.patch(url, json=body, headers=analyst)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["path"] == path


async def test_a_list_is_read_in_pages_without_gaps(api: httpx.AsyncClient) -> None:
    report = sarif(*((f"R{number}", "note", f"x{number}") for number in range(25)))
    asset = (await load(api, report, "paged"))["asset_ids"][0]
    seen: list[str] = []
    after = ""
    while after is not None:
        answer = await api.get(
            "/api/v1/findings",
            params={"asset": asset, "limit": 10, "after": after},
            headers=bearer("olk_acme_soc_analyst"),
        )
        seen += [each["id"] for each in answer.json()["items"]]
        after = answer.json()["next"]
    assert len(seen) == len(set(seen)) == 25
    assert seen == sorted(seen)


async def test_a_remediation_owner_sees_what_belongs_to_their_teams(api: httpx.AsyncClient) -> None:
    engineer, owner = bearer("olk_acme_security_engineer"), bearer("olk_acme_remediation_owner")
    asset = (await load(api, sarif(("A", "note", "x")), "owned"))["asset_ids"][0]
    (finding,) = await findings_of(api, asset)
    url = f"/api/v1/findings/{finding['id']}"
    assert (await api.get(url, headers=owner)).status_code == 404
    await api.put("/api/v1/teams/owners", json={"name": "Owners"}, headers=engineer)
    await api.put(
        f"/api/v1/assets/{asset}", json={"name": "owned", "owning_team_id": "owners"}, headers=engineer
    )
    assert (await api.get(url, headers=owner)).status_code == 200
    assert (await load_as(api, "olk_acme_remediation_owner")) == 403
    assert (await load_as(api, "olk_acme_service")) == 200


async def load_as(api: httpx.AsyncClient, key: str) -> int:
    answer = await api.post("/api/v1/imports", content=sarif(), headers=bearer(key), params={"target": "as"})
    return answer.status_code


async def test_a_revoked_key_is_401_and_an_older_record_does_not_bring_it_back(
    api: httpx.AsyncClient, directory: IdentityDirectory
) -> None:
    key = "olk_acme_temporary"
    digest = hashlib.sha256(key.encode()).hexdigest()
    made = Identity(id="t", key_sha256=digest, name="t", company_id="acme", role="soc_analyst", revision=5)
    directory.apply(record(made))
    assert (await api.get("/api/v1/findings", headers=bearer(key))).status_code == 200
    directory.apply(record(msgspec.structs.replace(made, is_revoked=True, revision=6)))
    directory.apply(record(made))
    answer = await api.get("/api/v1/findings", headers=bearer(key))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_before_identities_are_read_an_unknown_key_is_told_to_try_again(
    api: httpx.AsyncClient, directory: IdentityDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "is_ready", False)
    answer = await api.get("/api/v1/findings", headers=bearer("olk_unknown"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


# ---- one company does not exist for another ------------------------------------------------------------------

BODIES: dict[tuple[str, str], Any] = {
    ("put", "/api/v1/companies/{company_id}"): {"name": "taken over"},
    ("put", "/api/v1/teams/{team_id}"): {"name": "Intruders", "members": ["mallory"]},
    ("put", "/api/v1/assets/{asset_id}"): {"name": "taken over"},
    ("patch", "/api/v1/findings/{finding_id}"): {"severity": "info", "status": "closed", "comment": "gone"},
    ("post", "/api/v1/imports"): {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "scanner"}}}]},
}
OPERATIONS = [(method, path) for path, item in make_api(None).openapi()["paths"].items() for method in item]
IN_OWN_COMPANY_ONLY = {
    ("put", "/api/v1/teams/{team_id}"),
    ("put", "/api/v1/assets/{asset_id}"),
}
"""An id is the company's own: writing to another's id makes one's own thing of that name."""


@pytest.fixture(scope="module")
async def theirs(api: httpx.AsyncClient) -> dict[str, str]:
    """Ids of globex, of every kind that stands in a path."""
    asset = (await load(api, sarif(("A", "error", "x")), "secret plans", "globex"))["asset_ids"][0]
    engineer = bearer("olk_globex_security_engineer")
    assert (
        await api.put("/api/v1/teams/globex-team", json={"name": "G"}, headers=engineer)
    ).status_code == 200
    (finding,) = await findings_of(api, asset, "globex")
    return {"company_id": "globex", "team_id": "globex-team", "asset_id": asset, "finding_id": finding["id"]}


async def snapshot(pools: Pools, company: str) -> list[Any]:
    tables = (
        "companies",
        "teams",
        "team_members",
        "assets",
        "findings",
        "finding_history",
        "imports",
        "audit",
    )
    column = {"companies": "id"}
    return [
        await pools.service.fetch(
            f"select * from {table} where {column.get(table, 'company_id')} = $1", company
        )
        for table in tables
    ]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_an_endpoint_shows_and_changes_nothing_of_another_company(
    api: httpx.AsyncClient, pools: Pools, theirs: dict[str, str], method: str, path: str
) -> None:
    assert method == "get" or (method, path) in BODIES, f"write a row for {method} {path}"
    body = BODIES.get((method, path))
    mine = bearer("olk_acme_security_engineer")
    before = await snapshot(pools, "globex")

    async def ask(ids: dict[str, str], **parameters: str) -> httpx.Response:
        return await api.request(method, path.format(**ids), json=body, params=parameters, headers=mine)

    nobody = {"company_id": "nobody", "team_id": "nothing", "asset_id": "nothing", "finding_id": "nothing"}
    if "{" in path and (method, path) not in IN_OWN_COMPANY_ONLY:
        foreign, absent = await ask(theirs), await ask(nobody)
        assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)
        assert foreign.status_code == 404
    named = await ask(theirs if "{" in path else {}, company="globex")
    if path != "/api/v1/companies":
        absent = await ask(theirs if "{" in path else {}, company="nobody")
        assert (named.status_code, named.content) == (absent.status_code, absent.content)
        assert named.status_code == 404
    for answer in (await ask(theirs), named):
        assert "globex" not in answer.text.replace(theirs["team_id"], "")
        assert "secret plans" not in answer.text
    assert await snapshot(pools, "globex") == before
    if (
        method,
        path,
    ) in IN_OWN_COMPANY_ONLY:  # what this made in our own company would be found by the next test
        table, ids = ("teams", "team_id") if "teams" in path else ("assets", "asset_id")
        await pools.service.execute(f"delete from {table} where company_id = 'acme' and id = $1", theirs[ids])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_an_endpoint_answers_nobody_without_a_key(
    api: httpx.AsyncClient, theirs: dict[str, str], method: str, path: str
) -> None:
    for headers in ({}, bearer("olk_wrong"), {"Authorization": "Basic abc"}):
        answer = await api.request(
            method, path.format(**theirs), json=BODIES.get((method, path)), headers=headers
        )
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_database_itself_hides_other_companies(pools: Pools, theirs: dict[str, str]) -> None:
    for table in ("assets", "findings", "teams", "companies", "imports", "audit", "finding_history"):
        async with pools.of_company("acme") as connection:
            companies = "id" if table == "companies" else "company_id"
            seen = await connection.fetch(f"select distinct {companies} as company from {table}")
            assert {row["company"] for row in seen} <= {"acme"}
        async with pools.tenants.acquire() as connection:
            assert await connection.fetchval(f"select count(*) from {table}") == 0, (
                "no company named, none seen"
            )
    async with pools.of_company("acme") as connection:
        changed = await connection.execute(
            "update findings set title = 'x' where id = $1", theirs["finding_id"]
        )
        assert changed == "UPDATE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "insert into users (company_id, id, name) values ('globex', 'm', 'Mallory')"
            )


async def test_a_session_forgets_its_company_with_its_transaction(pools: Pools) -> None:
    async with pools.of_company("acme") as connection:
        assert await connection.fetchval("select current_setting('outlast.company', true)") == "acme"
    async with pools.tenants.acquire() as connection:
        assert not await connection.fetchval("select current_setting('outlast.company', true)")


async def test_a_role_that_bypasses_row_security_is_exchanged_for_one_that_does_not(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await open_pools(postgres)
    await first.close()
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute(
            "do $$ begin create role outlast_platform_tenant nologin; exception when duplicate_object then null; end $$"
        )
        await connection.execute("grant outlast_platform_tenant to current_user")
        assert await connection.fetchval(tenancy.BYPASSES_ROW_SECURITY) is False
    finally:
        await connection.close()
    monkeypatch.setattr(tenancy, "BYPASSES_ROW_SECURITY", "select true")
    pools = await open_pools(postgres)
    try:
        assert await pools.tenants.fetchval("select current_user") == "outlast_platform_tenant"
        async with pools.of_all() as session:
            await session.execute("insert into companies (id, name, created_at) values ('acme', 'a', now())")
        async with pools.of_company("globex") as session:
            assert await session.fetchval("select count(*) from companies") == 0
    finally:
        await pools.close()


def test_roles_are_those_of_the_contract() -> None:
    assert {role.name.lower() for role in Role} == {
        "remediation_owner",
        "soc_analyst",
        "security_engineer",
        "platform_administrator",
        "service",
    }


def test_every_event_that_the_platform_sends_is_one_of_the_fifteen() -> None:
    assert len(DOMAIN_EVENTS) == 15
