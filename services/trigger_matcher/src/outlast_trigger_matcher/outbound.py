"""Rows to messages: starts, probes, what is held back, what the gate is asked.

What a row has to say follows from the row alone, so that it can be said again at any time.
"""

from collections.abc import Iterable, Iterator

from outlast import ids
from outlast.contracts import codec, topics
from outlast.contracts.guarding import Ask, GateRequest, Release
from outlast.contracts.messages import Probe, Queued, SlotGranted, Start, Withheld
from outlast.messaging.ports import Outgoing
from outlast.runtime.tracing import trace_headers
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch

ASKS_MAX = 500
"""Asks and releases in one message to the gate."""
WAITS = frozenset({"deferred", "held", "queued"})


def first_words(rows: Iterable[Dispatch]) -> list[Outgoing]:
    """What rows say when they come to their status."""
    known = list(rows)
    asking = [row for row in known if row.status == "requested"]
    out = gate_requests(asking, ()) if asking else []
    for row in known:
        if row.status == "sent" and row.start.mode == "workflow":  # most of them
            out.append(start_message(row.start))
            if row.cancel is not None or row.granted_seq:
                out += _orders(row)
        else:
            out += _of_status(row, is_first=True)
    return out


def words_of_births(rows: Iterable[Dispatch]) -> list[Outgoing]:
    """What new rows say that may not have been heard, also of a run whose record was faster than its double's start."""
    known = list(rows)
    begun = [start_message(row.start) for row in known if row.left_double]
    return [*first_words(row for row in known if row.closed_at is None), *begun]


def words_again(rows: Iterable[Dispatch]) -> list[Outgoing]:
    """What rows say when they may not have been heard: durable runs are asked about, inline runs sent again.

    Whoever holds a slot asks for it too: a gate that forgot everything knows it again. A recorded run has two things
    to say, since its record may have come before they were delivered: that its slot was given back, and its double.
    """
    every = list(rows)
    known = [row for row in every if row.closed_at is None]
    asking = [row for row in known if _is_asking(row) or row.has_slot]
    leaving = [row for row in every if row.has_left]
    return [
        *gate_requests(asking, leaving),
        *(each for row in known for each in _of_status(row, is_first=False)),
        *(probe_message(row.start) for row in every if row.left_double),
    ]


def asides(rows: Iterable[Dispatch]) -> list[Outgoing]:
    """What rows say that did not come to another status: slots asked for and granted; orders passed on."""
    known = list(rows)
    return [
        *gate_requests([row for row in known if _is_asking(row)], ()),
        *(each for row in known for each in _orders(row)),
    ]


def _is_asking(row: Dispatch) -> bool:
    return row.status in ("requested", "queued") or row.resuming_seq > 0


def start_message(start: Start) -> Outgoing:
    """The whole start, to the engine partition in the execution's id."""
    return Outgoing(
        topics.ENGINE_INBOX,
        codec.encode(start),
        start.execution_id.encode(),
        ids.engine_partition(start.execution_id),
        trace_headers(start.traceparent),
    )


def starts_again(row: Dispatch) -> list[Outgoing]:
    """Somebody lacks what the row has to say: its start to whom it is sent, and what was ordered since; or its end."""
    if row.left_double:
        return [start_message(row.start)]
    return list(_of_status(row, is_first=True))


def probe_message(start: Start) -> Outgoing:
    """Is this execution known to the engine?"""
    probe = Probe(
        execution_id=start.execution_id,
        company_id=start.company_id,
        runbook_id=start.runbook.id,
        lane=start.lane,
    )
    return _to_engine(start, codec.encode(probe))


def _of_status(row: Dispatch, *, is_first: bool) -> Iterator[Outgoing]:
    if row.closed_at is not None:
        return
    if row.status == "sent":
        yield from _sent(row.start, is_first=is_first)
        yield from _orders(row)
    elif row.status in WAITS or (row.status == "requested" and row.reason):  # the gate is silent
        yield _lifecycle(row.start, _queued(row))
    elif row.status in WITHHELD:
        yield _lifecycle(row.start, _withheld(row))


