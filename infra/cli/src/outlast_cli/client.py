"""The services' APIs over HTTP: answers as values, problems as failures that say what to do."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from outlast_cli.failures import Failure
from outlast_cli.profiles import Target

TIMEOUT_SECONDS = 30.0
ATTEMPTS_MAX = 4
PAUSE_SECONDS = 0.5
PREFIX = "/api/v1"

NEXT_STEPS = {
    401: "check OUTLAST_API_KEY, or make a key: outlast identity create",
    403: "use a key with a greater role: --profile admin, or --key",
    404: "list what there is: outlast runbook list, outlast run list",
    412: "look at it again: outlast runbook show NAME",
    413: "send less at once",
    502: "look at the platform's log: outlast status",
    503: "wait a moment and try again; what is away says: outlast status",
}
NEXT_STEPS_OF_CODES = {
    "inactive": "switch it on: outlast runbook activate NAME",
    "breaker_open": "close it: outlast runbook reset-breaker NAME --reason … [--run-suppressed | --let-go]",
    "ended": "how it ended: outlast run show ID",
}


class Client:
    """One target over HTTP. What was cut off is sent again: PUT and DELETE say what shall be, and every POST that
    has an effect carries an Idempotency-Key.
    """

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self.target = target
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {target.key}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            transport=transport,
        )

    def get(self, path: str, **query: object) -> Any:
        """GET of the control plane."""
        return self._send("GET", self.target.control_plane_url, path, query)

    def post(
        self, path: str, body: object = None, *, content: bytes | None = None, kind: str = "", **query: object
    ) -> Any:
        """POST to the control plane."""
        return self._send(
            "POST", self.target.control_plane_url, path, query, body=body, content=content, kind=kind
        )

    def put(
        self, path: str, body: object = None, *, content: bytes | None = None, kind: str = "", **query: object
    ) -> Any:
        """PUT to the control plane."""
        return self._send(
            "PUT", self.target.control_plane_url, path, query, body=body, content=content, kind=kind
        )

    def delete(self, path: str, **query: object) -> Any:
        """DELETE of the control plane."""
        return self._send("DELETE", self.target.control_plane_url, path, query)

    def platform(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        kind: str = "",
        body: object = None,
        **query: object,
    ) -> Any:
        """Any request to the platform."""
        if not self.target.platform_url:
            raise Failure(
                "the platform's address is not known", next_step="set PLATFORM_URL, or: outlast up --sample"
            )
        return self._send(
            method, self.target.platform_url, path, query, body=body, content=content, kind=kind
        )

    def signals(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """Any request to signal_delivery."""
        if not self.target.signal_delivery_url:
            raise Failure(
                "signal_delivery's address is not known", next_step="set SIGNAL_DELIVERY_URL, or: outlast up"
            )
        return self._send(method, self.target.signal_delivery_url, path, query, body=body)

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """Every item of a list, page by page."""
        while True:
            page = self.get(path, **query)
            yield from page["items"]
            if page["next"] is None:
                return
            query["after"] = page["next"]

    def _send(
        self,
        method: str,
        base: str,
        path: str,
        query: Mapping[str, object],
        *,
        body: object = None,
        content: bytes | None = None,
        kind: str = "",
    ) -> Any:
        parameters = {name: _text(value) for name, value in query.items() if value is not None}
        if self.target.company and "company" not in parameters:
            parameters["company"] = self.target.company
        has_effect = method == "POST" and not path.endswith(":plan")
        headers = {"Idempotency-Key": str(uuid.uuid4())} if has_effect else {}
        if kind:
            headers["Content-Type"] = kind
        request = self._client.build_request(
            method,
            f"{base}{PREFIX}{path}",
            params=parameters,
            headers=headers,
            content=content,
            json=body if content is None and body is not None else None,
        )
        answer = self._answer(request, base)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise failure_of(answer)

    def _answer(self, request: httpx.Request, base: str) -> httpx.Response:
        attempt = 1
        while True:
            try:
                return self._client.send(request)
            except (httpx.ReadError, httpx.RemoteProtocolError) as fault:  # it was there, and went away
                if attempt == ATTEMPTS_MAX:
                    raise _unreachable(base, fault) from fault
            except httpx.TransportError as fault:
                raise _unreachable(base, fault) from fault
            time.sleep(PAUSE_SECONDS * attempt)
            attempt += 1


def _unreachable(base: str, fault: Exception) -> Failure:
    return Failure(
        f"{base} does not answer: {fault}",
        next_step="is it running? outlast status; start it with: outlast up",
        code="unreachable",
    )


def failure_of(answer: httpx.Response) -> Failure:
    """A problem document as a failure; anything else with its status."""
    try:
        problem = answer.json()
        detail, code = str(problem["detail"]), str(problem.get("code", "failed"))
        errors = [(str(error["path"]), str(error["message"])) for error in problem.get("errors", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        detail, code, errors = f"{answer.request.url} answered {answer.status_code}", "failed", []
    status = answer.status_code
    return Failure(
        detail,
        next_step=NEXT_STEPS_OF_CODES.get(code) or NEXT_STEPS.get(status, ""),
        status=2 if status in {400, 409, 412, 413, 415, 422} else 1,
        errors=errors,
        code=code,
    )


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
