"""Findings: listed, read, edited, and what happened to them."""

from typing import Annotated

import asyncpg
import msgspec
from fastapi import APIRouter, Path, Query, Request

from outlast.errors import ContractError
from outlast.http.problems import Fault, invalid, not_found
from outlast_platform.access import READ_FINDINGS, WRITE_FINDINGS, Caller, CallerIs, CompanyNamed, Role
from outlast_platform.core.findings import (
    Change,
    Finding,
    add_tags,
    append_comment,
    assign,
    change_severity,
    change_status,
    set_tags,
)
from outlast_platform.limits import PAGE_DEFAULT
from outlast_platform.models import (
    ID_PATTERN,
    WITHOUT_NUL,
    FindingEdit,
    FindingPage,
    FindingShown,
    HistoryPage,
    Severity,
    Status,
)
from outlast_platform.pages import After, Limit, page
from outlast_platform.services import services_of, write_of
from outlast_platform.store import QUERIES, AuthoredChange, lock_findings, write_changes

router = APIRouter(tags=["findings"])
FindingId = Annotated[str, Path(pattern=ID_PATTERN)]
Text = Annotated[str | None, Query(max_length=200, pattern=WITHOUT_NUL)]
_PLAIN = (
    *("id", "asset_id", "title", "description", "severity", "status", "tags", "assignees", "teams", "tool"),
    *("rule_id", "fingerprint", "sla_deadline", "first_seen", "last_seen", "updated_at", "version"),
)


@router.get("/findings", response_model=FindingPage)
async def list_findings(
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    limit: Limit = PAGE_DEFAULT,
    after: After = "",
    status: Status | None = None,
    severity: Severity | None = None,
    tool: Text = None,
    tag: Text = None,
    asset: Text = None,
    text: Text = None,
) -> dict[str, object]:
    """The company's findings; a remediation owner sees those of their teams. `text` is searched in titles."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    narrowed = (status, severity, tool, tag, asset, text, caller.teams())
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(QUERIES["findings_page"], company_id, after, limit + 1, None, *narrowed)
    return page(rows, limit, _shown)


@router.get("/findings/{finding_id}", response_model=FindingShown)
async def get_finding(
    finding_id: FindingId, request: Request, caller: CallerIs, company: CompanyNamed = None
) -> dict[str, object]:
    """One finding."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        return await _visible(connection, caller, company_id, finding_id)


@router.patch("/findings/{finding_id}", response_model=FindingShown)
async def edit_finding(
    finding_id: FindingId,
    edit: FindingEdit,
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
) -> dict[str, object]:
    """Change a finding; every change stands in its history and is told as an event."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=WRITE_FINDINGS)
    services = services_of(request)
    async with services.pools.of_company(company_id) as connection:
        await _visible(connection, caller, company_id, finding_id)
        found = await lock_findings(connection, [(company_id, finding_id)])
        try:
            change = _edited(found[company_id, finding_id], edit, caller.name)
        except ContractError as fault:
            raise invalid("The finding cannot be changed so.", Fault(fault.path, fault.message)) from fault
        await write_changes(connection, write_of(request), [AuthoredChange(change, caller.actor())])
        shown = await _visible(connection, caller, company_id, finding_id)
    services.wake_publisher()
    return shown


@router.get("/findings/{finding_id}/history", response_model=HistoryPage)
async def list_finding_history(
    finding_id: FindingId,
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    limit: Limit = PAGE_DEFAULT,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of the page before.")] = 0,
) -> dict[str, object]:
    """What happened to a finding, oldest first."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        await _visible(connection, caller, company_id, finding_id)
        rows = await connection.fetch(QUERIES["history_page"], company_id, finding_id, after, limit + 1)
    return page(rows, limit, dict)


async def _visible(
    connection: asyncpg.Connection, caller: Caller, company_id: str, finding_id: str
) -> dict[str, object]:
    """The finding, if the caller may know of it."""
    narrowed = (None, None, None, None, None, None, caller.teams())
    rows = await connection.fetch(QUERIES["findings_page"], company_id, "", 1, finding_id, *narrowed)
    if not rows:
        raise not_found("finding")
    return _shown(rows[0])


def _edited(finding: Finding, edit: FindingEdit, author: str) -> Change:
    change = Change(finding)
    if edit.severity is not None:
        change = change.then(change_severity(change.finding, edit.severity))
    if edit.tags is not None:
        change = change.then(set_tags(change.finding, tuple(edit.tags)))
    if edit.add_tags:
        change = change.then(add_tags(change.finding, tuple(edit.add_tags)))
    if edit.assign is not None:
        users, teams = tuple(edit.assign.user_ids), tuple(edit.assign.team_ids)
        change = change.then(assign(change.finding, users, teams))
    if edit.status is not None and edit.status != change.finding.status:
        change = change.then(change_status(change.finding, edit.status, edit.comment))
    elif edit.comment.strip():
        change = change.then(append_comment(change.finding, edit.comment, author))
    return change


def _shown(row: asyncpg.Record) -> dict[str, object]:
    return {name: row[name] for name in _PLAIN} | {
        "location": {"path": row["location_path"], "line": row["location_line"]},
        "attributes": msgspec.json.decode(row["attributes"]),
    }