def _sent(start: Start, *, is_first: bool) -> Iterator[Outgoing]:
    if start.mode != "workflow":
        key = start.execution_id.encode()
        yield Outgoing(topics.INLINE, codec.encode(start), key, None, trace_headers(start.traceparent))
    if start.mode != "inline":
        yield start_message(start) if is_first else probe_message(start)


def _orders(row: Dispatch) -> Iterator[Outgoing]:
    """The cancellation, and the slot that a run waits for to go on."""
    if row.closed_at is not None or row.status != "sent":
        return
    if row.granted_seq and row.has_slot:
        granted = SlotGranted(execution_id=row.id, seq=row.granted_seq)
        yield _to_engine(row.start, codec.encode(granted))
    if row.cancel is not None:
        if row.start.mode == "workflow":
            yield _to_engine(row.start, row.cancel)
        else:
            yield Outgoing(topics.INLINE, row.cancel, row.id.encode())


def _to_engine(start: Start, value: bytes) -> Outgoing:
    partition = ids.engine_partition(start.execution_id)
    return Outgoing(topics.ENGINE_INBOX, value, start.execution_id.encode(), partition)


def _lifecycle(start: Start, message: Queued | Withheld) -> Outgoing:
    key, headers = start.execution_id.encode(), trace_headers(start.traceparent)
    return Outgoing(topics.LIFECYCLE, codec.encode(message), key, start.lane, headers)


def _queued(row: Dispatch) -> Queued:
    start = row.start
    return Queued(
        execution_id=row.id, company_id=start.company_id, runbook=start.runbook, event=start.event, mode=start.mode,
        lane=start.lane, rank=0, seq=row.version, at=row.changed_at, reason=row.reason, payload=start.payload,
        chain=start.chain, origin=start.origin,
    )  # fmt: skip


def _withheld(row: Dispatch) -> Withheld:
    start = row.start
    return Withheld(
        execution_id=row.id, company_id=start.company_id, runbook=start.runbook, event=start.event, mode=start.mode,
        lane=start.lane, rank=0, seq=row.version, at=row.changed_at,
        status="cancelled" if row.status == "cancelled" else "skipped", reason=row.reason, detail=row.detail,
        by=row.ended_by, payload=start.payload, chain=start.chain, origin=start.origin,
    )  # fmt: skip


# ---- the gate --------------------------------------------------------------------------------------------------


def gate_requests(asking: Iterable[Dispatch], leaving: Iterable[Dispatch]) -> list[Outgoing]:
    """What the gate is asked, and whom it must not keep a place for: a runbook at a time, releases first."""
    asks: dict[tuple[str, str, int], list[Ask]] = {}
    releases: dict[tuple[str, str, int], list[Release]] = {}
    for row in asking:
        if row.guard is not None:
            asks.setdefault((*row.runbook, row.start.lane), []).append(row.ask())
    for row in leaving:
        if row.guard is not None and row.guard.slot is not None:
            release = Release(id=row.id, key=row.guard.slot.key)
            releases.setdefault((*row.runbook, row.start.lane), []).append(release)
    out: list[Outgoing] = []
    for lane in dict.fromkeys((*releases, *asks)):
        out += _requests(lane, releases.get(lane, []), asks.get(lane, []))
    return out


def _requests(lane: tuple[str, str, int], releases: list[Release], asks: list[Ask]) -> Iterator[Outgoing]:
    company_id, runbook_id, number = lane
    for first in range(0, max(len(releases), len(asks)), ASKS_MAX):
        request = GateRequest(
            company_id=company_id,
            runbook_id=runbook_id,
            lane=number,
            releases=tuple(releases[first : first + ASKS_MAX]),
            asks=tuple(asks[first : first + ASKS_MAX]),
        )
        key = f"{company_id}/{runbook_id}".encode()
        yield Outgoing(topics.GATE_REQUESTS, codec.encode(request), key, number)
