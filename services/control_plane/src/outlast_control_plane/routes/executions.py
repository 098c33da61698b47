"""Runs: list, detail with every step explained, history."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Path, Query, Response
from msgspec import Raw

from outlast.contracts.messages import Compared
from outlast.db.pool import transaction
from outlast.http.problems import Problem, not_found
from outlast.limits import EVENT_ID_CHARACTERS_MAX
from outlast.runbooks.documents import Json
from outlast_control_plane.access import NAME_PATTERN, READ_RUNS, Caller, CallerIs, CompanyNamed, Role
from outlast_control_plane.core.explain import (
    HistoryLine,
    Step,
    explain,
    final_status,
    inline_lines,
    questions,
)
from outlast_control_plane.idempotency import json_response
from outlast_control_plane.limits import HISTORY_PAGE_MAX
from outlast_control_plane.pages import LIMIT_DEFAULT, Limit, page
from outlast_control_plane.queries import QUERIES
from outlast_control_plane.records import Records, RunFilter
from outlast_control_plane.run_models import HistoryPage, RunPage, RunWhole
from outlast_control_plane.services import Services, ServicesAre

router = APIRouter(tags=["executions"])
_compared = msgspec.json.Decoder(Compared)

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
RunId = Annotated[str, Path(alias="id", max_length=200)]
Reason = Literal[
    "slot_taken", "company_limit", "engine_down", "gate_silent", "throttled", "queue_full", "queue_age", "breaker_open",
    "loop", "inactive", "overlap", "guard_key_failed", "cancelled",
]  # fmt: skip
Status = Literal["queued", "running", "waiting", "success", "failed", "partial", "skipped", "cancelled"]


@router.get("/executions", response_model=RunPage)
async def list_executions(
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    runbook: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    status: Status | None = None,
    reason: Annotated[Reason | None, Query(description="Why it is queued, skipped or cancelled.")] = None,
    event_id: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=EVENT_ID_CHARACTERS_MAX,
            pattern=r"^[^\x00]*$",
            description="Of the event that caused it.",
        ),
    ] = None,
    mode: Literal["inline", "workflow", "shadow"] | None = None,
    is_degraded: Annotated[
        bool | None, Query(description="Run inline because the engine was away, or not.")
    ] = None,
    started_by: Annotated[
        str | None,
        Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$", description="Who triggered it by hand."),
    ] = None,
    instead_of: Annotated[
        str | None, Query(pattern=UUID_PATTERN, description="The firing that was held back and that it runs.")
    ] = None,
    since: Annotated[datetime | None, Query(description="Born at or after this instant (RFC 3339).")] = None,
    limit: Limit = LIMIT_DEFAULT,
    after: Annotated[
        str | None, Query(pattern=UUID_PATTERN, description="`next` of the page before.")
    ] = None,
) -> Response:
    """Runs, newest first; `waits` says what a waiting one waits for. An administrator who names no company sees
    those of all.
    """
    wanted = RunFilter(
        company_id=_readable(caller, company),
        runbook_id=runbook,
        status=status,
        reason=reason,
        event_id=event_id,
        mode=mode,
        is_degraded=is_degraded,
        started_by=started_by,
        instead_of=instead_of,
        since=since,
        before=after,
    )
    rows = await services.records.page(wanted, limit + 1)
    return json_response(200, msgspec.json.encode(page(rows, limit, "execution_id", _summary)))


@router.get("/executions/{id}", response_model=RunWhole)
async def get_execution(
    run_id: RunId, caller: CallerIs, services: ServicesAre, company: CompanyNamed = None
) -> Response:
    """One run: its event, its payload, and for each step what went in, what came out, why it did not run, or what
    it waits for.
    """
    company_id = _readable(caller, company)
    record, open_run = await _known(services.records, run_id, company_id)
    history = [_line(row) for row in await _history(services.records, run_id)]
    if record is not None:
        summaries: list[dict[str, object]] = msgspec.json.decode(record["steps"] or b"[]")
        kept: bytes | None = record["payload"]
        body = _summary(record) | {
            "definition_sha256": record["definition_sha256"],
            "payload": _begun(history).get("payload") if kept is None else Raw(kept),
            "comparison": _comparison(record, is_whole=True),
        }
    else:
        assert open_run is not None
        summaries = []
        body = _open_summary(open_run, history)
    asked = await _asked(services, body)
    if body["mode"] == "shadow":
        history = inline_lines(history)
    story = explain(summaries, history, asked)  # pyright: ignore[reportArgumentType] decoded JSON
    if record is None and body["status"] == "running" and story.waits:
        body |= {"status": "waiting", "waits": story.waits}
    body |= {"steps": story.steps, "signals": story.signals, "cancel": story.cancel}
    return json_response(200, msgspec.json.encode(body))


@router.get("/executions/{id}/history", response_model=HistoryPage)
async def get_history(
    run_id: RunId,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    limit: Annotated[int, Query(ge=1, le=HISTORY_PAGE_MAX)] = HISTORY_PAGE_MAX,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="`next` of the page before.")] = 0,
) -> Response:
    """Every event of a run in order: the truth that its state is the fold of."""
    await _known(services.records, run_id, _readable(caller, company))
    rows = await services.records.history(run_id, after, limit + 1)
    return json_response(200, msgspec.json.encode(page(rows, limit, "seq", _event)))


def _readable(caller: Caller, company: str | None) -> str | None:
    company_id = caller.company_or_all(company)
    caller.need(Role.SOC_ANALYST, scope=READ_RUNS)
    return company_id


async def _known(
    records: Records, run_id: str, company_id: str | None
) -> tuple[asyncpg.Record | None, asyncpg.Record | None]:
    """The record or the open run of this id; a run of another company is no run."""
    if re.fullmatch(UUID_PATTERN, run_id) is None:
        raise not_found("run")
    record = await records.run(run_id, company_id)
    if record is not None:
        return record, None
    open_run = await records.open_run(run_id, company_id)
    if open_run is None:
        raise not_found("run")
    return None, open_run


async def known_run(records: Records, run_id: str, company_id: str | None) -> asyncpg.Record:
    """Company, runbook, status and end of a run, recorded or only open; `not_found` like a run of another company."""
    if re.fullmatch(UUID_PATTERN, run_id) is None:
        raise not_found("run")
    state = await records.run_state(run_id, company_id) or await records.open_run(run_id, company_id)
    if state is None:
        raise not_found("run")
    return state


async def _history(records: Records, run_id: str) -> list[asyncpg.Record]:
    """The history as far as it explains steps; a run whose mode keeps none has an empty one."""
    try:
        return list(await records.history(run_id, 0, HISTORY_PAGE_MAX))
    except Problem:
        return []


async def _asked(services: Services, run: dict[str, object]) -> dict[str, Step]:
    """What the run's definition asks before each step, if we have that version."""
    async with transaction(services.pool) as connection:
        version = await connection.fetchrow(
            QUERIES["version"], run["company"], run["runbook"], run["runbook_version"] or 0
        )
    if version is None or version["sha256"] != run["definition_sha256"]:
        return {}
    return questions(msgspec.json.decode(version["document"]))


