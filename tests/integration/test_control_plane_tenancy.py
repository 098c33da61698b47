"""Another company's object answers exactly like one that does not exist, on every endpoint there is.

The endpoints are those of the OpenAPI document: one without a row here fails.
"""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.integration.control_plane_world import World, control_plane

RUN = "0199f000-0000-8000-8000-000000000001"
YAML = {"Content-Type": "application/yaml"}
SOURCE = "name: {name}\nrules: []\nactions: [{{type: http_request, config: {{url: 'http://x'}}}}]\n"


@dataclass(frozen=True)
class Row:
    """How globex reaches for what acme has, and the same for what nobody has.

    `kind`: "object" answers 404 both times; "list" shows nothing of acme's; "company" is asked with ?company=;
    "administrator" is refused to every company alike; "shared" has nothing of a company in it.
    """

    kind: str
    theirs: str = ""
    nobodys: str = ""
    request: dict[str, Any] = field(default_factory=dict)


EVENT = {
    "specversion": "1.0", "id": "x", "source": "s", "type": "finding_created", "companyid": "acme",
    "data": {"finding_id": "f"},
}  # fmt: skip
BECAUSE = {"json": {"reason": "a drill"}}
IDENTITY = {"name": "intruder", "role": "soc_analyst"}
NEW = {"content": SOURCE.format(name="page").encode(), "headers": YAML}

ROWS: dict[tuple[str, str], Row] = {
    ("put", "/runbooks/{name}"): Row("company", "/runbooks/page", request=NEW),
    ("get", "/runbooks/{name}"): Row("object", "/runbooks/page", "/runbooks/nothing"),
    ("delete", "/runbooks/{name}"): Row("object", "/runbooks/page", "/runbooks/nothing"),
    ("post", "/runbooks:plan"): Row(
        "company", "/runbooks:plan", request={"json": {"documents": [{"source": "{}"}]}}
    ),
    ("get", "/runbooks"): Row("list", "/runbooks"),
    ("get", "/runbooks/{name}/versions"): Row(
        "object", "/runbooks/page/versions", "/runbooks/nothing/versions"
    ),
    ("get", "/runbooks/{name}/versions/{version}"): Row(
        "object", "/runbooks/page/versions/1", "/runbooks/nothing/versions/1"
    ),
    ("post", "/runbooks/{name}:{verb}"): Row(
        "object", "/runbooks/page:activate", "/runbooks/nothing:activate"
    ),
    ("post", "/runbooks/{name}/trigger"): Row(
        "object", "/runbooks/page/trigger", "/runbooks/nothing/trigger", request={"json": {}}
    ),
    ("post", "/runbooks/{name}/breaker/reset"): Row(
        "object", "/runbooks/page/breaker/reset", "/runbooks/nothing/breaker/reset", request=BECAUSE
    ),
    ("post", "/runbooks/{name}/suppressed/run"): Row(
        "object", "/runbooks/page/suppressed/run", "/runbooks/nothing/suppressed/run", request=BECAUSE
    ),
    ("post", "/executions/{id}/cancel"): Row(
        "object", f"/executions/{RUN}/cancel", f"/executions/{uuid.UUID(int=7)}/cancel", request=BECAUSE
    ),
    ("post", "/events"): Row("speaker", "/events", request={"json": EVENT}),
    ("get", "/executions"): Row("list", "/executions"),
    ("get", "/executions/{id}"): Row("object", f"/executions/{RUN}", f"/executions/{uuid.UUID(int=7)}"),
    ("get", "/executions/{id}/history"): Row(
        "object", f"/executions/{RUN}/history", f"/executions/{uuid.UUID(int=7)}/history"
    ),
    ("post", "/identities"): Row("company", "/identities", request={"json": IDENTITY}),
    ("get", "/identities"): Row("list", "/identities"),
    ("delete", "/identities/{id}"): Row("object", "/identities/{acme_identity}", "/identities/id_nobody"),
    ("put", "/companies/{id}"): Row("administrator", "/companies/acme", request={"json": {"name": "Taken"}}),
    ("put", "/producers/{name}"): Row(
        "administrator", "/producers/p", request={"json": {"companies": ["acme"]}}
    ),
    ("get", "/producers"): Row("administrator", "/producers"),
    ("delete", "/producers/{name}"): Row("administrator", "/producers/p"),
    ("get", "/actions"): Row("shared", "/actions"),
    ("get", "/engine"): Row("shared", "/engine"),
}


