"""What people order: trigger a runbook, end a run, close a breaker, run what it held back.

Each is answered with 202 when it is recorded. The matcher or the finalizer does it a moment later, and decides by what
is true then; what is refused here is what makes no sense already now.
"""

from collections.abc import Awaitable, Callable
from typing import NoReturn
from urllib.parse import urlencode

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Raw

from outlast.contracts.control import (
    CancelExecution,
    LetGoSuppressed,
    ResetBreaker,
    RunSuppressed,
    TriggerRunbook,
)
from outlast.http.problems import Fault, Problem, invalid
from outlast.runbooks.documents import Json, document_faults
from outlast_control_plane import runbooks
from outlast_control_plane.access import Caller, CallerIs, CompanyNamed, Role
from outlast_control_plane.audit import note
from outlast_control_plane.command_models import (
    CancelOrdered,
    CancelRequest,
    ResetOrdered,
    ResetRequest,
    RunSuppressedRequest,
    SuppressedOrdered,
    Triggered,
    TriggerRequest,
)
from outlast_control_plane.commands import order, send
from outlast_control_plane.idempotency import Answer, IdempotencyKey, once
from outlast_control_plane.limits import TRIGGER_DATA_BYTES_MAX
from outlast_control_plane.routes.executions import RunId, known_run
from outlast_control_plane.routes.runbooks import RunbookName
from outlast_control_plane.services import Services, ServicesAre

router = APIRouter(tags=["commands"])


