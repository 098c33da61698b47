"""Company isolation in the database: which sessions see what.

Two pools. A session of the *tenant* pool sees nothing until its transaction names the company; requests of people
run there. A session of the *service* pool sees all companies: our own work for other services, where every
statement names the company row by row, and what belongs to no company. Row-level security is forced on the tables'
owner. A role that bypasses it (a superuser's DSN) is exchanged for one that does not, in both pools.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC

import asyncpg

from outlast.db.migrate import migrate, migration_files
from outlast.db.pool import connect_pool, transaction

SCHEMA = "platform"
TENANT_ROLE = "outlast_platform_tenant"
ALL_COMPANIES = "*"
TENANT_SESSIONS_MAX = 6
SERVICE_SESSIONS_MAX = 6
_SETTINGS = {"timezone": UTC.tzname(None) or "UTC"}

BYPASSES_ROW_SECURITY = "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"
_MAKE_ROLE = f"""
do $$ begin
    create role {TENANT_ROLE} nologin nosuperuser nobypassrls;
exception when duplicate_object or unique_violation then null;
end $$;
grant usage on schema {SCHEMA} to {TENANT_ROLE};
grant select, insert, update, delete on all tables in schema {SCHEMA} to {TENANT_ROLE};
grant usage on all sequences in schema {SCHEMA} to {TENANT_ROLE};
"""


@dataclass(frozen=True)
class Pools:
    """The sessions of this process."""

    tenants: asyncpg.Pool
    service: asyncpg.Pool

    @asynccontextmanager
    async def of_company(self, company_id: str) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that sees this company and no other."""
        async with transaction(self.tenants) as connection:
            await connection.execute("select set_config('outlast.company', $1, true)", company_id)
            yield connection

    @asynccontextmanager
    async def of_all(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that sees every company; its statements say which one they mean."""
        async with transaction(self.service) as connection:
            yield connection

    async def close(self) -> None:
        """End all sessions."""
        await self.tenants.close()
        await self.service.close()


async def open_pools(dsn: str) -> Pools:
    """Bring the schema up to date and open both pools. Waits for the server as long as it takes."""
    settings = dict(_SETTINGS)
    owner = await connect_pool(dsn, SCHEMA, 1)
    try:
        await migrate(owner, SCHEMA, migration_files("outlast_platform"))
        if await owner.fetchval(BYPASSES_ROW_SECURITY):
            await owner.execute(_MAKE_ROLE)
            settings["role"] = TENANT_ROLE
    finally:
        await owner.close()
    return Pools(
        tenants=await connect_pool(dsn, SCHEMA, TENANT_SESSIONS_MAX, settings),
        service=await connect_pool(
            dsn, SCHEMA, SERVICE_SESSIONS_MAX, settings | {"outlast.company": ALL_COMPANIES}, is_reset=False
        ),
    )