def _summary(row: asyncpg.Record) -> dict[str, object]:
    steps: list[dict[str, object]] = msgspec.json.decode(row["steps"] or b"[]")
    counts: dict[str, int] = {}
    for step in steps:
        status = str(step.get("status"))
        counts[status] = counts.get(status, 0) + 1
    return {
        "id": str(row["execution_id"]),
        "company": row["company_id"],
        "runbook": row["runbook_id"],
        "runbook_name": row["runbook_name"],
        "runbook_version": row["runbook_version"],
        "mode": row["mode"],
        "status": row["status"],
        "event": {
            "source": row["event_source"],
            "id": row["event_id"],
            "type": row["event_type"],
            "time": row["event_time"],
        },
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "duration_ms": _duration_ms(row["started_at"], row["finished_at"]),
        "waits": Raw(row["waits"] or b"[]"),
        "steps": counts,
        "error": Raw(row["error"]) if row["error"] else None,
        **_why(row),
        "ended_by": row["ended_by"],
        "is_degraded": row["is_degraded"],
        "started_by": row["started_by"],
        "instead_of": row["instead_of"] or None,
        "comparison": _comparison(row),
    }


def _why(row: asyncpg.Record) -> dict[str, object]:
    """The code of why a run is not simply going on or done, and what there is to say beside it."""
    if row["status"] == "cancelled" and row["reason"] not in {"cancelled", ""}:
        return {"reason": "cancelled", "detail": row["reason"]}  # of one that had begun: what was said
    return {"reason": row["reason"], "detail": row["detail"]}


def _comparison(row: asyncpg.Record, *, is_whole: bool = False) -> dict[str, object] | None:
    """What the durable double of a shadowed run came to; None while there is no word of it."""
    if row["comparison"] is None:
        return None
    compared = _compared.decode(row["comparison"])
    shown: dict[str, object] = {
        "is_agreed": compared.is_agreed,
        "steps_compared": compared.steps_compared,
        "differences_count": len(compared.differences),
    }
    if is_whole:
        shown |= {
            "at": compared.at,
            "differences": [
                {name: getattr(each, name) for name in each.__struct_fields__}
                for each in compared.differences
            ],
            "expected": list(compared.expected),
        }
    return shown


def _open_summary(row: asyncpg.Record, history: list[HistoryLine]) -> dict[str, object]:
    """A run that has no record yet, told from its history."""
    body: dict[str, object] = {
        "id": str(row["execution_id"]),
        "company": row["company_id"],
        "runbook": row["runbook_id"],
        "runbook_name": row["runbook_name"],
        "runbook_version": None,
        "definition_sha256": None,
        "mode": "workflow",
        "status": final_status(history) or "running",
        "event": None,
        "started_at": row["started_at"],
        "finished_at": None,
        "duration_ms": None,
        "waits": [],
        "error": None,
        "payload": None,
        "reason": "",
        "detail": "",
        "ended_by": "",
        "is_degraded": False,
        "started_by": "",
        "instead_of": None,
        "comparison": None,
    }
    first = _begun(history)
    origin = first.get("origin")
    if isinstance(origin, dict):
        body |= {name: origin[name] for name in ("is_degraded", "started_by", "instead_of") if name in origin}
    runbook = first.get("runbook")
    if isinstance(runbook, dict):
        body |= {"runbook_version": runbook.get("version"), "definition_sha256": runbook.get("sha256")}
    return body | {name: first[name] for name in ("mode", "event", "payload") if name in first}


def _begun(history: list[HistoryLine]) -> Mapping[str, Json]:
    """What the history says of the run's beginning, the payload among it."""
    begun = (line.data for line in history if line.type.startswith("workflow_started."))
    return next(begun, {})


def _duration_ms(started: datetime | None, finished: datetime | None) -> float | None:
    if started is None or finished is None:
        return None
    return round((finished - started).total_seconds() * 1000, 1)


def _line(row: asyncpg.Record) -> HistoryLine:
    return HistoryLine(row["seq"], row["type"], row["at"], msgspec.json.decode(row["data"]))


def _event(row: asyncpg.Record) -> dict[str, object]:
    return {"seq": row["seq"], "type": row["type"], "at": row["at"], "data": Raw(row["data"])}
