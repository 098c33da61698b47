"""Companies: made and listed by platform administrators, seen by their own people."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from outlast.errors import PermanentError
from outlast.http.problems import not_found
from outlast_platform.access import NAME_PATTERN, CallerIs, Role
from outlast_platform.limits import PAGE_DEFAULT
from outlast_platform.models import CompanyPage, CompanyShown, CompanyWanted
from outlast_platform.pages import After, Limit, page
from outlast_platform.services import services_of, write_of
from outlast_platform.store import QUERIES, write_audit

router = APIRouter(tags=["companies"])
CompanyId = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.put("/companies/{company_id}", response_model=CompanyShown, responses={201: {"model": CompanyShown}})
async def put_company(
    company_id: CompanyId, wanted: CompanyWanted, request: Request, response: Response, caller: CallerIs
) -> dict[str, object]:
    """Create or rename a company."""
    if caller.company_id and caller.company_id != company_id:
        raise not_found("company")
    caller.need(Role.PLATFORM_ADMINISTRATOR)
    write = write_of(request)
    async with services_of(request).pools.of_company(company_id) as connection:
        if await connection.fetchval(QUERIES["put_company"], company_id, wanted.name, write.at):
            response.status_code = 201
        await write_audit(connection, write, company_id, caller.actor(), "put_company", company_id)
        row = await connection.fetchrow(QUERIES["company"], company_id)
    if row is None:
        raise PermanentError(f"expected company {company_id} after it was written")
    return dict(row)


@router.get("/companies", response_model=CompanyPage)
async def list_companies(
    request: Request, caller: CallerIs, limit: Limit = PAGE_DEFAULT, after: After = ""
) -> dict[str, object]:
    """The companies that the caller sees."""
    services = services_of(request)
    scope = services.pools.of_company(caller.company_id) if caller.company_id else services.pools.of_all()
    async with scope as connection:
        rows = await connection.fetch(QUERIES["companies_page"], after, limit + 1, caller.company_id or None)
    return page(rows, limit, dict)


@router.get("/companies/{company_id}", response_model=CompanyShown)
async def get_company(company_id: CompanyId, request: Request, caller: CallerIs) -> dict[str, object]:
    """One company."""
    company = caller.company(company_id)
    async with services_of(request).pools.of_company(company) as connection:
        row = await connection.fetchrow(QUERIES["company"], company)
    if row is None:
        raise not_found("company")
    return dict(row)
