"""`outlast import`: findings from scanners' reports."""

from pathlib import Path
from typing import Any

import click

from outlast_cli.client import Client
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import refuse
from outlast_cli.output import print_json

SEVERITIES = ("critical", "high", "medium", "low", "info")


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--target", default="", help="Name of the asset that was scanned, where the report does not say."
)
@click.option(
    "--format", "report_format", type=click.Choice(["sarif", "trivy"]), help="Recognised if left out."
)
@as_json
@pass_session
def import_command(
    session: Session, files: tuple[str, ...], target: str, report_format: str | None, is_json: bool
) -> None:
    """Import SARIF 2.1 or Trivy JSON reports: findings appear, change and close, and runbooks fire.

    A report is imported whole or not at all; one that cannot be read ends the command with status 2.
    """
    client = session.client()
    reports = [(file, _read(file)) for file in files]
    for file, content in reports:
        outcome = import_report(client, content, target, report_format)
        if is_json:
            print_json(outcome)
        else:
            click.echo(f"{file}: {sentence(outcome)}")
    if not is_json:
        click.echo("What fired: outlast run list", err=True)


def import_report(
    client: Client, content: bytes, target: str = "", report_format: str | None = None
) -> dict[str, Any]:
    """Import one report; the outcome in the form that scripts rely on."""
    answer = client.platform(
        "POST", "/imports", content=content, kind="application/json", target=target, format=report_format
    )
    return {name: answer[name] for name in ("tool", "findings", "created", "updated", "closed")}


def sentence(outcome: dict[str, Any]) -> str:
    """An outcome for people."""
    findings = outcome["findings"]
    counts = ", ".join(f"{findings[each]} {each}" for each in SEVERITIES if findings.get(each))
    return (
        f"{outcome['tool']}, {findings['total']} findings{f' ({counts})' if counts else ''}: "
        f"{outcome['created']} created, {outcome['updated']} updated, {outcome['closed']} closed"
    )


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as fault:
        refuse(f"cannot read {file}: {fault.strerror}", next_step="name a report that a scanner wrote")
