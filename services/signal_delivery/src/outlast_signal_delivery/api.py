"""The HTTP application: routes, errors, bounds. Made without connecting to anything, so that its OpenAPI can be
written by a script.
"""

from typing import Any

from fastapi import FastAPI

from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import ProblemShown, install_handlers
from outlast_signal_delivery import metrics
from outlast_signal_delivery.limits import REQUEST_BYTES_MAX
from outlast_signal_delivery.routes import signals
from outlast_signal_delivery.services import Services

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
    409: {"description": "The id is that of another signal"},
    413: {"description": "Too large"},
    422: {"description": "The content cannot be taken; `errors` say where"},
    503: {"description": "Something is away; try again after Retry-After"},
}


def make_api(services: Services | None) -> FastAPI:
    """The application over these services; None where only its description is wanted."""
    api = FastAPI(
        title="Outlast signal delivery",
        version=VERSION,
        description="Signals to runs, and what became of them. Errors are RFC 9457 problem details.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.services = services
    responses = {status: PROBLEM | described for status, described in PROBLEMS.items()}
    api.include_router(signals.router, prefix=PREFIX, responses=responses)
    install_handlers(api)
    api.add_middleware(Measured, seconds=metrics.requests)
    api.add_middleware(BodyLimit, bytes_max=REQUEST_BYTES_MAX)
    return api
