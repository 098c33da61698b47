"""The HTTP application: routes, errors, bounds. Made without connecting to anything, so that its OpenAPI can be
written by a script.
"""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import ProblemShown, install_handlers
from outlast_platform import metrics
from outlast_platform.internal import InternalDoor
from outlast_platform.limits import REPORT_BYTES_MAX, REQUEST_BYTES_MAX
from outlast_platform.routes import assets, companies, findings, imports, teams
from outlast_platform.services import Services

PREFIX = "/api/v1"
VERSION = "1"

PROBLEM: dict[str, Any] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShown"}}}
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request needs something more", "model": ProblemShown},
    401: {"description": "No API key, or one that nobody holds"},
    403: {"description": "The caller may not do this"},
    404: {"description": "There is no such thing for this caller"},
    413: {"description": "Too large"},
    422: {"description": "The content cannot be taken; `errors` say where"},
    503: {"description": "Something is away; try again after Retry-After"},
}


def make_api(services: Services | None) -> FastAPI:
    """The public API over these services; None where only its description is wanted."""
    api = FastAPI(
        title="Outlast platform",
        version=VERSION,
        description="Findings, assets, teams, imports. Errors are RFC 9457 problem details.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.services = services
    responses = {status: PROBLEM | described for status, described in PROBLEMS.items()}
    for module in (companies, teams, assets, findings, imports):
        api.include_router(module.router, prefix=PREFIX, responses=responses)
    install_handlers(api)

    api.add_middleware(Measured, seconds=metrics.requests)
    larger = {f"{PREFIX}/imports": REPORT_BYTES_MAX}
    api.add_middleware(BodyLimit, bytes_max=REQUEST_BYTES_MAX, larger=larger)
    return api


def make_application(services: Services) -> ASGIApp:
    """The public API with the doors for our own services in front of it."""
    return InternalDoor(make_api(services), services)
