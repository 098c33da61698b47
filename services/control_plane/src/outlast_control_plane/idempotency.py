"""One effect and one answer for every Idempotency-Key.

The key, the request's digest and the answer are stored in the transaction of the effect: after a crash either
both are there or neither. Errors are not kept: a request that failed may be tried again under its key.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import asyncpg
import msgspec
from fastapi import Header, Request
from fastapi.responses import Response

from outlast.db.pool import transaction
from outlast.http.problems import Problem
from outlast_control_plane.access import Caller
from outlast_control_plane.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX
from outlast_control_plane.queries import QUERIES

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key gives the same answer and no second effect, for a day.",
    ),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to. `kept` is what is told again, where that must differ (a secret shown once)."""

    status: int
    body: object
    kept: object | None = None

    def response(self) -> Response:
        """The answer on the wire."""
        return json_response(self.status, msgspec.json.encode(self.body))


def json_response(status: int, body: bytes, **headers: str) -> Response:
    """JSON that is encoded already."""
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


async def once(
    pool: asyncpg.Pool,
    request: Request,
    caller: Caller,
    key: str | None,
    work: Callable[[asyncpg.Connection], Awaitable[Answer]],
) -> Response:
    """Do `work` in one transaction; with a key that was used, answer as then and do nothing."""
    digest = await _request_digest(request) if key else ""
    async with transaction(pool) as connection:
        if key:
            await connection.execute(QUERIES["lock_idempotency_key"], caller.id, key)
            kept = await connection.fetchrow(QUERIES["idempotent_answer"], caller.id, key)
            if kept is not None:
                if kept["request_sha256"] != digest:
                    raise Problem(
                        422, "idempotency_key_reused", "This Idempotency-Key was used for another request."
                    )
                return json_response(kept["status"], kept["body"], Idempotency_Replayed="true")
        answer = await work(connection)
        if key:
            body = msgspec.json.encode(answer.body if answer.kept is None else answer.kept)
            await connection.execute(
                QUERIES["keep_idempotent_answer"], caller.id, key, digest, answer.status, body
            )
    return answer.response()


async def _request_digest(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    return digest.hexdigest()
