"""The batched look-up: what findings and assets are now, for the matcher. The hot path of this service.

One statement for the whole batch; Postgres writes the JSON, and Python only joins it.
"""

import asyncpg
import msgspec

from outlast.db.pool import classified
from outlast.errors import ContractError, LimitExceeded
from outlast.limits import LOOKUP_IDS_MAX
from outlast_platform.store import QUERIES


class LookupRequest(msgspec.Struct, frozen=True):
    """A finding, an asset, or both, of one company. Without `asset_id` the finding's own asset is meant."""

    company_id: str
    finding_id: str | None = None
    asset_id: str | None = None


class Lookup(msgspec.Struct, frozen=True):
    """A batch of requests; the results stand in the same order."""

    requests: tuple[LookupRequest, ...]


_decoder = msgspec.json.Decoder(Lookup)


def decode_lookup(body: bytes) -> Lookup:
    """ContractError with the path of the fault; LimitExceeded for a batch that is too large."""
    try:
        lookup = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        text, _, path = str(fault).partition(" - at `$.")
        raise ContractError(text, path.rstrip("`")) from fault
    if len(lookup.requests) > LOOKUP_IDS_MAX:
        raise LimitExceeded("lookup_ids_max", LOOKUP_IDS_MAX, len(lookup.requests))
    if b"\\u0000" in body:  # nothing has such an id, and one bad id must not be the end of its batch
        return Lookup(tuple(_without_nul(request) for request in lookup.requests))
    return lookup


def _without_nul(request: LookupRequest) -> LookupRequest:
    return LookupRequest(
        request.company_id.replace("\x00", "\ufffd"),
        request.finding_id and request.finding_id.replace("\x00", "\ufffd"),
        request.asset_id and request.asset_id.replace("\x00", "\ufffd"),
    )


async def look_up(service_pool: asyncpg.Pool, lookup: Lookup) -> bytes:
    """`{"results": [{"finding": …, "asset": …}]}`; null for what does not exist in that company."""
    requests = lookup.requests
    async with classified(), service_pool.acquire() as connection:
        rows = await connection.fetch(
            QUERIES["lookup"],
            [request.company_id for request in requests],
            [request.finding_id or None for request in requests],
            [request.asset_id or None for request in requests],
        )
    results = ",".join(
        [f'{{"finding":{finding or "null"},"asset":{asset or "null"}}}' for finding, asset in rows]
    )
    return f'{{"results":[{results}]}}'.encode()
