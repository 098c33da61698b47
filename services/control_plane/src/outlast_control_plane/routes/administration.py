"""What a platform administrator sets up: companies, producers; and what anyone may look at: actions, the engine."""

from typing import Annotated

import asyncpg
import msgspec
from fastapi import APIRouter, Path, Response

from outlast.contracts.topics import PRODUCERS, producer_topic
from outlast.db.pool import transaction
from outlast.http.problems import forbidden, not_found, unavailable
from outlast_control_plane.access import NAME_PATTERN, CallerIs, Role
from outlast_control_plane.audit import note
from outlast_control_plane.compacted import producer_message, raise_revision, say
from outlast_control_plane.core.engine import engine_view
from outlast_control_plane.idempotency import json_response
from outlast_control_plane.models import (
    ActionList,
    CompanyRequest,
    CompanyShown,
    EngineStatusShown,
    ProducerPage,
    ProducerRequest,
    ProducerShown,
)
from outlast_control_plane.pages import LIMIT_DEFAULT, After, Limit, page
from outlast_control_plane.queries import QUERIES, one
from outlast_control_plane.services import ServicesAre

router = APIRouter(tags=["administration"])

OUR_PRODUCERS = ("api", "core")
"""Producers of the product itself: bound to every company, never changed by hand."""
ProducerName = Annotated[str, Path(alias="name", pattern=NAME_PATTERN)]
CompanyId = Annotated[str, Path(alias="id", pattern=NAME_PATTERN)]


@router.put("/companies/{id}", response_model=CompanyShown)
async def put_company(
    company_id: CompanyId, wanted: CompanyRequest, caller: CallerIs, services: ServicesAre
) -> Response:
    """Make or rename a company. The platform owns it; this passes the word on."""
    caller.need(Role.PLATFORM_ADMINISTRATOR)
    await services.platform.put_company(company_id, wanted.name)
    async with transaction(services.pool) as connection:
        await note(connection, caller, company_id, "company.put", company_id, name=wanted.name)
    return json_response(200, msgspec.json.encode({"id": company_id, "name": wanted.name}))


@router.put("/producers/{name}", response_model=ProducerShown)
async def put_producer(
    name: ProducerName, wanted: ProducerRequest, caller: CallerIs, services: ServicesAre
) -> Response:
    """Register a producer of domain events: its topic is made, and it may speak for these companies only."""
    caller.need(Role.PLATFORM_ADMINISTRATOR)
    if name in OUR_PRODUCERS:
        raise forbidden(f"{name} is a producer of the product itself.")
    await services.topics.create_producer_topic(name)
    companies = sorted(set(wanted.companies))
    async with transaction(services.pool) as connection:
        row = await connection.fetchrow(QUERIES["producer"], name)
        if row is None or row["is_revoked"] or list(row["companies"]) != companies:
            row = await register(connection, name, companies)
            await note(connection, caller, "", "producer.put", name, companies=companies)
    services.wake_publisher()
    return json_response(200, msgspec.json.encode(_producer(row)))


async def register(connection: asyncpg.Connection, name: str, companies: list[str]) -> asyncpg.Record:
    """Keep a producer and say so on `producers`."""
    revision = await raise_revision(connection, PRODUCERS)
    await connection.execute(QUERIES["put_producer"], name, producer_topic(name), companies, revision)
    row = await one(connection, "producer", name)
    await say(connection, PRODUCERS, revision, name, producer_message(row))
    return row


@router.get("/producers", response_model=ProducerPage)
async def list_producers(
    caller: CallerIs, services: ServicesAre, limit: Limit = LIMIT_DEFAULT, after: After = ""
) -> Response:
    """Every producer in the order of their names."""
    caller.need(Role.PLATFORM_ADMINISTRATOR)
    async with transaction(services.pool) as connection:
        rows = await connection.fetch(QUERIES["producers_page"], after, limit + 1)
    return json_response(200, msgspec.json.encode(page(rows, limit, "name", _producer)))


@router.delete("/producers/{name}", response_model=ProducerShown)
async def revoke_producer(name: ProducerName, caller: CallerIs, services: ServicesAre) -> Response:
    """Revoke a producer: what it sends from now on is dead-lettered. Its topic and what is in it stay."""
    caller.need(Role.PLATFORM_ADMINISTRATOR)
    if name in OUR_PRODUCERS:
        raise forbidden(f"{name} is a producer of the product itself.")
    async with transaction(services.pool) as connection:
        row = await connection.fetchrow(QUERIES["producer"], name)
        if row is None:
            raise not_found("producer")
        if not row["is_revoked"]:
            revision = await raise_revision(connection, PRODUCERS)
            await connection.execute(QUERIES["revoke_producer"], name, revision)
            row = await one(connection, "producer", name)
            await say(connection, PRODUCERS, revision, name, producer_message(row))
            await note(connection, caller, "", "producer.revoke", name)
    services.wake_publisher()
    return json_response(200, msgspec.json.encode(_producer(row)))


@router.get("/actions", response_model=ActionList)
async def list_actions(caller: CallerIs, services: ServicesAre) -> Response:
    """Every action type that executors can run, with its JSON Schema and an example."""
    caller.need(Role.REMEDIATION_OWNER)
    actions = services.catalogue.actions()
    if actions is None:
        raise unavailable("The catalogue of actions is not loaded yet.")
    return json_response(200, msgspec.json.encode({"items": [actions[name] for name in sorted(actions)]}))


@router.get("/engine", response_model=EngineStatusShown)
async def engine_status(caller: CallerIs, services: ServicesAre) -> Response:
    """In which mode runs are started, whether the engine takes durable work, and so what becomes of new runs."""
    caller.need(Role.SOC_ANALYST)
    instances = [
        {"instance": engine.instance, "state": engine.state, "at": engine.at}
        for engine in services.engines.engines()
    ]
    view = engine_view(
        services.engine_mode, services.engines.engines(), services.now(), services.degrade_after
    )
    body = {
        "mode": services.engine_mode, "state": view.state, "since": view.since, "new_runs": view.new_runs,
        "instances": instances,
    }  # fmt: skip
    return json_response(200, msgspec.json.encode(body))


def _producer(row: asyncpg.Record) -> dict[str, object]:
    return {
        "name": row["name"],
        "topic": row["topic"],
        "companies": list(row["companies"]),
        "is_revoked": row["is_revoked"],
    }
