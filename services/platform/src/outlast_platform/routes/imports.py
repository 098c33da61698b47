"""Scanners' reports come in here."""

import asyncio
from typing import Annotated, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Request

from outlast.errors import ContractError
from outlast.http.problems import Fault, Problem
from outlast_platform import metrics
from outlast_platform.access import IMPORT_FINDINGS, READ_FINDINGS, CallerIs, CompanyNamed, Role
from outlast_platform.core.importers import read_report
from outlast_platform.imports import ImportedScan, ImportRequest, import_scans, report_digest
from outlast_platform.limits import PAGE_DEFAULT, TARGET_CHARACTERS_MAX
from outlast_platform.models import WITHOUT_NUL, ImportAnswer, ImportPage
from outlast_platform.pages import After, Limit, page
from outlast_platform.routes.teams import expect_company
from outlast_platform.services import services_of, write_of
from outlast_platform.store import QUERIES

router = APIRouter(tags=["imports"])
Target = Annotated[
    str,
    Query(
        max_length=TARGET_CHARACTERS_MAX,
        pattern=WITHOUT_NUL,
        description="Name of the asset that was scanned; else what the report itself names.",
    ),
]
Format = Annotated[
    Literal["sarif", "trivy"] | None, Query(alias="format", description="Recognised where it is left out.")
]
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post("/imports", response_model=ImportAnswer, openapi_extra=BODY)
async def import_report(
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    report_format: Format = None,
    target: Target = "",
) -> dict[str, object]:
    """Take in a SARIF 2.1 or Trivy JSON report, all of it or nothing.

    What is known is found again by its fingerprint; what the same tool does not report any more of the same target
    is closed; what comes back is opened again.
    """
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER, scope=IMPORT_FINDINGS)
    services = services_of(request)
    async with services.reading_reports:
        report = await request.body()
        try:
            name, scans = await asyncio.to_thread(read_report, report, report_format or "")
        except ContractError as fault:
            raise Problem(
                422,
                "invalid_report",
                f"The report cannot be read: {fault}",
                (Fault(fault.path, fault.message),),
            ) from fault
        wanted = ImportRequest(company_id, caller.actor(), target.strip(), report_digest(report))
        async with services.pools.of_company(company_id) as connection:
            await expect_company(connection, company_id)
            imported = await import_scans(connection, write_of(request), wanted, scans)
    services.wake_publisher()
    return _answer(name, imported)


def _answer(report_format: str, imported: list[ImportedScan]) -> dict[str, object]:
    severities = ("critical", "high", "medium", "low", "info")
    counts: dict[str, int] = {
        severity: sum(getattr(each.counts, severity) for each in imported) for severity in severities
    }
    totals = {
        change: sum(getattr(each, change) for each in imported) for change in ("created", "updated", "closed")
    }
    for change, count in totals.items():
        metrics.imported.labels(change).inc(count)
    return {
        "tool": ", ".join(dict.fromkeys(each.tool for each in imported)),
        "findings": counts | {"total": sum(counts.values())},
        **totals,
        "format": report_format,
        "import_ids": [each.import_id for each in imported],
        "asset_ids": list(dict.fromkeys(each.asset_id for each in imported)),
    }


@router.get("/imports", response_model=ImportPage)
async def list_imports(
    request: Request,
    caller: CallerIs,
    company: CompanyNamed = None,
    limit: Limit = PAGE_DEFAULT,
    after: After = "",
) -> dict[str, object]:
    """The company's imports, oldest first."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST, scope=READ_FINDINGS)
    async with services_of(request).pools.of_company(company_id) as connection:
        rows = await connection.fetch(QUERIES["imports_page"], company_id, after, limit + 1)
    return page(rows, limit, _shown)


def _shown(row: asyncpg.Record) -> dict[str, object]:
    return dict(row) | {"counts": msgspec.json.decode(row["counts"])}
