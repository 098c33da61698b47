"""The HTTP application: routes, errors, bounds. Made without connecting to anything, so that its OpenAPI can be
written by a script.
"""

from fastapi import FastAPI

from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import install_handlers, shown
from outlast_control_plane import metrics
from outlast_control_plane.limits import REQUEST_BYTES_MAX
from outlast_control_plane.routes import administration, commands, events, executions, identities, runbooks
from outlast_control_plane.services import Services

PREFIX = "/api/v1"
VERSION = "1"

PROBLEMS = {
    400: "The request needs something more",
    401: "No API key, or one that nobody holds",
    403: "The caller may not do this",
    404: "There is no such thing for this caller",
    409: "Not in the state that it is in; `detail` says what to do first",
    412: "The thing has changed since it was read",
    413: "Too large",
    415: "Another content type is expected",
    422: "The content cannot be taken; `errors` say where",
    502: "The platform service refused",
    503: "Something is away; try again after Retry-After",
}


def make_api(services: Services | None) -> FastAPI:
    """The application over these services; None where only its description is wanted."""
    api = FastAPI(
        title="Outlast control plane",
        version=VERSION,
        description="Runbooks, runs, identities and events. Errors are RFC 9457 problem details.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.services = services
    responses = shown(PROBLEMS)
    for module in (runbooks, commands, events, executions, identities, administration):
        api.include_router(module.router, prefix=PREFIX, responses=responses)
    install_handlers(api)

    api.add_middleware(Measured, seconds=metrics.requests)
    api.add_middleware(BodyLimit, bytes_max=REQUEST_BYTES_MAX)
    return api
