"""The HTTP application: routes, errors, bounds. Made without connecting to anything, so that its OpenAPI can be
written by a script.
"""

from fastapi import FastAPI
from starlette.types import ASGIApp

from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import install_handlers, shown
from outlast_platform import metrics
from outlast_platform.internal import InternalDoor
from outlast_platform.limits import REPORT_BYTES_MAX, REQUEST_BYTES_MAX
from outlast_platform.routes import assets, companies, findings, imports, teams
from outlast_platform.services import Services

PREFIX = "/api/v1"
VERSION = "1"

PROBLEMS = {
    400: "The request needs something more",
    401: "No API key, or one that nobody holds",
    403: "The caller may not do this",
    404: "There is no such thing for this caller",
    413: "Too large",
    422: "The content cannot be taken; `errors` say where",
    503: "Something is away; try again after Retry-After",
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
    responses = shown(PROBLEMS)
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
