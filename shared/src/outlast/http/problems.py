"""Errors as RFC 9457 problem details: what is wrong, where, and what to do next.

Routes raise `Problem`. What belongs to another company is `not_found` with the very words of what never existed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from outlast.errors import DataRejected, LimitExceeded, TransientError
from outlast.runtime.logging import get_logger

log = get_logger(__name__)

CODES = {413: "too_large", 404: "not_found"}
TYPE_PREFIX = "https://outlast.dev/problems/"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: where (a path into the document) and what."""

    path: str
    message: str


@dataclass
class Problem(Exception):
    """Ends a request with this answer."""

    status: int
    code: str
    """Stable and bounded: scripts may rely on it."""
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: dict[str, str] = field(default_factory=dict[str, str])


class FaultShown(BaseModel):
    """One thing that is wrong, and where."""

    path: str
    message: str


class ProblemShown(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FaultShown] = []


_SHOWN = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShown"}}}}


def shown(sentences: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """How requests may end badly, as a router's `responses`: what each status means, in the one form of all."""
    first = min(sentences)  # names the form once, so that the document has its schema
    return {
        status: {**_SHOWN, "description": sentence, **({"model": ProblemShown} if status == first else {})}
        for status, sentence in sentences.items()
    }


def not_found(kind: str) -> Problem:
    """Nothing there that the caller may know of. `kind` says what was looked for, never which."""
    return Problem(404, "not_found", f"There is no such {kind}.")


def forbidden(detail: str) -> Problem:
    """The caller is known and may not do this."""
    return Problem(403, "forbidden", detail)


def invalid(detail: str, *errors: Fault) -> Problem:
    """The request's content cannot be taken."""
    return Problem(422, "invalid", detail, errors)


def unavailable(detail: str, retry_after_seconds: float = 1.0) -> Problem:
    """Something we need is away; the same request may succeed later."""
    seconds = max(1, round(retry_after_seconds))
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(seconds)})


def problem_response(problem: Problem) -> Response:
    """The problem on the wire."""
    body: dict[str, object] = {
        "type": TYPE_PREFIX + problem.code,
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"path": fault.path, "message": fault.message} for fault in problem.errors]
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def install_handlers(app: FastAPI) -> None:
    """Every way a request can end badly, answered in one form."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, fault: Problem) -> Response:
        return problem_response(fault)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, fault: RequestValidationError) -> Response:
        errors = tuple(Fault(_path(error["loc"]), str(error["msg"])) for error in fault.errors())
        return problem_response(invalid("The request is not as this API describes it.", *errors))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, fault: HTTPException) -> Response:
        code = CODES.get(fault.status_code) or HTTPStatus(fault.status_code).name.lower()
        headers = dict(fault.headers or {})
        if fault.status_code == 405:
            named = headers.get("Allow", "").split(", ")  # of one route, and in any order
            headers["Allow"] = ", ".join(_allowed(app, request) or sorted(named))
        return problem_response(Problem(fault.status_code, code, str(fault.detail), headers=headers))

    @app.exception_handler(LimitExceeded)
    async def _limit(_: Request, fault: LimitExceeded) -> Response:
        return problem_response(Problem(413, "too_large", str(fault)))

    @app.exception_handler(DataRejected)
    async def _data(_: Request, fault: DataRejected) -> Response:
        log.warning("data_rejected", error=str(fault))
        return problem_response(invalid("Some text of the request cannot be stored."))

    @app.exception_handler(TransientError)
    async def _transient(_: Request, fault: TransientError) -> Response:
        log.warning("dependency_away", error=str(fault))
        return problem_response(
            unavailable("The store does not answer; try again.", fault.retry_after_seconds or 1.0)
        )

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, fault: Exception) -> Response:
        log.error("request_failed", path=request.url.path, exc_info=fault)
        return problem_response(
            Problem(500, "internal", "This is our fault; the service's log has the reason.")
        )


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that this path has; the framework names those of one route only."""
    return sorted(
        method.upper()
        for path, item in app.openapi()["paths"].items()
        if compile_path(path)[0].fullmatch(request.url.path)
        for method in item
    )


def _path(location: tuple[object, ...]) -> str:
    parts = [str(part) for part in location]
    return ".".join(
        parts[1:] if parts and parts[0] in {"body", "query", "path", "header"} and len(parts) > 1 else parts
    )
