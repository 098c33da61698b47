"""Why a run is held back or ended, how it came to be, and what holds its runbook back: said to people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from outlast_cli.output import printable

QUEUED = {
    "": "it is being asked whether it may start",
    "slot_taken": "others hold every slot of its concurrency key; it starts when one of them ends",
    "company_limit": "the company has as many runs going on as it may; it starts in its turn",
    "engine_down": "the engine is away, and the runbook requires durable runs; it starts when the engine is back",
    "gate_silent": "the gate has not said yet whether it may start; it is asked again until it does",
}
SKIPPED = {
    "": "every action of it was skipped",
    "throttled": "too soon after other firings with the same key",
    "slot_taken": "others held every slot of its concurrency key, and the runbook says on_conflict: skip",
    "queue_full": "the queue of its concurrency key was full",
    "queue_age": "it stood in the queue for longer than the runbook allows",
    "breaker_open": "its runbook's breaker was open",
    "loop": "its event was caused by runs of runbooks: the loop guard held it back",
    "inactive": "its runbook was switched off",
    "overlap": "the last run of its schedule had not ended, and the rule does not say overlap: allow",
    "guard_key_failed": "a key of its guardrails could not be rendered",
}
WHAT_DIFFERS = {
    "missing": "only the inline run had it",
    "extra": "only the durable double had it",
}


def in_short(run: Mapping[str, Any]) -> str:
    """One cell of a table: the reason's code, and what there is to say beside it."""
    reason, detail = run.get("reason") or "", run.get("detail") or ""
    if run.get("status") == "cancelled":
        return printable(": ".join(part for part in (f"by {run.get('ended_by') or '?'}", detail) if part))
    notes = [f"{reason} ({detail})" if reason and detail else reason]
    if run.get("is_degraded"):
        notes.append("degraded")
    compared = run.get("comparison")
    if compared and not compared["is_agreed"]:
        notes.append("its double differs")
    return printable(", ".join(note for note in notes if note))


