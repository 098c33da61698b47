"""The control plane's API over a real Postgres, with the outside (broker, platform, executors) in memory."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import jsonschema
import msgspec
from fastapi import FastAPI
from msgspec import Raw

from outlast.contracts.messages import Breaker, CatalogueAction, EngineStatus
from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool
from outlast.http.problems import unavailable
from outlast_control_plane.access import Keyring, new_key
from outlast_control_plane.api import make_api
from outlast_control_plane.bootstrap import bootstrap
from outlast_control_plane.identities import PostgresIdentities
from outlast_control_plane.records import Records
from outlast_control_plane.services import Services

ADMIN_KEY = "olk_admin"
SERVICE_TOKEN = "service-token"
PREFIX = "/api/v1"
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)

VIEWS = """
create schema records_read;
create table records_read.runs_v1 (
    execution_id uuid primary key, company_id text, runbook_id text, runbook_name text, runbook_version int,
    definition_sha256 text, mode text, status text, event_source text, event_id text, event_type text,
    event_time timestamptz, started_at timestamptz, finished_at timestamptz, lane int, payload bytea, steps bytea,
    error bytea, waits bytea, reason text not null default '', detail text not null default '',
    ended_by text not null default '', is_degraded boolean not null default false, started_by text not null default '',
    instead_of text not null default '', comparison bytea);
create schema engine_read;
create table engine_read.history_v1 (execution_id uuid, seq int, type text, at timestamptz, data bytea);
create table engine_read.open_v1 (
    execution_id uuid, company_id text, runbook_id text, runbook_name text, started_at timestamptz);
