"""Runbooks that are held back: windows, slots, queues, breakers; those that run inline; and events that fire them.

They fire on finished scans, by what the scan says that it is about. Two tools are two keys.
"""

from collections.abc import Sequence
from random import Random

from outlast.contracts.messages import Start
from tests.simulation.workload import Event, PlannedRunbook, planned

TYPE = "scan_finished"
TOOLS = ("trivy", "bandit")
CHAIN_MAX = 6
CHAIN_DEPTH = 2
_KEY = "{{ event.data.tool }}"
_SAY: dict[str, object] = {"type": "say", "config": {"text": "{{ event.id }}"}}

GUARDS: dict[str, dict[str, object]] = {
    "throttled": {"throttle_seconds": 5, "throttle_key": _KEY},
    "windows": {"throttles": [{"limit": 2, "per": "3s", "key": _KEY}, {"limit": 4, "per": "20s"}]},
    "queued": {"concurrency_key": _KEY, "queue_limit": 4},
    "wide": {"concurrency_limit": 2, "throttles": [{"limit": 6, "per": "4s"}]},
    "skips": {
        "concurrency_limit": 2,
        "on_conflict": "skip",
        "throttles": [{"limit": 3, "per": "5s"}],
        "chain_depth": CHAIN_DEPTH,
    },
    "released": {"concurrency_key": _KEY, "release_while_waiting": True, "queue_age": "20m"},
    "aged": {"concurrency_limit": 1, "queue_age": "2s"},
    "inlined": {},
    "inline-slots": {"concurrency_key": _KEY, "chain_repeat": True},
    "breaks": {"breaker_threshold": 3},
    "inline-breaks": {"breaker_threshold": 2, "concurrency_limit": 1},
    "durable": {"concurrency_limit": 1},
}
"""By the name of the runbook, which is also what an event says that it is about."""
INLINE = ("inlined", "inline-slots", "inline-breaks")
_BREAKING: list[object] = [
    {
        "id": "may-fail",
        "type": "say",
        "config": {"outcome": "{{ event.data.outcome }}"},
        "continue_on_error": False,
    }
]
_ACTIONS: dict[str, list[object]] = {
    "queued": [_SAY, {"id": "ticket", "type": "open_ticket", "config": {"text": "{{ event.id }}"}}],
    "wide": [_SAY, {"id": "again", "type": "scan", "config": {"text": "{{ event.id }}"}}],
    "skips": [_SAY, {"id": "again", "type": "scan", "config": {"text": "{{ event.id }}"}}],
    "released": [
        _SAY,
        {"id": "nap", "type": "sleep", "config": {"duration": "1s"}},
        {"id": "then", "type": "tag", "config": {"text": "{{ event.id }}"}},
        {"id": "rest", "type": "sleep", "config": {"duration": "5s"}},
        {"id": "done", "type": "say", "config": {"text": "{{ event.id }}"}},
    ],
    "aged": [_SAY, {"id": "nap", "type": "sleep", "config": {"duration": "3s"}}],
    "inlined": [
        _SAY,
        {"id": "page", "type": "page", "config": {"text": "{{ event.id }}"}, "on_unknown": "fail"},
        {
            "id": "hard",
            "type": "scan",
            "config": {"fails": 1},
            "retry": {"max_attempts": 3, "initial_backoff": "1s"},
        },
        {"id": "nap", "type": "sleep", "config": {"duration": "5s"}},
        {"id": "ticket", "type": "open_ticket", "config": {"text": "{{ event.data.tool }}"}},
        {"id": "bad", "type": "say", "config": {"outcome": "fail"}},
    ],
    "inline-slots": [_SAY, {"id": "more", "type": "page", "config": {"text": "{{ event.id }}"}}],
    "breaks": _BREAKING,
    "inline-breaks": _BREAKING,
}


def runbooks() -> list[PlannedRunbook]:
    """All of one company, and some of another: under the same names they have nothing in common."""
    both = [("acme", name) for name in GUARDS]
    both += [("zenith", name) for name in ("throttled", "queued", "released", "breaks")]
    return [guarded(company, name) for company, name in both]


def guarded(company: str, name: str, version: int = 1) -> PlannedRunbook:
    """The runbook; later versions say something else and are held back in the same way."""
    rule = {"event": TYPE, "condition": {"field": "event.data.about", "op": "eq", "value": name}}
    more: dict[str, object] = {"guardrails": GUARDS[name], "description": f"version {version}"}
    if name in INLINE:
        more["engine"] = "inline"
    if name == "durable":
        more["requires_durable"] = True
    return planned(
        company,
        name,
        [rule],
        _ACTIONS.get(name, [_SAY]),
        lambda event: event.type == TYPE and event.about == name,
        more=more,
        version=version,
    )


def random_event(random: Random, number: int, starts: Sequence[Start]) -> Event:
    """A scan of one of two tools; one in eight was caused by a run."""
    chain: tuple[str, ...] = ()
    company = random.choice(("acme", "acme", "zenith"))
    if starts and random.random() < 0.12:
        cause = random.choice(starts[-30:])
        if len(cause.chain) < CHAIN_MAX:
            chain, company = (*cause.chain, cause.execution_id), cause.company_id
    return Event(
        company_id=company,
        id=f"event-{number}",
        type=TYPE,
        finding_id=f"finding-{number}",
        tool=random.choice(TOOLS),
        new_status="fail" if random.random() < 0.7 else "ok",
        about=random.choice(list(GUARDS)),
        chain=chain,
    )
