"""Runbooks' operations on findings: a batch in one transaction, each once for its idempotency key."""

import asyncpg
import msgspec

from outlast.errors import ContractError, LimitExceeded
from outlast.limits import FINDING_OPERATIONS_MAX
from outlast_platform.core.findings import Finding
from outlast_platform.core.operations import ChangedState, Operation, OperationResult, apply, state_after
from outlast_platform.limits import KEY_CHARACTERS_MAX
from outlast_platform.store import QUERIES, Actor, AuthoredChange, Write, lock_findings, write_changes

Key = tuple[str, str]
"""Company and idempotency key."""


class Operations(msgspec.Struct, frozen=True):
    """A batch; the results stand in the same order."""

    operations: tuple[Operation, ...]


class OperationResults(msgspec.Struct, frozen=True):
    """The answer to a batch."""

    results: tuple[OperationResult, ...]


_decoder = msgspec.json.Decoder(Operations)
_state_decoder = msgspec.json.Decoder(ChangedState)
_encoder = msgspec.json.Encoder()


def decode_operations(body: bytes) -> Operations:
    """ContractError with the path of the fault; LimitExceeded for a batch that is too large."""
    try:
        batch = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        text, _, path = str(fault).partition(" - at `$.")
        raise ContractError(text, path.rstrip("`")) from fault
    if len(batch.operations) > FINDING_OPERATIONS_MAX:
        raise LimitExceeded("finding_operations_max", FINDING_OPERATIONS_MAX, len(batch.operations))
    return batch


async def apply_operations(
    connection: asyncpg.Connection, write: Write, batch: Operations
) -> OperationResults:
    """Apply what was not applied before; answer what was with its recorded result.

    A key is taken before the finding changes and in the same transaction, so a concurrent repetition waits and then
    finds the result. What is refused or not found leaves its key free.
    """
    sound = [each for each in batch.operations if not _fault_of(each)]
    findings = await lock_findings(connection, {(each.company_id, each.finding_id) for each in sound})
    candidates = [each for each in sound if (each.company_id, each.finding_id) in findings]
    taken = await _claim(connection, write, candidates)
    recorded = await _recorded(connection, [each for each in sound if _key(each) not in taken])
    results: list[OperationResult] = []
    changes: list[AuthoredChange] = []
    for each in batch.operations:
        if fault := _fault_of(each):
            results.append(OperationResult(status="refused", message=fault))
            continue
        result, change = _decide(each, findings, taken, recorded)
        results.append(result)
        if change is not None:
            changes.append(change)
            findings[each.company_id, each.finding_id] = change.change.finding
    await write_changes(connection, write, changes)
    await _settle(connection, taken, recorded)
    return OperationResults(tuple(results))


def _fault_of(operation: Operation) -> str:
    """Why nothing of this operation can be stored, "" if it can. One company's fault is not another's."""
    actor = operation.actor
    for name, text in (
        ("company_id", operation.company_id),
        ("finding_id", operation.finding_id),
        ("idempotency_key", operation.idempotency_key),
        ("actor.runbook_id", actor.runbook_id),
    ):
        if not 1 <= len(text) <= KEY_CHARACTERS_MAX or "\x00" in text:
            return f"{name}: expected 1 to {KEY_CHARACTERS_MAX} characters without NUL"
    if "\x00" in actor.runbook_name or "\x00" in actor.execution_id:
        return "actor: expected text without NUL"
    return ""


def _decide(
    operation: Operation,
    findings: dict[Key, Finding],
    taken: set[Key],
    recorded: dict[Key, tuple[str, str, ChangedState]],
) -> tuple[OperationResult, AuthoredChange | None]:
    key = _key(operation)
    if key in recorded:
        finding_id, action, state = recorded[key]
        if (finding_id, action) != (operation.finding_id, operation.action):
            message = f"this key belongs to {action} of finding {finding_id}"
            return OperationResult(status="refused", message=message), None
        return OperationResult(status="repeated", finding=state), None
    finding = findings.get((operation.company_id, operation.finding_id))
    if finding is None or key not in taken:
        return OperationResult(status="not_found", message="there is no such finding"), None
    try:
        change = apply(finding, operation)
    except ContractError as fault:
        return OperationResult(status="refused", message=str(fault)), None
    state = state_after(change)
    recorded[key] = (operation.finding_id, operation.action, state)  # a repetition within the batch finds it
    actor = operation.actor
    author = Actor("runbook", actor.runbook_id, actor.runbook_name, actor.execution_id)
    return OperationResult(status="applied", finding=state), AuthoredChange(
        change, author, operation.whole_chain()
    )


async def _claim(connection: asyncpg.Connection, write: Write, operations: list[Operation]) -> set[Key]:
    """The keys that were free and now are ours."""
    if not operations:
        return set()
    first = {_key(each): each for each in reversed(operations)}
    rows = await connection.fetch(
        QUERIES["claim_operations"],
        [company for company, _ in first],
        [key for _, key in first],
        [each.finding_id for each in first.values()],
        [each.action for each in first.values()],
        write.at,
    )
    return {(row["company_id"], row["idempotency_key"]) for row in rows}


async def _recorded(
    connection: asyncpg.Connection, operations: list[Operation]
) -> dict[Key, tuple[str, str, ChangedState]]:
    """Finding, action and result of the keys that were taken before."""
    if not operations:
        return {}
    rows = await connection.fetch(
        QUERIES["applied_operations"],
        [each.company_id for each in operations],
        [each.idempotency_key for each in operations],
    )
    return {
        (row["company_id"], row["idempotency_key"]): (
            row["finding_id"],
            row["action"],
            _state_decoder.decode(row["result"]),
        )
        for row in rows
    }


async def _settle(
    connection: asyncpg.Connection, taken: set[Key], recorded: dict[Key, tuple[str, str, ChangedState]]
) -> None:
    done = sorted(key for key in taken if key in recorded)
    free = sorted(key for key in taken if key not in recorded)
    if done:
        await connection.execute(
            QUERIES["record_operations"],
            [company for company, _ in done],
            [key for _, key in done],
            [_encoder.encode(recorded[key][2]) for key in done],
        )
    if free:
        await connection.execute(
            QUERIES["release_operations"], [company for company, _ in free], [key for _, key in free]
        )


def _key(operation: Operation) -> Key:
    return operation.company_id, operation.idempotency_key
