"""`outlast events`: send domain events by hand."""

import sys

import click

from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import refuse
from outlast_cli.output import print_json

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


@click.group()
def events() -> None:
    """Domain events: what runbooks fire on."""


@events.command("emit")
@click.argument("file", metavar="FILE|-")
@as_json
@pass_session
def emit(session: Session, file: str, is_json: bool) -> None:
    """Send a CloudEvent, a JSON array of them, or one a line; `-` reads standard input."""
    body, kind = read_events(file)
    items = session.client().post("/events", content=body, kind=kind)["items"]
    if is_json:
        print_json({"items": items})
        return
    for item in items:
        click.echo(f"{item['status']} {item['id']} from {item['source']}")


def read_events(file: str) -> tuple[bytes, str]:
    """The bytes to send and their content type. Their content is the server's to judge."""
    try:
        if file == "-":
            body = sys.stdin.buffer.read()
        else:
            with open(file, "rb") as source:
                body = source.read()
    except OSError as fault:
        refuse(f"cannot read {file}: {fault.strerror}", next_step="name a file, or - for standard input")
    text = body.strip()
    if not text:
        refuse(f"{file} is empty", next_step="expected a CloudEvent in JSON; see contracts/examples")
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(
        line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}") for line in lines
    ):
        return b"[" + b",".join(lines) + b"]", BATCH
    return text, BATCH if text.startswith(b"[") else SINGLE
