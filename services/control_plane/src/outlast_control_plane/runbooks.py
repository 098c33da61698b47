"""Saving, switching and deleting runbooks: each change is a row, a message for the matcher and an audit line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from msgspec import Raw

from outlast.contracts.messages import Breaker, Definition, RunbookReference
from outlast.contracts.topics import DEFINITIONS
from outlast.http.problems import Problem, not_found
from outlast_control_plane.access import Caller
from outlast_control_plane.audit import note
from outlast_control_plane.compacted import definition_key, definition_message, raise_revision, say
from outlast_control_plane.core.change import Change, Current, change_of
from outlast_control_plane.definitions import Checked
from outlast_control_plane.queries import QUERIES, number, one
from outlast_control_plane.services import Breakers

Row = Mapping[str, Any] | asyncpg.Record


@dataclass(frozen=True, slots=True)
class Saved:
    """What a save came to."""

    change: Change
    version: int
    is_active: bool
    revision: int


def etag(row: Row) -> str:
    """Changes whenever anything about the runbook does."""
    return f'"{row["revision"]}"'


def summary(row: asyncpg.Record, breakers: Breakers) -> dict[str, object]:
    """A runbook as lists show it. It is active if it is switched on and its breaker is closed."""
    breaker = breakers.breaker(row["company_id"], row["runbook_id"])
    return {
        "id": row["runbook_id"],
        "name": row["name"],
        "company": row["company_id"],
        "version": row["version"],
        "is_active": row["is_active"] and not is_open(breaker),
        "is_switched_on": row["is_active"],
        "breaker_tripped_at": breaker.tripped_at if breaker is not None and breaker.is_open else None,
        "failures": 0 if breaker is None else breaker.failures,
        "sha256": row["sha256"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "saved_at": row["saved_at"],
        "author": {"id": row["author_id"], "name": row["author_name"]},
        "etag": etag(row),
    }


def is_open(breaker: Breaker | None) -> bool:
    """Whether the runbook's firings are held back; a breaker of which nothing was said is closed."""
    return breaker is not None and breaker.is_open


async def locked(connection: asyncpg.Connection, company_id: str, runbook_id: str) -> asyncpg.Record:
    """The runbook, held until the transaction ends; `not_found` if it is not there for this company."""
    row = await connection.fetchrow(QUERIES["lock_runbook"], company_id, runbook_id)
    if row is None or row["is_deleted"]:
        raise not_found("runbook")
    return row


def check_match(row: asyncpg.Record | None, if_match: str | None) -> None:
    """Refuse when the runbook is not the one that the caller has seen."""
    if if_match is None:
        return
    exists = row is not None and not row["is_deleted"]
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    if not exists or ("*" not in tags and etag(row) not in tags):  # pyright: ignore[reportArgumentType] exists
        raise Problem(412, "changed", "The runbook is not the one you have seen: get it again, then save.")


async def save(
    connection: asyncpg.Connection,
    caller: Caller,
    company_id: str,
    checked: Checked,
    *,
    activate: bool | None,
    if_match: str | None,
) -> Saved:
    """Keep a checked document as a new version, unless it is the current one; `activate` None leaves that as is."""
    name = checked.runbook_id
    await connection.execute(QUERIES["lock_runbook_name"], company_id, name)
    row = await connection.fetchrow(QUERIES["lock_runbook"], company_id, name)
    check_match(row, if_match)
    current = None if row is None else Current(row["version"], row["sha256"], row["is_deleted"])
    change = change_of(current, checked.sha256)
    was_active = row is not None and row["is_active"]
    is_active = was_active if activate is None else activate
    if row is not None and change is Change.UNCHANGED:
        if is_active == was_active:
            return Saved(change, row["version"], is_active, row["revision"])
        revision = await switch(connection, caller, row, is_active=is_active)
        return Saved(change, row["version"], is_active, revision)
    version = await number(connection, "next_version", company_id, name)
    await connection.execute(
        QUERIES["put_version"], company_id, name, version, caller.id, caller.name,
        checked.sha256, checked.document, checked.source, checked.source_format,
    )  # fmt: skip
    revision = await raise_revision(connection, DEFINITIONS)
    await connection.execute(
        QUERIES["put_runbook"], company_id, name, checked.name, version, is_active, revision
    )
    message = Definition(
        company_id=company_id,
        runbook=RunbookReference(id=name, name=checked.name, version=version, sha256=checked.sha256),
        is_active=is_active,
        revision=revision,
        definition=Raw(checked.document),
    )
    await say(connection, DEFINITIONS, revision, definition_key(company_id, name), message)
    await note(
        connection, caller, company_id, f"runbook.{change}", name,
        version=version, sha256=checked.sha256, is_active=is_active,
    )  # fmt: skip
    return Saved(change, version, is_active, revision)


async def switch(
    connection: asyncpg.Connection, caller: Caller, row: asyncpg.Record, *, is_active: bool
) -> int:
    """Switch a locked runbook on or off; returns its revision. No change, no message."""
    if row["is_active"] == is_active:
        return int(row["revision"])
    company_id, name = row["company_id"], row["runbook_id"]
    revision = await raise_revision(connection, DEFINITIONS)
    await connection.execute(QUERIES["set_active"], company_id, name, is_active, revision)
    await _say_current(connection, row, revision, is_active=is_active)
    verb = "runbook.activate" if is_active else "runbook.deactivate"
    await note(connection, caller, company_id, verb, name, version=row["version"])
    return revision


async def delete(connection: asyncpg.Connection, caller: Caller, row: asyncpg.Record) -> None:
    """Take a locked runbook out of use. Its versions stay: runs refer to them."""
    company_id, name = row["company_id"], row["runbook_id"]
    revision = await raise_revision(connection, DEFINITIONS)
    await connection.execute(QUERIES["delete_runbook"], company_id, name, revision)
    await _say_current(connection, row, revision, is_active=False, is_deleted=True)
    await note(connection, caller, company_id, "runbook.delete", name, version=row["version"])


async def _say_current(
    connection: asyncpg.Connection,
    row: asyncpg.Record,
    revision: int,
    *,
    is_active: bool,
    is_deleted: bool = False,
) -> None:
    company_id, name = row["company_id"], row["runbook_id"]
    version = await one(connection, "version", company_id, name, row["version"])
    changed = {"is_active": is_active, "is_deleted": is_deleted, "revision": revision}
    message = definition_message({**row, "document": version["document"], **changed})
    await say(connection, DEFINITIONS, revision, definition_key(company_id, name), message)