@pytest.fixture(scope="module")
async def world(module_postgres: str) -> AsyncIterator[World]:
    async with control_plane(module_postgres) as made:
        saved = await made.save("acme", SOURCE.format(name="page"), "page")
        assert saved.status_code == 201, saved.text
        await made.pool.execute(
            "insert into records_read.runs_v1 values ($1, 'acme', 'page', 'page', 1, 'x', 'workflow', 'success', 's',"
            " 'e', 'finding_created', now(), now(), now(), 0, '{}', '[]', null)", RUN,
        )  # fmt: skip
        await made.pool.execute(
            "insert into engine_read.history_v1 values ($1, 1, 'workflow_started.v1', now(), '{}')", RUN
        )
        yield made


def endpoints(world: World) -> set[tuple[str, str]]:
    """Every endpoint of the OpenAPI document."""
    paths = world.api.openapi()["paths"]
    return {(method, path.removeprefix("/api/v1")) for path, methods in paths.items() for method in methods}


async def test_every_endpoint_has_a_row(world: World) -> None:
    assert endpoints(world) == set(ROWS)


@pytest.mark.parametrize(("method", "path"), [name for name, row in ROWS.items() if row.kind == "object"])
async def test_an_object_of_another_company_answers_like_none(world: World, method: str, path: str) -> None:
    row = ROWS[method, path]
    acme = (await world.call("acme", "GET", "/identities")).json()["items"][0]["id"]
    theirs = await world.call("globex", method.upper(), row.theirs.format(acme_identity=acme), **row.request)
    nobodys = await world.call("globex", method.upper(), row.nobodys, **row.request)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content
    assert theirs.headers.keys() == nobodys.headers.keys()
    # it is there: its owner, and an administrator, get something else (reading only, so that rows stay independent)
    if method == "get":
        assert (await world.call("acme", "GET", row.theirs)).status_code == 200


@pytest.mark.parametrize(("method", "path"), sorted(ROWS))
async def test_naming_another_company_answers_like_naming_none_that_exists(
    world: World, method: str, path: str
) -> None:
    row = ROWS[method, path]
    if row.kind in {"administrator", "shared", "speaker"}:
        return  # takes no company: the rows below
    acme = (await world.call("acme", "GET", "/identities")).json()["items"][0]["id"]
    target = row.theirs.format(acme_identity=acme)
    theirs = await world.call("globex", method.upper(), target, params={"company": "acme"}, **row.request)
    nobodys = await world.call("globex", method.upper(), target, params={"company": "nobody"}, **row.request)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content


@pytest.mark.parametrize(("method", "path"), [name for name, row in ROWS.items() if row.kind == "list"])
async def test_a_list_shows_nothing_of_another_company(world: World, method: str, path: str) -> None:
    theirs = {item["id"] for item in (await world.call("acme", "GET", path)).json()["items"]}
    seen = {item["id"] for item in (await world.call("globex", "GET", path)).json()["items"]}
    assert theirs
    assert not theirs & seen


@pytest.mark.parametrize(
    ("method", "path"), [name for name, row in ROWS.items() if row.kind == "administrator"]
)
async def test_what_is_an_administrators_is_refused_to_companies(
    world: World, method: str, path: str
) -> None:
    row = ROWS[method, path]
    assert (await world.call("globex", method.upper(), row.theirs, **row.request)).status_code == 403


async def test_an_event_for_another_company_is_refused_as_one_for_none_that_exists(world: World) -> None:
    headers = {"Content-Type": "application/cloudevents+json"}
    theirs = await world.call("globex", "POST", "/events", EVENT, headers=headers)
    nobodys = await world.call("globex", "POST", "/events", EVENT | {"companyid": "nobody"}, headers=headers)
    assert theirs.status_code == nobodys.status_code == 403
    assert theirs.content == nobodys.content


@pytest.mark.parametrize(("method", "path"), sorted(ROWS))
async def test_nothing_is_answered_without_a_valid_key(world: World, method: str, path: str) -> None:
    row = ROWS[method, path]
    for key in (None, "olk_guessed"):
        answer = await world.call(key, method.upper(), row.theirs or path, **row.request)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
