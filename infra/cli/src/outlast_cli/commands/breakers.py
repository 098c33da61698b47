"""`outlast runbook reset-breaker` and `run-suppressed`: what tripped is let fire again, with a reason."""

from typing import Any

import click

from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import refuse
from outlast_cli.output import print_json

SAID = {
    "run": "what it held back runs now, each as a new run",
    "let_go": "what it held back stays held back",
    None: "what it held back stays as it is; run it: outlast runbook run-suppressed {name} --reason …",
}


@click.command("reset-breaker")
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why: it goes to the audit log.")
@click.option("--run-suppressed", "run", is_flag=True, help="Run what was held back, each as a new run.")
@click.option("--let-go", is_flag=True, help="Never run what was held back.")
@as_json
@pass_session
def reset_breaker(session: Session, name: str, reason: str, run: bool, let_go: bool, is_json: bool) -> None:
    """Close the circuit breaker of a runbook: it fires again, its count begins anew.

    \b
    outlast runbook reset-breaker page-on-call --reason 'the webhook is back' --run-suppressed
    outlast run list --runbook page-on-call --reason breaker_open      what was held back
    """
    if run and let_go:
        refuse("expected either --run-suppressed or --let-go", next_step="or neither, to decide later")
    body: dict[str, object] = {"reason": reason}
    if run or let_go:
        body["suppressed"] = "run" if run else "let_go"
    answer: dict[str, Any] = session.client().post(f"/runbooks/{name}/breaker/reset", body)
    if is_json:
        print_json(answer)
        return
    click.echo(f"the breaker of {name} closes; {SAID[answer['suppressed']].format(name=name)}")


@click.command("run-suppressed")
@click.argument("name")
@click.argument("run_ids", nargs=-1, metavar="[ID]...")
@click.option("--reason", required=True, metavar="TEXT", help="Why: it goes to the audit log.")
@as_json
@pass_session
def run_suppressed(session: Session, name: str, run_ids: tuple[str, ...], reason: str, is_json: bool) -> None:
    """Run firings that the breaker of a runbook held back: those named, or all that were neither run nor let go.

    Each becomes a new run that names the old one.
    """
    body: dict[str, object] = {"reason": reason}
    if run_ids:
        body["executions"] = list(run_ids)
    answer: dict[str, Any] = session.client().post(f"/runbooks/{name}/suppressed/run", body)
    if is_json:
        print_json(answer)
        return
    count = f"{len(run_ids)} of them run" if run_ids else "what was held back runs"
    click.echo(f"{count} now: outlast run list --runbook {name}")
