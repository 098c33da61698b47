"""Assets: what findings are about, and which team owns it."""

from typing import Annotated

import asyncpg
import msgspec
from fastapi import APIRouter, Path, Request

from outlast.contracts.domain_events import AssetCreated, AssetUpdated
from outlast.db.outbox import append
from outlast.http.problems import Fault, invalid, not_found
from outlast_platform.access import READ_FINDINGS, CallerIs, CompanyNamed, Role
from outlast_platform.limits import ATTRIBUTES_BYTES_MAX, PAGE_DEFAULT
from outlast_platform.models import ID_PATTERN, AssetPage, AssetShown, AssetWanted
from outlast_platform.pages import After, Limit, page
from outlast_platform.routes.teams import expect_company
from outlast_platform.services import services_of, write_of
from outlast_platform.store import QUERIES, Write, json_text, write_audit

router = APIRouter(tags=["assets"])
AssetId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.put("/assets/{asset_id}", response_model=AssetShown)
async def put_asset(
    asset_id: AssetId, wanted: AssetWanted, request: Request, caller: CallerIs, company: CompanyNamed = None
) -> dict[str, object]:
    """Create or change an asset."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)
    attributes = json_text(wanted.attributes)
    if len(attributes) > ATTRIBUTES_BYTES_MAX or "\\u0000" in attributes:
        fault = Fault("attributes", f"expected at most {ATTRIBUTES_BYTES_MAX} bytes without NUL")
        raise invalid("The asset cannot be stored.", fault)
    write, services = write_of(request), services_of(request)
    async with services.pools.of_company(company_id) as connection:
        await expect_company(connection, company_id)
        try:
            async with connection.transaction():
                await _put(connection, write, company_id, asset_id, wanted, attributes)
        except asyncpg.UniqueViolationError as taken:
            fault = Fault("name", "another asset has this name")
            raise invalid("The asset cannot be stored.", fault) from taken
        except asyncpg.ForeignKeyViolationError as missing:
            fault = Fault("owning_team_id", "there is no such team")
            raise invalid("The asset cannot be stored.", fault) from missing
        await write_audit(connection, write, company_id, caller.actor(), "put_asset", asset_id)
        rows = await connection.fetch(QUERIES["assets_page"], company_id, "", 1, asset_id, None)
    services.wake_publisher()
    return _shown(rows[0])


async def _put(
    connection: asyncpg.Connection,
    write: Write,
    company_id: str,
    asset_id: str,
    wanted: AssetWanted,
    attributes: str,
) -> None:
    columns = (wanted.name, wanted.asset_class, wanted.criticality, wanted.owning_team_id, attributes)
    before = await connection.fetchrow(QUERIES["asset_for_update"], company_id, asset_id)
    if before is None:
        made = await connection.fetchval(QUERIES["insert_asset"], company_id, asset_id, *columns, write.at)
        if made is None:
            raise asyncpg.UniqueViolationError("the id or the name is taken")
        created = AssetCreated(asset_id=asset_id, name=wanted.name, asset_class=wanted.asset_class)
        await append(connection, [write.event(company_id, created)])
        return
    names = ("name", "class", "criticality", "owning_team_id", "attributes")
    is_same = {name: before[name] == value for name, value in zip(names, columns, strict=True)}
    is_same["attributes"] = msgspec.json.decode(before["attributes"]) == wanted.attributes
    changed = tuple(sorted(name for name, same in is_same.items() if not same))
    if changed:
        await connection.execute(QUERIES["update_asset"], company_id, asset_id, *columns, write.at)
        await append(connection, [write.event(company_id, AssetUpdated(asset_id=asset_id, changed=changed))])


@router.get("/assets", response_model=AssetPage)
async def list_assets(
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    limit: Limit = PAGE_DEFAULT,
    after: After = "",
) -> dict[str, object]:
    """The company's assets; a remediation owner sees those of their teams."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(
            QUERIES["assets_page"], company_id, after, limit + 1, None, caller.teams()
        )
    return page(rows, limit, _shown)


@router.get("/assets/{asset_id}", response_model=AssetShown)
async def get_asset(
    asset_id: AssetId, request: Request, caller: CallerIs, company: CompanyNamed = None
) -> dict[str, object]:
    """One asset."""
    company_id = caller.company(company)
    caller.need(Role.REMEDIATION_OWNER, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(QUERIES["assets_page"], company_id, "", 1, asset_id, caller.teams())
    if not rows:
        raise not_found("asset")
    return _shown(rows[0])


def _shown(row: asyncpg.Record) -> dict[str, object]:
    team = None if row["team_id"] is None else {"id": row["team_id"], "name": row["team_name"]}
    kept = {name: row[name] for name in ("id", "name", "class", "criticality", "created_at", "updated_at")}
    return kept | {"owning_team": team, "attributes": msgspec.json.decode(row["attributes"])}
