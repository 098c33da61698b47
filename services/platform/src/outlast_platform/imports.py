"""Taking in a report: one transaction with the findings, their history, the asset, and everything said about them."""

import asyncio
import hashlib
from dataclasses import dataclass

import asyncpg
import msgspec
from msgspec import structs

from outlast.contracts.domain_events import (
    AssetCreated,
    EventData,
    FindingCreated,
    FindingStatusChanged,
    FindingUpdated,
    ScanFinished,
    SeverityCounts,
)
from outlast.db.outbox import append
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing
from outlast_platform.core.comparison import ChangedFinding, Comparison, KnownFinding, compare
from outlast_platform.core.findings import HistoryEntry
from outlast_platform.core.importers.scan import ReportedFinding, Scan, canonical_json
from outlast_platform.store import QUERIES, Actor, AuthoredEntry, Write, json_text, write_audit, write_history

UNNAMED_TARGET = "unnamed target"
CRITICALITY_DEFAULT = "medium"


@dataclass(frozen=True, slots=True)
class ImportedScan:
    """What one scan of a report came to."""

    import_id: str
    tool: str
    asset_id: str
    counts: SeverityCounts
    created: int
    updated: int
    closed: int


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """Whose report it is, and which asset it is about where the report does not say (or says it wrong)."""

    company_id: str
    actor: Actor
    target: str
    report_sha256: str


async def import_scans(
    connection: asyncpg.Connection, write: Write, request: ImportRequest, scans: list[Scan]
) -> list[ImportedScan]:
    """All of a report's scans, or none."""
    return [await _import_scan(connection, write, request, scan) for scan in scans]


async def _import_scan(
    connection: asyncpg.Connection, write: Write, request: ImportRequest, scan: Scan
) -> ImportedScan:
    company_id = request.company_id
    target = request.target or scan.target or UNNAMED_TARGET
    await connection.execute(QUERIES["lock_scan_scope"], "\x1f".join((company_id, scan.tool, target)))
    asset_id, events = await _asset(connection, write, request, scan, target)
    rows = await connection.fetch(QUERIES["findings_of_scan"], company_id, asset_id, scan.tool)
    # in threads: a report of 50 MB must not hold up the look-ups beside it
    comparison = await asyncio.to_thread(_compare, rows, scan)
    ids = [write.new_id() for _ in comparison.created]
    await _store(connection, write, request, scan, asset_id, ids, comparison)
    entries, finding_events = _consequences(scan, asset_id, ids, comparison)
    author = Actor("import", request.actor.id, f"{scan.tool} ({request.actor.name})")
    await write_history(
        connection, write, [AuthoredEntry(company_id, each, author, entry) for each, entry in entries]
    )
    imported = ImportedScan(
        import_id=write.new_id(),
        tool=scan.tool,
        asset_id=asset_id,
        counts=scan.severity_counts(),
        created=len(comparison.created),
        updated=comparison.updated_count,
        closed=comparison.closed_count,
    )
    events += [*finding_events, _scan_finished(imported)]
    await append(connection, await asyncio.to_thread(_messages, write, company_id, events))
    await _record(connection, write, request, imported)
    return imported


def _compare(rows: list[asyncpg.Record], scan: Scan) -> Comparison:
    return compare({row["fingerprint"]: _known(row) for row in rows}, scan.findings)


def _messages(write: Write, company_id: str, events: list[EventData]) -> list[Outgoing]:
    return [write.event(company_id, data) for data in events]


async def _asset(
    connection: asyncpg.Connection, write: Write, request: ImportRequest, scan: Scan, target: str
) -> tuple[str, list[EventData]]:
    """The target's asset, made where it is missing."""
    found = await connection.fetchval(QUERIES["asset_by_name_for_update"], request.company_id, target)
    if found is not None:
        return found, []
    asset_id = await connection.fetchval(
        QUERIES["insert_asset"],
        request.company_id,
        write.new_id(),
        target,
        scan.target_class,
        CRITICALITY_DEFAULT,
        None,
        "{}",
        write.at,
    )
    if asset_id is None:  # another tool's import was faster
        found = await connection.fetchval(QUERIES["asset_by_name_for_update"], request.company_id, target)
        if found is None:
            raise TransientError(f"expected asset {target} to be there or to be made, but it went away")
        return found, []
    return asset_id, [AssetCreated(asset_id=asset_id, name=target, asset_class=scan.target_class)]


