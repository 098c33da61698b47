"""Teams and their members."""

from typing import Annotated

import asyncpg
from fastapi import APIRouter, Path, Request

from outlast.http.problems import Fault, invalid, not_found
from outlast_platform.access import READ_FINDINGS, CallerIs, CompanyNamed, Role
from outlast_platform.limits import PAGE_DEFAULT
from outlast_platform.models import ID_PATTERN, TeamPage, TeamShown, TeamWanted
from outlast_platform.pages import After, Limit, page
from outlast_platform.services import services_of, write_of
from outlast_platform.store import QUERIES, write_audit

router = APIRouter(tags=["teams"])
TeamId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.put("/teams/{team_id}", response_model=TeamShown)
async def put_team(
    team_id: TeamId, wanted: TeamWanted, request: Request, caller: CallerIs, company: CompanyNamed = None
) -> dict[str, object]:
    """Create or change a team; members who are not known yet become users."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)
    write, members = write_of(request), sorted(set(wanted.members))
    async with services_of(request).pools.of_company(company_id) as connection:
        await expect_company(connection, company_id)
        try:
            async with connection.transaction():
                await connection.execute(QUERIES["put_team"], company_id, team_id, wanted.name, write.at)
        except asyncpg.UniqueViolationError as taken:
            fault = Fault("name", "another team has this name")
            raise invalid("The team cannot be stored.", fault) from taken
        await connection.execute(QUERIES["add_users"], company_id, members)
        await connection.execute(QUERIES["remove_members"], company_id, team_id, members)
        await connection.execute(QUERIES["add_members"], company_id, team_id, members)
        await write_audit(connection, write, company_id, caller.actor(), "put_team", team_id)
        rows = await connection.fetch(QUERIES["teams_page"], company_id, "", 1, team_id)
    return dict(rows[0])


@router.get("/teams", response_model=TeamPage)
async def list_teams(
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    limit: Limit = PAGE_DEFAULT,
    after: After = "",
) -> dict[str, object]:
    """The company's teams."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(QUERIES["teams_page"], company_id, after, limit + 1, None)
    return page(rows, limit, dict)


@router.get("/teams/{team_id}", response_model=TeamShown)
async def get_team(
    team_id: TeamId, request: Request, caller: CallerIs, company: CompanyNamed = None
) -> dict[str, object]:
    """One team."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(QUERIES["teams_page"], company_id, "", 1, team_id)
    if not rows:
        raise not_found("team")
    return dict(rows[0])


async def expect_company(connection: asyncpg.Connection, company_id: str) -> None:
    """Something of a company that does not exist cannot be made."""
    if await connection.fetchrow(QUERIES["company"], company_id) is None:
        raise not_found("company")
