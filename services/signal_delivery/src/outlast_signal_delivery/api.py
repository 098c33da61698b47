"""The HTTP application: routes, errors, bounds. Made without connecting to anything, so that its OpenAPI can be
written by a script.
"""

from fastapi import FastAPI

from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import install_handlers, shown
from outlast_signal_delivery import metrics
from outlast_signal_delivery.limits import REQUEST_BYTES_MAX
from outlast_signal_delivery.routes import signals
from outlast_signal_delivery.services import Services

PREFIX = "/api/v1"
VERSION = "1"

PROBLEMS = {
    400: "The request needs something more",
    401: "No API key, or one that nobody holds",
    403: "The caller may not do this",
    404: "There is no such thing for this caller",
    409: "The id is that of another signal",
    413: "Too large",
    422: "The content cannot be taken; `errors` say where",
    503: "Something is away; try again after Retry-After",
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
    responses = shown(PROBLEMS)
    api.include_router(signals.router, prefix=PREFIX, responses=responses)
    install_handlers(api)
    api.add_middleware(Measured, seconds=metrics.requests)
    api.add_middleware(BodyLimit, bytes_max=REQUEST_BYTES_MAX)
    return api