async def _store(
    connection: asyncpg.Connection,
    write: Write,
    request: ImportRequest,
    scan: Scan,
    asset_id: str,
    ids: list[str],
    comparison: Comparison,
) -> None:
    if comparison.created:
        await connection.execute(
            QUERIES["insert_findings"],
            request.company_id,
            asset_id,
            scan.tool,
            write.at,
            ids,
            *_columns(comparison.created),
        )
    if comparison.changed:
        after = [each.after for each in comparison.changed]
        await connection.execute(
            QUERIES["update_scanned"],
            request.company_id,
            write.at,
            [each.id for each in after],
            [each.title for each in after],
            [each.description for each in after],
            [each.rule_id for each in after],
            [each.severity for each in after],
            [each.reported_severity for each in after],
            [each.status for each in after],
            [each.path for each in after],
            [each.line for each in after],
            [each.attributes for each in after],
            [each.is_seen for each in comparison.changed],
        )
    if comparison.unchanged:
        await connection.execute(
            QUERIES["touch_findings"], request.company_id, write.at, list(comparison.unchanged)
        )


def _columns(created: tuple[ReportedFinding, ...]) -> list[list[object]]:
    return [
        [each.fingerprint for each in created],
        [each.rule_id for each in created],
        [each.title for each in created],
        [each.description for each in created],
        [each.severity for each in created],
        [json_text(each.tags) for each in created],
        [each.path for each in created],
        [each.line for each in created],
        [each.attributes for each in created],
    ]


def _consequences(
    scan: Scan, asset_id: str, ids: list[str], comparison: Comparison
) -> tuple[list[tuple[str, HistoryEntry]], list[EventData]]:
    """History lines by finding, and events, of what a scan changed."""
    entries: list[tuple[str, HistoryEntry]] = []
    events: list[EventData] = []
    for finding_id, each in zip(ids, comparison.created, strict=True):
        entries.append((finding_id, HistoryEntry("created", new_value=each.severity)))
        events.append(
            FindingCreated(
                finding_id=finding_id,
                asset_id=asset_id,
                severity=each.severity,  # pyright: ignore[reportArgumentType] one of the five words
                tool=scan.tool,
                title=each.title,
            )
        )
    for each in comparison.changed:
        _consequence(each, asset_id, entries, events)
    return entries, events


def _consequence(
    each: ChangedFinding, asset_id: str, entries: list[tuple[str, HistoryEntry]], events: list[EventData]
) -> None:
    before, after = each.before, each.after
    if each.is_status_changed:
        why = "seen again" if each.is_seen else "not reported any more"
        entries.append((after.id, HistoryEntry("status", before.status, after.status, why)))
        events.append(
            FindingStatusChanged(
                finding_id=after.id,
                asset_id=asset_id,
                old_status=before.status,
                new_status=after.status,
                comment=why,
            )
        )
    if each.changed:
        if "severity" in each.changed:
            entries.append((after.id, HistoryEntry("severity", before.severity, after.severity)))
        events.append(FindingUpdated(finding_id=after.id, asset_id=asset_id, changed=each.changed))


def _scan_finished(imported: ImportedScan) -> ScanFinished:
    return ScanFinished(
        scan_id=imported.import_id,
        asset_id=imported.asset_id,
        tool=imported.tool,
        severity_counts=imported.counts,
        created=imported.created,
        updated=imported.updated,
        closed=imported.closed,
    )


async def _record(
    connection: asyncpg.Connection, write: Write, request: ImportRequest, imported: ImportedScan
) -> None:
    await connection.execute(
        QUERIES["insert_import"],
        request.company_id,
        imported.import_id,
        imported.asset_id,
        imported.tool,
        request.report_sha256,
        json_text(structs.asdict(imported.counts)),
        imported.created,
        imported.updated,
        imported.closed,
        request.actor.id,
        write.at,
    )
    await write_audit(
        connection,
        write,
        request.company_id,
        request.actor,
        "import",
        imported.import_id,
        tool=imported.tool,
        created=imported.created,
        updated=imported.updated,
        closed=imported.closed,
    )


def _known(row: asyncpg.Record) -> KnownFinding:
    return KnownFinding(
        id=row["id"],
        title=row["title"],
        description=row["description"],
        rule_id=row["rule_id"],
        severity=row["severity"],
        reported_severity=row["reported_severity"],
        status=row["status"],
        path=row["location_path"],
        line=row["location_line"],
        attributes=canonical_json(msgspec.json.decode(row["attributes"])),
    )


def report_digest(report: bytes) -> str:
    """What is kept of a report."""
    return hashlib.sha256(report).hexdigest()
