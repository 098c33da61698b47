"""Runbooks: save, plan, list, versions, switch, delete."""

from typing import Annotated, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from msgspec import Raw

from outlast.db.pool import transaction
from outlast.http.problems import Fault, Problem, invalid, not_found
from outlast_control_plane import runbooks
from outlast_control_plane.access import NAME_PATTERN, CallerIs, CompanyNamed, Role
from outlast_control_plane.core.change import Change, Current, change_of, difference
from outlast_control_plane.definitions import Checked, check_document, format_of
from outlast_control_plane.idempotency import Answer, IdempotencyKey, json_response, once
from outlast_control_plane.models import (
    Plan,
    PlanDocument,
    PlanRequest,
    RunbookPage,
    RunbookSaved,
    RunbookShown,
    RunbookWhole,
    VersionPage,
    VersionWhole,
)
from outlast_control_plane.pages import LIMIT_DEFAULT, After, Limit, page
from outlast_control_plane.queries import QUERIES, one
from outlast_control_plane.services import Services, ServicesAre

router = APIRouter(tags=["runbooks"])

RunbookName = Annotated[str, Path(alias="name", pattern=NAME_PATTERN)]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="Save only if the runbook still has this ETag."),
]
NOTHING_KNOWN: dict[str, object] = {
    "version": None, "is_active": False, "will_be_active": False, "diff": "", "errors": [],
}  # fmt: skip
DOCUMENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