"""
"""The views as their contracts have them; the finalizer and the engine own the real ones."""


def action(name: str, action_class: str, **properties: object) -> CatalogueAction:
    """An action type as an executor publishes it."""
    schema = {"type": "object", "properties": properties, "additionalProperties": True}
    return CatalogueAction(
        name=name,
        action_class=action_class,
        summary=name,
        config_schema=Raw(msgspec.json.encode(schema)),
        example=Raw(b"{}"),
        is_idempotent=True,
    )


CATALOGUE = {
    "http_request": action("http_request", "notify", url={"type": "string"}),
    "append_comment": action("append_comment", "finding", text={"type": "string"}),
}


@dataclass
class Outside:
    """What the executors, the engine, the broker and the platform say and are told."""

    catalogue: Mapping[str, CatalogueAction] | None = field(default_factory=lambda: CATALOGUE)
    companies: dict[str, str] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    breakers: dict[tuple[str, str], Breaker] = field(default_factory=dict)
    reports: list[EngineStatus] = field(default_factory=list)
    partitions: int | None = 4
    """Of every topic; None while the broker is away."""
    woken: int = 0
    ids: int = 0

    def reset(self) -> None:
        """Nothing was said yet."""
        self.catalogue, self.partitions, self.woken, self.ids = CATALOGUE, 4, 0, 0
        self.companies.clear()
        self.breakers.clear()
        self.reports.clear()
        self.topics.clear()

    def actions(self) -> Mapping[str, CatalogueAction] | None:
        return self.catalogue

    def engines(self) -> Sequence[EngineStatus]:
        return self.reports

    def breaker(self, company_id: str, runbook_id: str) -> Breaker | None:
        return self.breakers.get((company_id, runbook_id))

    def new_id(self) -> str:
        self.ids += 1
        return f"command-{self.ids}"

    def now(self) -> datetime:
        return NOW

    async def partition_count(self, topic: str) -> int:
        if self.partitions is None:
            raise unavailable("The broker does not answer.")
        return self.partitions

    async def create_producer_topic(self, producer: str) -> None:
        self.topics.append(producer)

    async def put_company(self, company_id: str, name: str) -> None:
        self.companies[company_id] = name

    def wake(self) -> None:
        self.woken += 1


@dataclass
class World:
    """A control plane with two companies, an engineer's key each."""

    api: FastAPI
    pool: asyncpg.Pool
    outside: Outside
    client: httpx.AsyncClient
    keyring: Keyring
    keys: dict[str, str] = field(default_factory=lambda: {"admin": ADMIN_KEY, "service": SERVICE_TOKEN})

    async def call(
        self, who: str | None, method: str, path: str, body: object = None, **options: Any
    ) -> httpx.Response:
        """One request as one of the known callers."""
        headers = {**options.pop("headers", {})}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(who, who)}"
        if body is not None:
            options["json"] = body
        answer = await self.client.request(method, PREFIX + path, headers=headers, **options)
        self.check_described(method, path, answer)
        return answer

    def check_described(self, method: str, path: str, answer: httpx.Response) -> None:
        """The answer is as the OpenAPI document says: routes encode by themselves, so nothing else checks it."""
        document = self.api.openapi()
        for template, methods in document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/:]+", template)
            if re.fullmatch(pattern, PREFIX + path) and method.lower() in methods:
                break
        else:
            return
        described = methods[method.lower()]["responses"].get(str(answer.status_code))
        assert described is not None, f"{method} {template} does not describe {answer.status_code}"
        for content in described.get("content", {}).values():
            schema = content["schema"] | {"components": document["components"]}
            jsonschema.validate(answer.json(), schema)

    async def save(self, who: str, source: str, name: str, **query: object) -> httpx.Response:
        """Save a runbook's YAML."""
        headers = {"Content-Type": "application/yaml"}
        return await self.call(
            who, "PUT", f"/runbooks/{name}", content=source.encode(), headers=headers, params=query
        )

    async def make_keys(self) -> None:
        """An engineer's key of each company."""
        for company in ("acme", "globex"):
            self.keys[company] = await self.key(company, "security_engineer")

    async def put_run(self, execution_id: str, **columns: object) -> None:
        """A run of acme as the finalizer has it."""
        values: dict[str, object] = {
            "execution_id": execution_id, "company_id": "acme", "runbook_id": "page", "runbook_name": "Page",
            "runbook_version": 1, "definition_sha256": "x", "mode": "workflow", "status": "running",
            "event_source": "s", "event_id": "e", "event_type": "finding_created", "payload": b"{}",
        } | columns  # fmt: skip
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await self.pool.execute(
            f"insert into records_read.runs_v1 ({', '.join(values)}) values ({places})", *values.values()
        )

    async def put_history(self, execution_id: str, *events: tuple[str, object]) -> None:
        """A run's history as the engine has it: types and data."""
        for sequence, (kind, data) in enumerate(events, 1):
            await self.pool.execute(
                "insert into engine_read.history_v1 values ($1, $2, $3, now(), $4)",
                execution_id, sequence, kind, msgspec.json.encode(data),
            )  # fmt: skip

    async def empty(self) -> None:
        """As it was made: cheaper than another database for every test."""
        await self.pool.execute("truncate records_read.runs_v1, engine_read.open_v1, engine_read.history_v1")
        tables = await self.pool.fetch(
            "select tablename from pg_tables where schemaname = 'control' and tablename <> 'migrations'"
        )
        await self.pool.execute(f"truncate {', '.join(row[0] for row in tables)} restart identity")
        await bootstrap(self.pool, ADMIN_KEY, SERVICE_TOKEN)
        self.keyring.forget()
        self.keys = {"admin": ADMIN_KEY, "service": SERVICE_TOKEN}
        self.outside.reset()
        await self.make_keys()

    async def key(self, company: str, role: str, *scopes: str) -> str:
        """A new key of a company."""
        body = {"name": f"{company} {role}", "role": role, "scopes": list(scopes)}
        answer = await self.call("admin", "POST", "/identities", body, params={"company": company})
        assert answer.status_code == 201, answer.text
        return answer.json()["key"]

    async def outbox(self, topic: str) -> list[tuple[bytes, dict[str, Any]]]:
        """Key and value of everything said on a topic, in order."""
        rows = await self.pool.fetch("select key, value from outbox where topic = $1 order by id", topic)
        return [(row["key"], msgspec.json.decode(row["value"])) for row in rows]


@asynccontextmanager
async def control_plane(dsn: str, *, with_views: bool = True) -> AsyncIterator[World]:
    """A fresh control plane in an empty database."""
    pool = await connect_pool(dsn, "control", 8)
    await migrate(pool, "control", migration_files("outlast_control_plane"))
    if with_views:
        await pool.execute(VIEWS)
    await bootstrap(pool, ADMIN_KEY, SERVICE_TOKEN)
    outside = Outside()
    keyring = Keyring(PostgresIdentities(pool))
    services = Services(
        pool=pool,
        records=Records(pool, pool),
        keyring=keyring,
        catalogue=outside,
        engines=outside,
        breakers=outside,
        topics=outside,
        platform=outside,
        wake_publisher=outside.wake,
        new_key=new_key,
        new_id=outside.new_id,
        now=outside.now,
        engine_mode="workflow",
        degrade_after=timedelta(seconds=30),
    )
    api = make_api(services)
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://control-plane") as client:
        world = World(api, pool, outside, client, keyring)
        await world.make_keys()
        yield world
    await pool.close()
