"""Who may call: API keys, shown once when made, kept as digests, revoked for good."""

from typing import Annotated

import asyncpg
import msgspec
from fastapi import APIRouter, Path, Request, Response

from outlast.contracts.topics import IDENTITIES
from outlast.db.pool import transaction
from outlast.http.problems import Fault, forbidden, invalid, not_found
from outlast_control_plane.access import Caller, CallerIs, CompanyNamed, Role, identity_id, key_digest
from outlast_control_plane.audit import note
from outlast_control_plane.compacted import identity_message, raise_revision, say
from outlast_control_plane.idempotency import Answer, IdempotencyKey, json_response, once
from outlast_control_plane.models import IdentityMade, IdentityPage, IdentityShown, NewIdentity
from outlast_control_plane.pages import LIMIT_DEFAULT, After, Limit, page
from outlast_control_plane.queries import QUERIES, one
from outlast_control_plane.services import ServicesAre

router = APIRouter(tags=["identities"])

IdentityId = Annotated[str, Path(alias="id", pattern=r"^[\x21-\x7e]{1,100}$")]


@router.post("/identities", status_code=201, response_model=IdentityMade)
async def create_identity(
    request: Request,
    wanted: NewIdentity,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    key: IdempotencyKey = None,
) -> Response:
    """Make an identity. The answer holds its key, which is stored nowhere and never shown again."""
    company_id = _company_of_new(caller, company, wanted)
    secret = services.new_key()
    digest = key_digest(secret)
    new_id = identity_id(digest)

    async def work(connection: asyncpg.Connection) -> Answer:
        revision = await raise_revision(connection, IDENTITIES)
        await connection.execute(
            QUERIES["put_identity"], new_id, digest, wanted.name, company_id, wanted.role,
            wanted.scopes, revision, caller.id,
        )  # fmt: skip
        row = await one(connection, "identity", new_id)
        await say(connection, IDENTITIES, revision, new_id, identity_message(row))
        await note(connection, caller, company_id, "identity.create", new_id, role=wanted.role)
        shown = _shown(row)
        return Answer(201, shown | {"key": secret}, kept=shown | {"key": None})

    response = await once(services.pool, request, caller, key, work)
    services.keyring.forget()
    services.wake_publisher()
    return response


@router.get("/identities", response_model=IdentityPage)
async def list_identities(
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    limit: Limit = LIMIT_DEFAULT,
    after: After = "",
) -> Response:
    """The identities of a company; an administrator who names none sees all."""
    company_id = caller.company_or_all(company)
    caller.need(Role.SECURITY_ENGINEER)
    async with transaction(services.pool) as connection:
        rows = await connection.fetch(QUERIES["identities_page"], company_id, after, limit + 1)
    return json_response(200, msgspec.json.encode(page(rows, limit, "id", _shown)))


@router.delete("/identities/{id}", response_model=IdentityShown)
async def revoke_identity(
    wanted_id: IdentityId, caller: CallerIs, services: ServicesAre, company: CompanyNamed = None
) -> Response:
    """Revoke a key: this API refuses it from the next request on, other services within seconds."""
    company_id = caller.company_or_all(company)
    caller.need(Role.SECURITY_ENGINEER)
    async with transaction(services.pool) as connection:
        row = await connection.fetchrow(QUERIES["identity"], wanted_id)
        if row is None or company_id not in {None, row["company_id"]}:
            raise not_found("identity")
        if not row["is_revoked"]:
            revision = await raise_revision(connection, IDENTITIES)
            await connection.execute(QUERIES["revoke_identity"], wanted_id, revision)
            row = await one(connection, "identity", wanted_id)
            await say(connection, IDENTITIES, revision, wanted_id, identity_message(row))
            await note(connection, caller, row["company_id"], "identity.revoke", wanted_id)
    services.keyring.forget()
    services.wake_publisher()
    return json_response(200, msgspec.json.encode(_shown(row)))


def _company_of_new(caller: Caller, company: str | None, wanted: NewIdentity) -> str:
    caller_company = caller.company_or_all(company)
    caller.need(Role.SECURITY_ENGINEER)
    if wanted.role == "platform_administrator":
        if not caller.is_administrator:
            raise forbidden("Only a platform administrator makes another.")
        if company is not None:
            raise invalid(
                "A platform administrator belongs to no company.", Fault("company", "expected none")
            )
        return ""
    if wanted.role == "service" and caller_company is None:
        return ""  # a machine account that works for every company; only an administrator gets here
    return caller.company(company)


def _shown(row: asyncpg.Record) -> dict[str, object]:
    return {
        "id": row["id"],
        "name": row["name"],
        "company": row["company_id"],
        "role": row["role"],
        "scopes": list(row["scopes"]),
        "is_revoked": row["is_revoked"],
        "created_at": row["created_at"],
    }
