"""`POST /signals` and `GET /signals/{id}`: a signal is recorded before its sender is answered."""

import json
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import Raw

from outlast import limits
from outlast.contracts.messages import SignalRequest
from outlast.http.problems import Fault, Problem, invalid, not_found
from outlast.runbooks.durations import parse_duration
from outlast.runtime.logging import get_logger
from outlast.runtime.tracing import HEADER, trace_id, valid_traceparent
from outlast_signal_delivery import metrics
from outlast_signal_delivery.access import CallerIs, CompanyNamed
from outlast_signal_delivery.core.delivery import delivery_id, status_of
from outlast_signal_delivery.inbound import SIGNAL_ID_PATTERN, is_deeper
from outlast_signal_delivery.limits import WAIT_SECONDS_MAX
from outlast_signal_delivery.models import DURATION_PATTERN, NewSignal, SignalShown
from outlast_signal_delivery.services import Services, ServicesAre
from outlast_signal_delivery.store import Shown
from outlast_signal_delivery.work import new_signal

router = APIRouter(tags=["signals"])
log = get_logger(__name__)

Wait = Annotated[
    str,
    Query(
        pattern=DURATION_PATTERN,
        description=f"Answer when every run has answered, or after this time: 0s to {WAIT_SECONDS_MAX}s.",
    ),
]
Id = Annotated[str, Path(alias="id", pattern=SIGNAL_ID_PATTERN)]


@router.post(
    "/signals",
    status_code=202,
    response_model=SignalShown,
    responses={
        200: {"description": "With `wait`: every run has answered", "model": SignalShown},
    },
)
async def send_signal(
    request: Request,
    wanted: NewSignal,
    caller: CallerIs,
    services: ServicesAre,
    company: CompanyNamed = None,
    wait: Wait = "0s",
) -> Response:
    """Send a signal. The same id again is the same signal: it is answered with what became of it."""
    company_id = caller.company(company)
    caller.need_signal(wanted.name)
    wait_seconds = _wait_seconds(wait)
    now = services.clock.now()
    asked = _request(wanted, company_id, caller.name, now, services)
    signal = new_signal(asked, valid_traceparent(request.headers.get(HEADER, "")))
    if await services.store.accept(signal, now):
        metrics.received.labels("execution" if asked.execution_id else "key").inc()
        log.info("signal_accepted", signal=asked.signal_id, name=asked.name, company=company_id,
                 execution_id=asked.execution_id, trace=trace_id(signal.traceparent))  # fmt: skip
        services.poke(signal)
    else:
        await _need_same(services, signal.delivery_id, asked)
    if wait_seconds:
        await services.waiting.settled(signal.delivery_id, wait_seconds)
    shown = await _find(services, signal.delivery_id)
    return await _answer(services, shown, 200 if wait_seconds and shown.is_settled else 202)


@router.get("/signals/{id:path}", response_model=SignalShown)
async def show_signal(
    wanted_id: Id, caller: CallerIs, services: ServicesAre, company: CompanyNamed = None
) -> Response:
    """What became of a signal: its status, and the verdict of every run that it went to."""
    company_id = caller.company(company)
    caller.need_some_signals()
    shown = await _find(services, delivery_id(company_id, wanted_id))
    if not caller.may_send(shown.name):
        raise not_found("signal")
    return await _answer(services, shown, 200)


def _request(
    wanted: NewSignal, company_id: str, sent_by: str, now: datetime, services: Services
) -> SignalRequest:
    if (wanted.execution_id is None) == (wanted.key is None):
        raise invalid(
            "A signal goes to one execution or to a key.", Fault("key", "expected it or execution_id")
        )
    if wanted.for_future and wanted.key is None:
        raise invalid(
            "Only a signal with a key is kept for runs to come.", Fault("for_future", "expected a key")
        )
    try:
        signal_id = wanted.id or services.new_id()
        return SignalRequest(
            signal_id=signal_id,
            company_id=company_id,
            name=_storable("name", wanted.name),
            execution_id=(wanted.execution_id or "").lower(),
            key=_storable("key", wanted.key or ""),
            payload=_payload(wanted.payload),
            sent_by=sent_by,
            sent_at=now,
            expires_at=now + _kept(wanted.expires_in),
            for_future=wanted.for_future,
        )
    except OverflowError:
        raise invalid("No calendar has this day.", Fault("expires_in", "expected less")) from None


def _kept(text: str) -> timedelta:
    most = timedelta(seconds=limits.WAIT_SECONDS_MAX)
    kept = _duration("expires_in", text)
    if not timedelta() < kept <= most:
        raise invalid(
            "This is no time to keep a signal.", Fault("expires_in", f"expected 1s to {most.days}d")
        )
    return kept


def _wait_seconds(text: str) -> float:
    seconds = _duration("wait", text).total_seconds()
    if seconds > WAIT_SECONDS_MAX:
        raise invalid("This is too long to wait.", Fault("wait", f"expected 0s to {WAIT_SECONDS_MAX}s"))
    return seconds


def _duration(path: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as fault:
        raise invalid("A duration cannot be read.", Fault(path, str(fault))) from None


def _storable(path: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid("Some text is half a character.", Fault(path, "expected no lone surrogate")) from None
    return text


def _payload(value: object) -> Raw:
    """The payload as it is stored: what every reader after us can decode."""
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        msgspec.json.decode(encoded)
    except (ValueError, RecursionError) as fault:
        reason = "no lone surrogate" if isinstance(fault, UnicodeEncodeError) else "JSON that can be stored"
        raise invalid("The payload cannot be taken.", Fault("payload", f"expected {reason}")) from None
    depth_max = limits.EVENT_NESTING_MAX
    if is_deeper(value, depth_max):
        raise invalid(
            "The payload cannot be taken.", Fault("payload", f"expected nesting of at most {depth_max}")
        )
    if len(encoded) > limits.SIGNAL_PAYLOAD_BYTES_MAX:
        sentence = f"Expected a payload of at most {limits.SIGNAL_PAYLOAD_BYTES_MAX} bytes."
        raise Problem(413, "too_large", sentence, (Fault("payload", f"got {len(encoded)} bytes"),))
    return Raw(encoded)


async def _need_same(services: Services, name: str, asked: SignalRequest) -> None:
    """The same id for another signal is a mistake of the sender's, not a repetition."""
    known = await _find(services, name)
    if (known.name, known.execution_id, known.key, known.payload, known.for_future) != (
        asked.name,
        asked.execution_id,
        asked.key,
        bytes(asked.payload),
        asked.for_future,
    ):
        raise Problem(409, "signal_id_taken", "This id is that of another signal of the company.")


async def _find(services: Services, name: str) -> Shown:
    shown = (await services.store.shown([name])).get(name)
    if shown is None:
        raise not_found("signal")
    return shown


async def _answer(services: Services, shown: Shown, status: int) -> Response:
    answers = await services.store.answers(shown.delivery_id)
    is_expired = shown.is_closed or shown.expires_at <= services.clock.now()
    body = {
        "id": shown.signal_id,
        "name": shown.name,
        "status": status_of(
            bool(shown.execution_id), shown.targets, shown.delivered, shown.unanswered, is_expired
        ),
        "execution_id": shown.execution_id or None,
        "key": shown.key or None,
        "for_future": shown.for_future,
        "sent_by": shown.sent_by,
        "sent_at": shown.sent_at,
        "expires_at": shown.expires_at,
        "deliveries": [
            {"execution_id": each.execution_id, "verdict": each.verdict, "answered_at": each.answered_at}
            for each in answers
        ],
        "deliveries_count": shown.targets,
    }
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