@router.put(
    "/runbooks/{name}",
    openapi_extra=DOCUMENT_BODY,
    response_model=RunbookSaved,
    responses={201: {"description": "It is new", "model": RunbookSaved}},
)
async def save_runbook(
    request: Request,
    name: RunbookName,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    activate: Annotated[
        bool | None, Query(description="Also switch it on or off; left as it is when absent.")
    ] = None,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Save a runbook's document: a new immutable version, unless it equals the current one."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)
    source = await request.body()
    checked = _checked(services, source, format_of(request.headers.get("content-type", "")))
    if checked.runbook_id != name:
        raise invalid(
            "The document is of another runbook.",
            Fault("name", f"expected a name whose id is {name}, got {checked.name} ({checked.runbook_id})"),
        )

    wanted = checked.active if activate is None else activate

    async def work(connection: asyncpg.Connection) -> Answer:
        saved = await runbooks.save(
            connection, caller, company_id, checked, activate=wanted, if_match=if_match
        )
        is_tripped = runbooks.is_open(services.breakers.breaker(company_id, name))
        return Answer(
            201 if saved.change is Change.CREATE else 200,
            {
                "id": name,
                "company": company_id,
                "version": saved.version,
                "is_active": saved.is_active and not is_tripped,
                "is_switched_on": saved.is_active,
                "change": saved.change.value,
                "etag": f'"{saved.revision}"',
            },
        )

    response = await once(services.pool, request, caller, key, work)
    services.wake_publisher()
    response.headers["ETag"] = msgspec.json.decode(response.body)["etag"]
    return response


@router.post("/runbooks:plan", response_model=Plan)
async def plan_runbooks(
    request: Request,
    wanted: PlanRequest,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """What saving these documents would change; nothing is saved."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)

    async def work(connection: asyncpg.Connection) -> Answer:
        items = [
            await _plan(services, connection, company_id, index, document)
            for index, document in enumerate(wanted.documents)
        ]
        return Answer(200, {"items": items})

    return await once(services.pool, request, caller, key, work)


async def _plan(
    services: Services, connection: asyncpg.Connection, company_id: str, index: int, document: PlanDocument
) -> dict[str, object]:
    source = document.source.encode()
    try:
        checked = _checked(services, source, document.format)
    except Problem as problem:
        if problem.status != 422:
            raise
        errors = [{"path": fault.path, "message": fault.message} for fault in problem.errors]
        return NOTHING_KNOWN | {"id": f"documents[{index}]", "change": "refused", "errors": errors}
    row = await connection.fetchrow(QUERIES["runbook"], company_id, checked.runbook_id)
    current = None if row is None else Current(row["version"], row["sha256"], row["is_deleted"])
    change = change_of(current, checked.sha256)
    item = NOTHING_KNOWN | {"id": checked.runbook_id, "change": change.value}
    item["will_be_active"] = bool(checked.active)
    if row is not None and not row["is_deleted"]:
        will_be_active = row["is_active"] if checked.active is None else checked.active
        item |= {"version": row["version"], "is_active": row["is_active"], "will_be_active": will_be_active}
        if change is Change.UPDATE:
            before = await one(connection, "version", company_id, checked.runbook_id, row["version"])
            item["diff"] = difference(
                before["source"].decode(), source.decode(), f"version {row['version']}", "new"
            )
    return item


@router.get("/runbooks", response_model=RunbookPage)
async def list_runbooks(
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    limit: Limit = LIMIT_DEFAULT,
    after: After = "",
) -> Response:
    """The runbooks of a company in the order of their ids."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)
    async with transaction(services.pool) as connection:
        rows = await connection.fetch(QUERIES["runbooks_page"], company_id, after, limit + 1)

    def show(row: asyncpg.Record) -> object:
        return runbooks.summary(row, services.breakers)

    return json_response(200, msgspec.json.encode(page(rows, limit, "runbook_id", show)))


@router.get("/runbooks/{name}", response_model=RunbookWhole)
async def get_runbook(
    name: RunbookName, caller: CallerIs, services: ServicesAre, company: CompanyNamed = None
) -> Response:
    """A runbook with its current document and the source that it was saved from."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)
    async with transaction(services.pool) as connection:
        row = await connection.fetchrow(QUERIES["runbook"], company_id, name)
        if row is None or row["is_deleted"]:
            raise not_found("runbook")
        version = await one(connection, "version", company_id, name, row["version"])
    body = runbooks.summary(row, services.breakers) | {
        "document": Raw(version["document"]),
        "source": version["source"].decode(),
        "source_format": version["source_format"],
    }
    return json_response(200, msgspec.json.encode(body), ETag=runbooks.etag(row))


@router.get("/runbooks/{name}/versions", response_model=VersionPage)
async def list_versions(
    name: RunbookName,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    limit: Limit = LIMIT_DEFAULT,
    after: Annotated[
        str, Query(pattern=r"^\d{1,9}$", description="`next` of the page before.")
    ] = "999999999",
) -> Response:
    """Every version that was saved, newest first; also of a runbook that was deleted."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)
    async with transaction(services.pool) as connection:
        if await connection.fetchrow(QUERIES["runbook"], company_id, name) is None:
            raise not_found("runbook")
        rows = await connection.fetch(QUERIES["versions_page"], company_id, name, int(after), limit + 1)
    return json_response(200, msgspec.json.encode(page(rows, limit, "version", _version)))


@router.get("/runbooks/{name}/versions/{version}", response_model=VersionWhole)
async def get_version(
    name: RunbookName,
    version: Annotated[int, Path(ge=1, le=2**31 - 1)],
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
) -> Response:
    """One version whole, with the difference from the one before."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)
    async with transaction(services.pool) as connection:
        row = await connection.fetchrow(QUERIES["version"], company_id, name, version)
        if row is None:
            raise not_found("version")
        before = await connection.fetchrow(QUERIES["version"], company_id, name, version - 1)
    source = row["source"].decode()
    earlier = "" if before is None else before["source"].decode()
    body = _version(row) | {
        "document": Raw(row["document"]),
        "source": source,
        "source_format": row["source_format"],
        "diff": difference(earlier, source, f"version {version - 1}", f"version {version}"),
    }
    return json_response(200, msgspec.json.encode(body))


@router.post("/runbooks/{name}:{verb}", response_model=RunbookShown)
async def switch_runbook(
    request: Request,
    name: RunbookName,
    verb: Literal["activate", "deactivate"],
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Switch a runbook on or off. Runs that have started go on."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)

    async def work(connection: asyncpg.Connection) -> Answer:
        row = await runbooks.locked(connection, company_id, name)
        runbooks.check_match(row, if_match)
        await runbooks.switch(connection, caller, row, is_active=verb == "activate")
        row = await one(connection, "runbook", company_id, name)
        return Answer(200, runbooks.summary(row, services.breakers))

    response = await once(services.pool, request, caller, key, work)
    services.wake_publisher()
    return response


@router.delete("/runbooks/{name}", status_code=204)
async def delete_runbook(
    name: RunbookName,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    if_match: IfMatch = None,
) -> Response:
    """Take a runbook out of use. Its versions and its runs stay on record."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)
    async with transaction(services.pool) as connection:
        row = await runbooks.locked(connection, company_id, name)
        runbooks.check_match(row, if_match)
        await runbooks.delete(connection, caller, row)
    services.wake_publisher()
    return Response(status_code=204)


def _checked(services: Services, source: bytes, source_format: str) -> Checked:
    return check_document(source, source_format, services.catalogue.actions())


def _version(row: asyncpg.Record) -> dict[str, object]:
    return {
        "version": row["version"],
        "author": {"id": row["author_id"], "name": row["author_name"]},
        "created_at": row["created_at"],
        "sha256": row["sha256"],
    }
