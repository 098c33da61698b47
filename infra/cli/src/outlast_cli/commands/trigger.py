"""`outlast trigger`: run a runbook now, by hand."""

import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click

from outlast_cli.client import PREFIX, Client
from outlast_cli.commands.signals import Duration, read_payload
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.explain import explain
from outlast_cli.failures import Failure, refuse
from outlast_cli.output import print_json

WAIT_SECONDS_DEFAULT = 300.0
POLL_SECONDS = 0.5
GOOD = {"success", "skipped"}


@click.command("trigger")
@click.argument("name")
@click.option(
    "--finding", metavar="ID", help="The finding that it is about: looked up, and laid into the payload."
)
@click.option("--asset", metavar="ID", help="The asset that it is about.")
@click.option("--data", metavar="JSON|@FILE|-", help="An object: `event.data` of the run.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended, and explain it.")
@click.option(
    "--timeout", type=Duration(), default=WAIT_SECONDS_DEFAULT, metavar="5m", show_default="5m",
    help="How long to wait at most.",
)  # fmt: skip
@as_json
@pass_session
def trigger(
    session: Session,
    name: str,
    finding: str | None,
    asset: str | None,
    data: str | None,
    wait: bool,
    timeout: float,
    is_json: bool,
) -> None:
    """Run the runbook NAME now, whatever its rules say. Its guardrails hold.

    \b
    outlast trigger page-on-call --finding F-1042
    outlast trigger weekly-sweep --data '{"scope": "all"}' --wait

    Exit status: 0 ordered; with --wait, how the run came out: 0 success or skipped, 1 anything else.
    """
    body: dict[str, object] = {}
    if finding is not None:
        body["finding_id"] = finding
    if asset is not None:
        body["asset_id"] = asset
    if data is not None:
        body["data"] = read_payload(data, "--data")
        if not isinstance(body["data"], dict):
            refuse("expected a JSON object as data", next_step="""--data '{"name": "value"}'""")
    client = session.client()
    ordered: dict[str, Any] = client.post(f"/runbooks/{name}/trigger", body)
    if not wait:
        if is_json:
            print_json(ordered)
            return
        click.echo(f"{name} is triggered; its run: outlast run list --event {ordered['event_id']}")
        return
    run = client.get(f"/executions/{_await(client, ordered, timeout)}")
    print_json(run) if is_json else explain(run)
    raise click.exceptions.Exit(0 if run["status"] in GOOD else 1)


def _await(client: Client, ordered: dict[str, Any], timeout: float) -> str:
    """The id of the run that was triggered, when it has ended; Failure after the time-out."""
    found = urlsplit(ordered["find"])
    path, query = found.path.removeprefix(PREFIX), dict(parse_qsl(found.query))
    deadline = time.monotonic() + timeout
    status = "is not on record yet"
    while True:
        for run in client.get(path, **query)["items"]:
            if run["finished_at"] is not None:
                return str(run["id"])
            status = f"is {run['status']}: outlast run show {run['id']}"
        if time.monotonic() > deadline:
            raise Failure(
                f"the run {status}, after {timeout:.0f} s",
                next_step=f"it goes on; look again: outlast run list --event {ordered['event_id']}",
                code="timeout",
            )
        time.sleep(POLL_SECONDS)
