"""`outlast events tail`: the events that arrive, and the runs that each one fired."""

import json
from typing import Any

import click

from outlast.messaging.cloudevents import CloudEvent
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.event_reader import EventReader, Seen
from outlast_cli.follow import INTERVAL_SECONDS, INTERVAL_SECONDS_LEAST, Patience, RunChanges
from outlast_cli.output import printable

HELD_MAX = 2_000
"""Events, and runs, that are remembered until the other half is seen."""

Name = tuple[str, str, str]


class Pairs:
    """Which run belongs to which event that was shown, whichever is seen first."""

    def __init__(self) -> None:
        self._events: dict[Name, None] = {}
        self._runs: dict[Name, list[dict[str, Any]]] = {}
        self._paired: dict[str, None] = {}

    def event(self, event: CloudEvent) -> list[dict[str, Any]]:
        """An event was shown; returns the runs of it that were seen before."""
        name = (event.company_id, event.source, event.id)
        self._events[name] = None
        _bound(self._events)
        return self._runs.pop(name, [])

    def run(self, run: dict[str, Any]) -> bool:
        """A run was seen; whether it is to be shown now: the first time, if its event was."""
        if run["id"] in self._paired or not run.get("event"):
            return False
        self._paired[run["id"]] = None
        _bound(self._paired)
        name = (run["company"], run["event"]["source"], run["event"]["id"])
        if name in self._events:
            return True
        self._runs.setdefault(name, []).append(run)
        _bound(self._runs)
        return False


def _bound(items: dict[Any, Any]) -> None:
    while len(items) > HELD_MAX:
        del items[next(iter(items))]


@click.command("tail")
@click.option("--type", "event_type", metavar="TYPE", help="Only events of this type: finding_created ...")
@click.option(
    "--interval", metavar="SECONDS", default=INTERVAL_SECONDS, show_default=True,
    type=click.FloatRange(min=INTERVAL_SECONDS_LEAST), help="How often to ask for runs; at least 0.5.",
)  # fmt: skip
@as_json
@pass_session
def tail(session: Session, event_type: str | None, interval: float, is_json: bool) -> None:
    """Follow events as they arrive, with the runs that they fired, until Ctrl-C.

    Events are read from Kafka, from now on, those of the caller's company (an administrator who names none sees all,
    and also what no service can take). A run is shown beneath, or after, its event; an event without one has
    fired nothing yet. --json prints one object a line: {"event": ...} or {"fired": ...}.
    """
    target = session.target()
    patience, changes, pairs = Patience(), RunChanges(session.client()), Pairs()
    changes.round()  # what ran before the first event is nothing that it fired
    reader = EventReader(session.bootstrap())
    try:
        click.echo(f"following {', '.join(reader.topics) or 'no topic yet'}; Ctrl-C ends it", err=True)
        while True:
            for seen in reader.read(interval):
                if _is_wanted(seen, target.company, event_type):
                    _show_event(seen, is_json)
                    for run in pairs.event(seen.event) if seen.event else ():
                        _show_run(run, is_json)
            for run in patience.ask(changes.round) or ():
                if pairs.run(run):
                    _show_run(run, is_json)
    finally:
        reader.close()


def _is_wanted(seen: Seen, company: str, event_type: str | None) -> bool:
    if seen.event is None:
        return not company and event_type is None
    return company in {"", seen.event.company_id} and event_type in {None, seen.event.type}


def _show_event(seen: Seen, is_json: bool) -> None:
    event, received = seen.event, seen.received
    place = f"{received.topic}-{received.partition}-{received.offset}"
    if is_json:
        body: dict[str, object] = {"at": received.timestamp_ms, "place": place}
        if event is None:
            body["fault"] = seen.fault
        else:
            body |= {
                "company": event.company_id, "source": event.source, "id": event.id, "type": event.type,
                "subject": event.subject, "data": json.loads(bytes(event.data)),
            }  # fmt: skip
        click.echo(json.dumps({"event": body}, ensure_ascii=False))
    elif event is None:
        click.echo(click.style(printable(f"✗ {place} cannot be taken: {seen.fault}"), fg="red"))
    else:
        about = f"  {event.subject}" if event.subject else ""
        told = f"  {event.id} from {event.source} for {event.company_id}{about}"
        click.echo(click.style(event.type, bold=True) + printable(told))


def _show_run(run: dict[str, Any], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps({"fired": run}, ensure_ascii=False))
        return
    click.echo(
        f"  → {run['runbook']}  {run['id']}  {run['status']}  "
        f"{click.style(printable('for ' + run['event']['id']), dim=True)}"
    )
