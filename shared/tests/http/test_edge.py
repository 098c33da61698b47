"""The HTTP edge that every API has: bounds on bodies, one form for errors, the time of each answer."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry, Histogram

from outlast.errors import DataRejected, LimitExceeded, TransientError
from outlast.http.bounds import BodyLimit, Measured
from outlast.http.problems import install_handlers, not_found, shown

LABELS = ("method", "route", "status")


class Edge:
    """A small API behind all of it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        app = FastAPI(openapi_url="/openapi.json")

        @app.get("/things/{name}", responses=shown({404: "No such thing"}))
        async def show(name: str) -> str:
            faults = {"away": TransientError("x"), "nul": DataRejected("x"), "huge": LimitExceeded("M", 1, 2)}
            if name in faults:
                raise faults[name]
            if name == "broken":
                raise ValueError("secret")
            raise not_found("thing")

        @app.put("/things/{name}")
        @app.put("/reports")
        async def take(request: Request) -> int:
            return len(await request.body())

        install_handlers(app)
        seconds = Histogram("seconds", "s", LABELS, registry=self.registry)
        app.add_middleware(Measured, seconds=seconds)
        app.add_middleware(BodyLimit, bytes_max=10, larger={"/reports": 20})
        self.app = app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://edge")

    def measured(self, method: str, route: str, status: int) -> float:
        labels = dict(zip(LABELS, (method, route, str(status)), strict=True))
        return self.registry.get_sample_value("seconds_count", labels) or 0.0


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    made = Edge()
    yield made
    await made.http.aclose()


async def pieces(*each: bytes) -> AsyncIterator[bytes]:
    for piece in each:
        yield piece


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("none", 404, "not_found"),
        ("away", 503, "unavailable"),
        ("nul", 422, "invalid"),
        ("huge", 413, "too_large"),
        ("broken", 500, "internal"),
    ],
)
async def test_every_fault_is_answered_in_one_form_and_says_nothing_of_our_insides(
    edge: Edge, name: str, status: int, code: str
) -> None:
    answer = await edge.http.get(f"/things/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"], body["type"]) == (
        status, code, f"https://outlast.dev/problems/{code}",
    )  # fmt: skip
    assert "secret" not in answer.text


async def test_a_method_that_a_path_has_not_is_answered_with_those_that_it_has(edge: Edge) -> None:
    answer = await edge.http.delete("/things/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PUT")
    hidden = await edge.http.delete("/openapi.json")  # of the framework, and in no document
    assert hidden.status_code == 405
    assert hidden.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("path", "bytes_max"), [("/things/x", 10), ("/reports", 20)])
async def test_a_body_is_bounded_whether_or_not_it_says_its_length(
    edge: Edge, path: str, bytes_max: int
) -> None:
    assert (await edge.http.put(path, content=b"x" * bytes_max)).json() == bytes_max
    half = b"x" * (bytes_max // 2)
    assert (await edge.http.put(path, content=pieces(half, half))).json() == bytes_max
    for content in (b"x" * (bytes_max + 1), pieces(half, half, b"x")):
        answer = await edge.http.put(path, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert f"at most {bytes_max} bytes" in answer.json()["detail"]


async def test_answers_are_measured_by_the_route_as_written_and_what_has_none_in_one_place(
    edge: Edge,
) -> None:
    await edge.http.get("/things/one")
    await edge.http.get("/things/two")
    await edge.http.request("BREW", "/elsewhere")
    assert edge.measured("GET", "/things/{name}", 404) == 2
    assert edge.measured("other", "unknown", 404) == 1


def test_the_document_has_the_one_form_of_problems(edge: Edge) -> None:
    document = edge.app.openapi()
    told = document["paths"]["/things/{name}"]["get"]["responses"]["404"]
    assert told["description"] == "No such thing"
    assert told["content"]["application/problem+json"]["schema"]["$ref"].endswith("/ProblemShown")
    assert "errors" in document["components"]["schemas"]["ProblemShown"]["properties"]