def why(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines (name, sentence) that say why a run does not go on, and what to do about it."""
    reason, detail = str(run.get("reason") or ""), str(run.get("detail") or "")
    beside = f" ({detail})" if detail else ""
    match run.get("status"):
        case "queued":
            yield "queued", _sentence(QUEUED, reason) + beside
            yield "", f"take it out: outlast run cancel {run['id']} --reason …"
        case "waiting" if reason == "slot_taken":
            yield (
                "waits for",
                f"{reason}: its wait is over, and others hold every slot of its concurrency key",
            )
        case "skipped":
            yield "skipped", _sentence(SKIPPED, reason) + beside
            if reason == "breaker_open":
                yield (
                    "",
                    f"run it now: outlast runbook run-suppressed {run['runbook']} {run['id']} --reason …",
                )
        case "cancelled":
            yield "cancelled", f"by {run.get('ended_by') or '?'}{f': {detail}' if detail else ''}"
        case _:
            pass
    cancel = run.get("cancel")
    if cancel and not run.get("finished_at"):
        said = f": {cancel['reason']}" if cancel.get("reason") else ""
        yield (
            "ends",
            f"{cancel.get('by') or '?'} cancelled it at {cancel.get('at')}{said}; what is in flight is settled first",
        )


def _sentence(known: Mapping[str, str], reason: str) -> str:
    """The code, by which runs are listed, and what it means; a code that this release does not know as it is."""
    said = known.get(reason, "")
    return f"{reason}: {said}" if reason and said else said or reason


def origin(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines (name, sentence) that say how a run came to be, where that is special."""
    if run.get("started_by"):
        yield "triggered", f"by {run['started_by']}"
    if run.get("instead_of"):
        yield "instead of", f"{run['instead_of']}, which the breaker held back"
    if run.get("is_degraded"):
        yield (
            "degraded",
            "run inline, because the engine was away: what waits was skipped",
        )


def comparison(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines (name, sentence) of the report on a shadowed run."""
    compared = run.get("comparison")
    if run.get("mode") != "shadow":
        return
    if compared is None:
        yield "shadow", "its durable double has not been compared with it yet"
        return
    steps = f"{compared['steps_compared']} steps compared"
    if compared["is_agreed"]:
        yield "shadow", f"its durable double agrees with it ({steps})"
    else:
        yield "shadow", f"its durable double differs in {compared['differences_count']} places ({steps})"
    for each in compared.get("differences") or ():
        yield "differs", _difference(each)
    if compared.get("expected"):
        yield "expected", f"inline does not wait, so these differ: {', '.join(compared['expected'])}"


def _difference(each: Mapping[str, Any]) -> str:
    place = each.get("activity_id") or "the run"
    after = "; a wait that inline skips stood before it" if each.get("after_wait") else ""
    said = WHAT_DIFFERS.get(str(each.get("what")))
    if said is not None:
        return f"{place}: {said}{after}"
    return f"{place}, {each.get('what')}: inline {each.get('inline')}, durable {each.get('shadow')}{after}"


def breaker(runbook: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines that say how a runbook's breaker stands."""
    if runbook.get("breaker_tripped_at"):
        yield (
            "breaker",
            f"open since {runbook['breaker_tripped_at']}, after {runbook['failures']} failed runs in a row",
        )
        yield "", "what fires now is held back, on record as skipped: outlast run list --reason breaker_open"
        yield (
            "",
            f"close it: outlast runbook reset-breaker {runbook['id']} --reason … [--run-suppressed | --let-go]",
        )
    elif "failures" in runbook:
        count = runbook["failures"]
        yield "breaker", "closed" if not count else f"closed; {count} failed {_runs(count)} in a row"


def guardrails(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines that say what holds a runbook's firings back."""
    held = document.get("guardrails")
    rails: Mapping[str, Any] = held if isinstance(held, dict) else {}
    if "throttle_seconds" in rails:
        yield "throttle", f"1 firing in {rails['throttle_seconds']} s{_key(rails.get('throttle_key'))}"
    for window in _objects(rails.get("throttles")):
        limit = window.get("limit")
        firings = "firing" if limit == 1 else "firings"
        yield "throttle", f"{limit} {firings} in {window.get('per')}{_key(window.get('key'))}"
    if "concurrency_key" in rails or "concurrency_limit" in rails:
        limit = rails.get("concurrency_limit", 1)
        does = "are skipped" if rails.get("on_conflict") == "skip" else "wait in a queue"
        bounds = ", ".join(
            f"at most {rails[name]}{unit}"
            for name, unit in (("queue_limit", " of them"), ("queue_age", ""))
            if name in rails
        )
        line = f"{limit} {_runs(limit)} at a time{_key(rails.get('concurrency_key'))}; others {does}"
        yield "at once", f"{line} ({bounds})" if bounds else line
        if rails.get("release_while_waiting"):
            yield "", "a run that waits gives its slot back meanwhile"
    chain = [
        text
        for name, text in (
            ("chain_depth", f"a chain of runs that cause each other ends at {rails.get('chain_depth')}"),
            ("chain_repeat", "the runbook may run twice in one chain" if rails.get("chain_repeat") else ""),
        )
        if name in rails and text
    ]
    if chain:
        yield "loop guard", "; ".join(chain)
    if "breaker_threshold" in rails:
        count = rails["breaker_threshold"]
        yield "breaker", f"opens after {count} failed {_runs(count)} in a row"
    if document.get("requires_durable"):
        yield "durable", "required: while the engine is away its runs are held"
    if document.get("engine"):
        yield "engine", f"always {document['engine']}"


def _key(key: object) -> str:
    return f" for each {key}" if key else ""


def _runs(count: object) -> str:
    return "run" if count == 1 else "runs"


def _objects(items: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
