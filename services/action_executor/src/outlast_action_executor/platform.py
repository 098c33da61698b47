"""The platform's findings, over its internal API: operations that are there together go in one request."""

import asyncio
from collections.abc import Mapping

import msgspec

from outlast.actions import ActionFailed, FindingOperation, HttpRequest, Outside
from outlast.limits import FINDING_OPERATIONS_MAX

PATH = "/internal/findings/actions"


class _Actor(msgspec.Struct, frozen=True, kw_only=True):
    runbook_id: str
    runbook_name: str
    execution_id: str


class _Operation(msgspec.Struct, frozen=True, kw_only=True):
    company_id: str
    finding_id: str
    idempotency_key: str
    action: str
    arguments: Mapping[str, object]
    actor: _Actor
    chain: tuple[str, ...]


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    operations: list[_Operation]


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    """applied | repeated | not_found | refused"""
    finding: dict[str, object] = {}
    message: str = ""


class _Response(msgspec.Struct, frozen=True, kw_only=True):
    results: list[_Result]


_responses = msgspec.json.Decoder(_Response)


class PlatformFindings:
    """The port `Findings`. What is asked for in one step of the event loop is one request."""

    def __init__(self, url: str, token: str, outside: Outside) -> None:
        self._url = url.rstrip("/") + PATH
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._outside = outside
        self._waiting: list[tuple[FindingOperation, asyncio.Future[_Result]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def apply(self, operation: FindingOperation) -> Mapping[str, object]:
        """The changed fields of the finding."""
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send_waiting)
        self._waiting.append((operation, future))
        result = await future
        if result.status in ("applied", "repeated"):
            return result.finding
        if result.status == "not_found":
            raise ActionFailed(
                "not_found", result.message or f"the company has no finding {operation.finding_id}"
            )
        raise ActionFailed("refused", result.message or "the platform refused the change")

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for begin in range(0, len(waiting), FINDING_OPERATIONS_MAX):
            task = asyncio.create_task(self._send(waiting[begin : begin + FINDING_OPERATIONS_MAX]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, batch: list[tuple[FindingOperation, "asyncio.Future[_Result]"]]) -> None:
        try:
            traceparent = batch[0][0].traceparent  # a request has one; of several traces the first's
            results = await self._ask([_operation(operation) for operation, _ in batch], traceparent)
        except ActionFailed as failure:
            results = failure
        except Exception as fault:  # noqa: BLE001 whoever waits must hear of it
            results = ActionFailed(
                "platform_failed", f"the platform: {type(fault).__name__}", is_retryable=True
            )
        for index, (_, future) in enumerate(batch):
            if future.done():
                continue
            if isinstance(results, ActionFailed):
                future.set_exception(results)
            else:
                future.set_result(results[index])

    async def _ask(self, operations: list[_Operation], traceparent: str) -> list[_Result]:
        body = msgspec.json.encode(_Request(operations=operations))
        headers = {**self._headers, "traceparent": traceparent} if traceparent else self._headers
        request = HttpRequest(method="POST", url=self._url, headers=headers, body=body)
        response = await self._outside.request(request)
        if response.status != 200:
            is_retryable = response.status in (408, 425, 429) or response.status >= 500
            message = f"the platform answered {response.status}"
            raise ActionFailed(f"platform_{response.status}", message, is_retryable=is_retryable)
        try:
            results = _responses.decode(response.body).results
        except msgspec.DecodeError as fault:
            raise ActionFailed(
                "platform_failed", "the platform's answer is not as agreed", is_retryable=True
            ) from fault
        if len(results) != len(operations):
            raise ActionFailed("platform_failed", "the platform answered another number", is_retryable=True)
        return results


def _operation(operation: FindingOperation) -> _Operation:
    actor = _Actor(
        runbook_id=operation.runbook_id,
        runbook_name=operation.runbook_name,
        execution_id=operation.execution_id,
    )
    return _Operation(
        company_id=operation.company_id,
        finding_id=operation.finding_id,
        idempotency_key=operation.idempotency_key,
        action=operation.action,
        arguments=operation.arguments,
        actor=actor,
        chain=operation.chain,
    )
