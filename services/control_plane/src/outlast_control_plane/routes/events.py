"""`POST /events`: domain events over HTTP, recorded in the outbox before they are answered."""

import asyncpg
from fastapi import APIRouter, Request, Response

from outlast.db.outbox import append
from outlast.http.problems import Fault, Problem, invalid
from outlast.messaging.cloudevents import CloudEvent
from outlast_control_plane import metrics
from outlast_control_plane.access import PUBLISH_EVENTS, SOURCE_SCOPE, Caller, CallerIs, Role
from outlast_control_plane.idempotency import Answer, IdempotencyKey, once
from outlast_control_plane.intake import Refusal, Speaker, check_speaker, read_events, to_message
from outlast_control_plane.limits import EVENTS_PER_REQUEST_MAX
from outlast_control_plane.models import EventsAccepted
from outlast_control_plane.queries import QUERIES
from outlast_control_plane.services import ServicesAre

router = APIRouter(tags=["events"])

EVENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": {"type": "object"}},
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "items": {"type": "object"}, "minItems": 1}
            },
        },
    }
}


@router.post("/events", status_code=202, response_model=EventsAccepted, openapi_extra=EVENT_BODY)
async def publish_events(
    request: Request, caller: CallerIs, services: ServicesAre, key: IdempotencyKey = None
) -> Response:
    """Take in CloudEvents, one or a batch, all or none. One that is known by (company, source, id) is a duplicate."""
    caller.need(Role.SECURITY_ENGINEER, scope=PUBLISH_EVENTS)
    found = read_events(await request.body(), request.headers.get("content-type", ""), EVENTS_PER_REQUEST_MAX)
    events = [each for each in found if isinstance(each, CloudEvent)]
    refusals = [each for each in found if isinstance(each, Refusal)]
    refusals += check_speaker(events, _speaker(caller))
    if refusals:
        metrics.events_refused.inc()
        raise _refused(refusals)

    async def work(connection: asyncpg.Connection) -> Answer:
        fresh = await _accept(connection, events)
        await append(connection, [to_message(event) for event in fresh.values()])
        return Answer(202, {"items": _items(events, set(fresh))})

    response = await once(services.pool, request, caller, key, work)
    services.wake_publisher()
    return response


async def _accept(
    connection: asyncpg.Connection, events: list[CloudEvent]
) -> dict[tuple[str, str, str], CloudEvent]:
    """Note the events; returns those that were not known, the first of each."""
    by_name: dict[tuple[str, str, str], CloudEvent] = {}
    for event in events:
        by_name.setdefault((event.company_id, event.source, event.id), event)
    fresh: dict[tuple[str, str, str], CloudEvent] = {}
    for company_id in sorted({name[0] for name in by_name}):
        names = [name for name in by_name if name[0] == company_id]
        rows = await connection.fetch(
            QUERIES["accept_events"], company_id, [name[1] for name in names], [name[2] for name in names]
        )
        for row in rows:
            name = (company_id, row["source"], row["event_id"])
            fresh[name] = by_name[name]
    metrics.events_accepted.labels("accepted").inc(len(fresh))
    metrics.events_accepted.labels("duplicate").inc(len(events) - len(fresh))
    return {name: by_name[name] for name in by_name if name in fresh}


def _items(events: list[CloudEvent], fresh: set[tuple[str, str, str]]) -> list[dict[str, str]]:
    items: list[dict[str, str]] = []
    for event in events:
        name = (event.company_id, event.source, event.id)
        status = "accepted" if name in fresh else "duplicate"
        fresh.discard(name)
        items.append({"id": event.id, "source": event.source, "status": status})
    return items


def _speaker(caller: Caller) -> Speaker:
    sources = tuple(
        scope.removeprefix(SOURCE_SCOPE) for scope in caller.scopes if scope.startswith(SOURCE_SCOPE)
    )
    return Speaker(caller.company_id, sources)


def _refused(refusals: list[Refusal]) -> Problem:
    faults = tuple(Fault(each.path, each.message) for each in refusals)
    if all(each.is_forbidden for each in refusals):
        return Problem(403, "forbidden", "This API key may not publish these events.", faults)
    return invalid("These are not events that can be taken; none of the request was.", *faults)