@router.post("/runbooks/{name}/trigger", status_code=202, response_model=Triggered)
async def trigger_runbook(
    request: Request,
    name: RunbookName,
    wanted: TriggerRequest,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """Run a runbook now, whatever its rules say. Its guardrails hold: the run may be queued or held back."""
    company_id = caller.company(company)
    caller.need(Role.SECURITY_ENGINEER)
    data = _data(wanted.data)

    async def work(connection: asyncpg.Connection) -> Answer:
        row = await runbooks.locked(connection, company_id, name)
        _check_active(row)
        _check_closed(services, company_id, name)
        made = await order(services, connection, caller, company_id, name)
        command = TriggerRunbook(
            command_id=made.command_id, company_id=company_id, runbook_id=name, by=made.by, at=made.at,
            lane=made.lane, finding_id=wanted.finding_id or "", asset_id=wanted.asset_id or "", data=data,
        )  # fmt: skip
        await send(connection, command)
        await note(
            connection, caller, company_id, "runbook.trigger", name, command=made.command_id,
            finding=wanted.finding_id, asset=wanted.asset_id,
        )  # fmt: skip
        found = urlencode({"company": company_id, "runbook": name, "event_id": made.command_id})
        return Answer(
            202,
            {
                "event_id": made.command_id,
                "runbook": name,
                "company": company_id,
                "find": f"/api/v1/executions?{found}",
            },
        )

    return await _record(services, request, caller, key, work)


@router.post("/executions/{id}/cancel", status_code=202, response_model=CancelOrdered)
async def cancel_execution(
    request: Request,
    run_id: RunId,
    wanted: CancelRequest,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """End a run: at once while it is queued, else when what is in flight has settled."""
    company_id = caller.company_or_all(company)
    caller.need(Role.SOC_ANALYST)

    async def work(connection: asyncpg.Connection) -> Answer:
        run = await known_run(services.records, run_id, company_id)
        if run["finished_at"] is not None:
            raise Problem(409, "ended", f"The run has ended ({run['status']}): there is nothing to cancel.")
        owner, runbook_id = run["company_id"], run["runbook_id"]
        made = await order(services, connection, caller, owner, runbook_id)
        command = CancelExecution(
            command_id=made.command_id, company_id=owner, execution_id=run_id, by=made.by, at=made.at,
            lane=made.lane, reason=wanted.reason,
        )  # fmt: skip
        await send(connection, command)
        await note(
            connection, caller, owner, "execution.cancel", run_id, command=made.command_id,
            reason=wanted.reason, runbook=runbook_id,
        )  # fmt: skip
        return Answer(202, _answer(made.command_id, owner, runbook_id) | {"execution": run_id})

    return await _record(services, request, caller, key, work)


@router.post("/runbooks/{name}/breaker/reset", status_code=202, response_model=ResetOrdered)
async def reset_breaker(
    request: Request,
    name: RunbookName,
    wanted: ResetRequest,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """Close a runbook's breaker: its count begins anew, and what older runs come to does not count."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)

    async def work(connection: asyncpg.Connection) -> Answer:
        row = await runbooks.locked(connection, company_id, name)
        if wanted.suppressed == "run":
            _check_active(row)
        made = await order(services, connection, caller, company_id, name)
        said = {
            "company_id": company_id, "runbook_id": name, "by": made.by, "at": made.at, "lane": made.lane,
            "reason": wanted.reason,
        }  # fmt: skip
        commands: list[ResetBreaker | RunSuppressed | LetGoSuppressed]
        commands = [ResetBreaker(command_id=made.command_id, **said)]
        match wanted.suppressed:
            case "run":
                commands.append(RunSuppressed(command_id=services.new_id(), **said))
            case "let_go":
                commands.append(LetGoSuppressed(command_id=services.new_id(), **said))
            case None:
                pass
        await send(connection, *commands)
        await note(
            connection, caller, company_id, "breaker.reset", name,
            commands=[command.command_id for command in commands], reason=wanted.reason,
            suppressed=wanted.suppressed,
        )  # fmt: skip
        answer = _answer(made.command_id, company_id, name) | {"suppressed": wanted.suppressed}
        return Answer(202, answer)

    return await _record(services, request, caller, key, work)


@router.post("/runbooks/{name}/suppressed/run", status_code=202, response_model=SuppressedOrdered)
async def run_suppressed(
    request: Request,
    name: RunbookName,
    wanted: RunSuppressedRequest,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """Run firings that the breaker held back, each as a new run that names the old one."""
    company_id = caller.company(company)
    caller.need(Role.SOC_ANALYST)

    async def work(connection: asyncpg.Connection) -> Answer:
        row = await runbooks.locked(connection, company_id, name)
        _check_active(row)
        _check_closed(services, company_id, name)
        if wanted.executions is not None:
            await _check_suppressed(services, company_id, name, wanted.executions)
        made = await order(services, connection, caller, company_id, name)
        command = RunSuppressed(
            command_id=made.command_id, company_id=company_id, runbook_id=name, by=made.by, at=made.at,
            lane=made.lane, executions=tuple(wanted.executions or ()), reason=wanted.reason,
        )  # fmt: skip
        await send(connection, command)
        await note(
            connection, caller, company_id, "suppressed.run", name, command=made.command_id,
            reason=wanted.reason, executions=wanted.executions,
        )  # fmt: skip
        answer = _answer(made.command_id, company_id, name) | {"executions": wanted.executions}
        return Answer(202, answer)

    return await _record(services, request, caller, key, work)


async def _record(
    services: Services,
    request: Request,
    caller: Caller,
    key: str | None,
    work: Callable[[asyncpg.Connection], Awaitable[Answer]],
) -> Response:
    response = await once(services.pool, request, caller, key, work)
    services.wake_publisher()
    return response


def _answer(command_id: str, company_id: str, runbook_id: str) -> dict[str, object]:
    return {"command_id": command_id, "company": company_id, "runbook": runbook_id}


def _check_active(row: asyncpg.Record) -> None:
    if not row["is_active"]:
        name = row["runbook_id"]
        raise Problem(
            409, "inactive", f"{name} is switched off. Switch it on first: POST /runbooks/{name}:activate"
        )


def _check_closed(services: Services, company_id: str, name: str) -> None:
    breaker = services.breakers.breaker(company_id, name)
    if breaker is not None and runbooks.is_open(breaker):
        raise Problem(
            409,
            "breaker_open",
            f"The breaker of {name} is open after {breaker.failures} failed runs in a row. "
            f"Close it first: POST /runbooks/{name}/breaker/reset",
        )


async def _check_suppressed(services: Services, company_id: str, name: str, executions: list[str]) -> None:
    known = await services.records.suppressed(company_id, name, executions)
    faults = [
        Fault(f"executions[{index}]", f"expected a firing of {name} that its breaker held back")
        for index, execution in enumerate(executions)
        if execution not in known
    ]
    if faults:
        raise invalid("Some of these firings were not held back by this breaker; none was run.", *faults)


def _data(data: Json) -> Raw:
    faults = document_faults(data, "data")
    if faults:
        _refuse(*(Fault(fault.path, fault.message) for fault in faults))
    encoded = msgspec.json.encode(data)
    if len(encoded) > TRIGGER_DATA_BYTES_MAX:
        _refuse(Fault("data", f"expected at most {TRIGGER_DATA_BYTES_MAX} bytes, got {len(encoded)}"))
    return Raw(encoded)


def _refuse(*faults: Fault) -> NoReturn:
    raise invalid("The data cannot be taken.", *faults)
